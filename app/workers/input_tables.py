"""The tables VISITS and CCDS of a template: what each exposure, and each image of it, gave.

The polygon of an image is the outline of its usable pixels on the template, bad columns and other
gaps within it filled: with the weights it tells which inputs any place is made of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.pixels.coadded import Coadd
from app.pixels.coverage import Coverage
from app.pixels.psf_matched import Known
from app.pixels.warped import Bounds
from app.recipes.photometry import effective_times_s, zero_point_of
from app.recipes.recipe import ImageRef
from app.stores.fits_layout import Cell
from app.workers.inputs import WarpedInput
from app.workers.stacking import Combination
from app.workers.work import Work

Row = Mapping[str, Cell]
_WARPS: Final[Mapping[Known, str]] = {"psf": "psf-matched", "fwhm": "fwhm-matched"}


@dataclass(frozen=True, slots=True)
class InputTables:
    """Rows of the two tables; ``visit`` and ``ccd`` number them from 0.

    ``effective_time_s``: exposure time that under the median conditions of the images
    (:func:`app.recipes.photometry.effective_times_s`) gives what a pixel has of them, mean over
    the pixels that have one.
    """

    visits: tuple[Row, ...] = ()
    ccds: tuple[Row, ...] = ()
    effective_time_s: float | None = None

    def by_name(self) -> dict[str, Sequence[Row]]:
        """By the names of their HDUs."""
        return {"VISITS": self.visits, "CCDS": self.ccds}


@dataclass(frozen=True, slots=True)
class _Ccd:
    """One image that took part."""

    exposure: str
    ref: ImageRef
    weight: float
    scale: float
    sky: float
    coverage: Coverage
    clipped_fraction: float
    fwhm_arcsec: float | None
    warp: str


def input_tables(
    work: Work, kept: Sequence[WarpedInput], coadded: Coadd, combination: Combination
) -> InputTables:
    """The tables of the inputs in ``kept``, of which ``coadded`` was made by ``combination``.

    An input whose weight is 0 is in none of them.
    """
    exposure_of = work.plan.exposure_of()
    total = sum(coadded.weights) or 1.0
    matched = combination.matched
    warps = ["direct"] * len(kept) if matched is None else [_WARPS[how] for how in matched.known]
    ccds = [
        _ccd(work, each, exposure_of[each.ref.dataset_id], weight / total, clipped, warp)
        for each, weight, clipped, warp in zip(
            kept, coadded.weights, coadded.clipped_fraction, warps, strict=True
        )
        if weight > 0
    ]
    exposures = sorted({each.exposure for each in ccds})
    return InputTables(
        tuple(
            _visit_row(number, [each for each in ccds if each.exposure == exposure])
            for number, exposure in enumerate(exposures)
        ),
        tuple(
            _ccd_row(number, exposures.index(each.exposure), each)
            for number, each in enumerate(ccds)
        ),
        _effective_time_s(ccds, coadded.n_image),
    )


def _effective_time_s(ccds: Sequence[_Ccd], n_image: NDArray[np.int32]) -> float | None:
    """Sum over a pixel's images, mean over the pixels that have one; None when that of an image is
    not known."""
    seconds = effective_times_s([each.ref for each in ccds])
    if not ccds or len(seconds) < len(ccds):
        return None
    total = sum(seconds[each.ref.dataset_id] * each.coverage.pixels for each in ccds)
    return total / np.count_nonzero(n_image)


def _ccd(
    work: Work, each: WarpedInput, exposure: str, weight: float, clipped: float, warp: str
) -> _Ccd:
    return _Ccd(
        exposure=exposure,
        ref=each.ref,
        weight=weight,
        scale=each.scale,
        sky=each.stored.facts.sky,
        coverage=each.stored.facts.coverage,
        clipped_fraction=clipped,
        fwhm_arcsec=work.fwhm_arcsec(each.warped.fwhm_px),
        warp=warp,
    )


def _ccd_row(number: int, visit: int, ccd: _Ccd) -> Row:
    return {
        "ccd": number,
        "visit": visit,
        "dataset_id": ccd.ref.dataset_id,
        "weight": ccd.weight,
        **_box(ccd.coverage.bounds),
        "s_region": ccd.coverage.region,
        "n_pixels": ccd.coverage.pixels,
        "clipped_fraction": ccd.clipped_fraction,
        "fwhm_arcsec": ccd.fwhm_arcsec,
        "zero_point_mag": zero_point_of(ccd.ref),
        "scale": ccd.scale,
        "sky": ccd.sky,
        "warp": ccd.warp,
    }


def _visit_row(number: int, ccds: Sequence[_Ccd]) -> Row:
    widths = [ccd.fwhm_arcsec for ccd in ccds if ccd.fwhm_arcsec is not None]
    pixels = sum(ccd.coverage.pixels for ccd in ccds)
    first = ccds[0].ref
    boxes = [ccd.coverage.bounds for ccd in ccds]
    lows, highs = [box[::2] for box in boxes], [box[1::2] for box in boxes]
    bounds = (
        min(low[0] for low in lows),
        max(high[0] for high in highs),
        min(low[1] for low in lows),
        max(high[1] for high in highs),
    )
    return {
        "visit": number,
        "exposure": ccds[0].exposure,
        "n_ccds": len(ccds),
        "weight": sum(ccd.weight for ccd in ccds),
        **_box(bounds),
        "n_pixels": pixels,
        "clipped_fraction": sum(c.clipped_fraction * c.coverage.pixels for c in ccds) / pixels,
        "fwhm_arcsec": median(widths) if widths else None,
        "mjd_beg": first.t_min,
        "mjd_end": first.t_max,
        "exptime_s": first.exposure_s,
    }


def _box(bounds: Bounds) -> Row:
    """The pixels of the template, counted from 0, from start up to but without stop."""
    y_start, y_stop, x_start, x_stop = bounds
    return {"x_start": x_start, "x_stop": x_stop, "y_start": y_start, "y_stop": y_stop}
