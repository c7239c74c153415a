"""Real images through the whole service: the acceptance of the main job."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.decam import (
    MOVING_STAR,
    TARGET,
    decam_service,
    mean_significance,
    published_significance,
    run,
    run_null,
)
from tests.flows.service import Service


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The ten exposures, served."""
    opened = decam_service(tmp_path_factory.mktemp("decam") / "data")
    yield opened
    opened.stop()


@pytest.mark.needs("shared")
def test_transient_of_2018_stands_out(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    measured = run(service)
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


@pytest.mark.needs("shared")
def test_exposures_of_one_season_differ_by_noise_alone(service: Service) -> None:
    measured = run_null(service)
    assert [m.noise_ratio for m in measured] == pytest.approx([1.0] * 5, abs=0.05)
    assert all(len(m.near(TARGET, 1.0)) == 0 for m in measured)
    assert sum(len(m.trusted) for m in measured) <= 5
