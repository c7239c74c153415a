"""Real images through the whole service: the acceptance of the main job."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.decam import (
    MOVING_STAR,
    TARGET,
    decam_service,
    mean_significance,
    published_significance,
    run,
)


@pytest.mark.needs("shared")
def test_transient_of_2018_stands_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    service = decam_service(tmp_path / "data")
    try:
        measured = run(service)
    finally:
        service.stop()
    found, published = mean_significance(measured), published_significance()
    with capsys.disabled():
        ratios = ", ".join(f"{m.noise_ratio:.3f}" for m in measured)
        print(f"\nDECam: std(D/sqrt V) {ratios}; transient {found:.1f} (published {published:.1f})")
    assert abs(found) >= 5
    assert found * published > 0
    for m in measured:
        assert abs(m.noise_ratio - 1) < 0.1, m.name
        (source,) = m.near(TARGET, 0.3)
        assert source["is_negative"] == int(published < 0) and not source["is_dipole"], m.name
        assert source["reliability"] > 0.5 and source["snr"] > 5
    stars = [star for m in measured for star in m.near(MOVING_STAR, 0.5) if star["is_dipole"]]
    moved = [star for star in stars if 0.03 < star["dipole_length"] < 0.3]
    assert len(moved) == len(measured)
    assert all(100 < star["dipole_angle"] < 200 for star in moved)
