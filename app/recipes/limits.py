"""What an image must have to become an input, whatever else there is: limits of a selection."""

from __future__ import annotations

import math

from app.recipes.photometry import depth_of, zero_point_of
from app.recipes.recipe import ImageRef
from app.recipes.selection import Selection
from app.recipes.values import Interval


def reason_against(
    ref: ImageRef, selection: Selection, effective_time_s: float | None
) -> str | None:
    """Why the limits of ``selection`` leave an image out, or None. What a limit is about must be
    known."""
    seeing = _between(selection.fwhm_min_arcsec, selection.fwhm_max_arcsec)
    effective = _between(selection.effective_time_min_s, None)
    return (
        untimely(ref, selection)
        or _outside("zero point", zero_point_of(ref), selection.zero_point_mag, "ZEROPOINT")
        or _outside("exposure time", ref.exposure_s, selection.exposure_s, "EXPTIME")
        or _outside("seeing", ref.fwhm_arcsec, seeing, "FWHM_MIN", "FWHM_MAX")
        or _outside("effective time", effective_time_s, effective, "EFFTIME_MIN")
        or _shallow(ref, selection)
    )


def _shallow(ref: ImageRef, selection: Selection) -> str | None:
    limit = _between(selection.depth_min_mag, None)
    return None if limit is None else _outside("depth", depth_of(ref), limit, "DEPTH_MIN")


def untimely(ref: ImageRef, selection: Selection) -> str | None:
    """Why TIME and EXCLUDE_TIME leave an image out, or None."""
    if not (selection.times or selection.exclude_times):
        return None
    if ref.t_min is None or ref.t_max is None:
        return "its time is not known"
    taken = (ref.t_min, ref.t_max)
    if selection.times and not any(_meets(taken, interval) for interval in selection.times):
        return "outside TIME"
    if any(_meets(taken, interval) for interval in selection.exclude_times):
        return "inside EXCLUDE_TIME"
    return None


def _meets(a: Interval, b: Interval) -> bool:
    return a[0] <= b[1] and b[0] <= a[1]


def _between(low: float | None, high: float | None) -> Interval | None:
    if low is None and high is None:
        return None
    return (-math.inf if low is None else low, math.inf if high is None else high)


def _outside(
    what: str, value: float | None, limits: Interval | None, low_name: str, high_name: str = ""
) -> str | None:
    if limits is None:
        return None
    if value is None:
        return f"its {what} is not known"
    if value < limits[0]:
        return f"its {what} is below {low_name}"
    return f"its {what} is above {high_name or low_name}" if value > limits[1] else None
