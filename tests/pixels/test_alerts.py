"""Our differences of Rubin's alert cut-outs agree with the published ones."""

from __future__ import annotations

import numpy as np

from tests.pixels.alerts import alerts


def test_fluxes_of_alerts_agree_with_the_published_differences() -> None:
    """Two of the 24 lie on bright galaxies that a scale of exactly 1 does not take away."""
    pulls = np.array([alert.pull for alert in alerts()])
    assert len(pulls) == 24
    assert np.mean(np.abs(pulls) < 1.5) >= 0.9
    assert abs(np.median(pulls)) < 0.1
