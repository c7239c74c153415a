"""Quotes follow what was measured, and say nothing where nothing was."""

from __future__ import annotations

import pytest

from app.services.quotes import predict

MEASURED = [(100.0, 1.0), (110.0, 1.2), (90.0, 0.8), (10_000.0, 50.0)]


@pytest.mark.parametrize(
    ("cost", "low", "high"), [(100.0, 0.8, 1.3), (200.0, 1.5, 2.6), (10_000.0, 45.0, 130.0)]
)
def test_seconds_are_those_of_the_nearest_costs(cost: float, low: float, high: float) -> None:
    seconds = predict(cost, MEASURED)
    assert seconds is not None and low < seconds < high


@pytest.mark.parametrize(("cost", "measured"), [(1.0, []), (1.0, MEASURED), (1e9, MEASURED)])
def test_what_was_never_measured_has_none(cost: float, measured: list[tuple[float, float]]) -> None:
    assert predict(cost, measured) is None
