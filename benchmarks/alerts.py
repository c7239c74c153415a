"""PSF fluxes of Rubin's alert cut-outs on the published differences and on ours.

``python -m benchmarks alerts``: a line for each alert, then how the two differ.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from app.pixels.statistics import robust_sigma
from benchmarks.figures import Figure
from tests.pixels.alerts import alerts


def figures() -> Iterator[Figure]:
    """Fluxes, and the pulls' scatter."""
    pulls = []
    for alert in alerts():
        pulls.append(alert.pull)
        ours, published = (
            f"{flux:.0f} +- {error:.0f}" for flux, error in (alert.ours, alert.published)
        )
        print(f"  {alert.name}: {ours} nJy, published {published}, pull {alert.pull:.2f}")
    found = np.array(pulls)
    within = 100 * float(np.mean(np.abs(found) < 1.5))
    yield Figure(name="alerts within 1.5 sigma of the published flux", ours=within, unit="%")
    yield Figure(name="robust scatter of the pulls", ours=robust_sigma(found), unit="")
    yield Figure(name="scatter of the pulls", ours=float(found.std()), unit="")
