"""The dry run of a build: what it would take, give and cost. Nothing is built."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from app.pixels.grid import Grid
from app.recipes.forecast import Forecast, forecast
from app.recipes.photometry import depth_of
from app.recipes.recipe import BuildKind, BuildPlan
from app.recipes.values import Parameters
from app.schema.access import ANYBODY, Identity
from app.schema.columns import boolean, integer, real, text
from app.schema.obscore import OBSCORE
from app.schema.rows import DatasetRow
from app.services.build_sizes import bytes_per_pixel
from app.services.builds import BuildService
from app.services.quotes import QuoteService
from app.sky.stcs import format_region
from app.stores.tables.datasets import DatasetStore
from app.votable.tables import NamedTable

_COUNT: Final = "meta.number"
_WEIGHT: Final = real("weight", "Share in the combination", ucd="stat.weight", principal=True)
SUMMARY: Final = (
    text("kind", "template or difference"),
    text("obs_publisher_did", "The product", ucd="meta.id;meta.main", principal=True),
    text("recipe", "Content hash of what is built", ucd="meta.id"),
    boolean("built", "Whether the product is there already"),
    text("band", "Band", ucd="meta.id;instr.filter"),
    integer("tract", "Tract of the sky map", datatype="int", ucd="meta.id"),
    integer("patch", "Patch of the tract", datatype="int", ucd="meta.id"),
    *(each for each in OBSCORE.fields if each.name in {"s_region", "s_xel1", "s_xel2"}),
    integer("n_inputs", "Images that are combined", datatype="int", ucd=_COUNT),
    integer("n_exposures", "Exposures they are of", datatype="int", ucd=_COUNT),
    integer("n_rejected", "Images that are left out", datatype="int", ucd=_COUNT),
    real("coverage", "Fraction of the pixels that an input reaches", ucd="stat.filling"),
    real("median_n_exposures", "Median number of exposures where there is one", ucd=_COUNT),
    real("fwhm_arcsec", "Width of the PSF", unit="arcsec", ucd="instr.obsty.seeing"),
    real("noise", "Median noise of a pixel, in flux units of zero_point_mag", ucd="stat.stdev"),
    real("zero_point_mag", "AB magnitude of a flux unit", unit="mag", ucd="phot.mag"),
    real("depth_mag", "5 sigma depth of a point source", unit="mag", ucd="phot.mag;stat.min"),
    real(
        "quote_s",
        "How long the build takes once it runs; null when nothing like it was built yet",
        unit="s",
        ucd="time.duration",
    ),
    integer("quote_bytes", "Size of the file", unit="byte", ucd="phys.size;meta.file"),
)
INPUTS: Final = (
    text("obs_publisher_did", "The image", ucd="meta.id;meta.main", principal=True),
    text("exposure", "The exposure it is part of", ucd="meta.id;obs.exposure"),
    _WEIGHT,
    real("scale", "Factor to the flux scale of the product", ucd="arith.factor"),
    real("noise", "Noise of a pixel of the product from this image alone", ucd="stat.stdev"),
    real("fwhm_arcsec", "Seeing", unit="arcsec", ucd="instr.obsty.seeing"),
    real("t_min", "Start, MJD", unit="d", ucd="time.start;obs.exposure"),
    real("t_exptime", "Exposure time", unit="s", ucd="time.duration;obs.exposure"),
    real("zero_point_mag", "Its zero point", unit="mag", ucd="phot.mag"),
    real("depth_mag", "Its own 5 sigma depth", unit="mag", ucd="phot.mag"),
)
REJECTED: Final = (
    text("obs_publisher_did", "The image", ucd="meta.id;meta.main", principal=True),
    text("reason", "Why it is left out", ucd="meta.note", principal=True),
)
MISSING: Final = (
    integer("tract", "Tract of the sky map", datatype="int", ucd="meta.id"),
    integer("patch", "Patch of the tract", datatype="int", ucd="meta.id"),
)
COVERAGE: Final = (
    *(
        integer(name, told, datatype="int", unit="pixel")
        for name, told in (
            ("x_min", "First column of the cell, 0-based in the product"),
            ("x_max", "Column after the last"),
            ("y_min", "First row"),
            ("y_max", "Row after the last"),
        )
    ),
    integer("n_exposures", "Exposures that reach its middle", datatype="int", ucd=_COUNT),
    real("noise", "Noise of a pixel there", ucd="stat.stdev"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRun:
    """A plan, what it will give, and what it costs."""

    plan: BuildPlan
    forecast: Forecast
    product: DatasetRow | None
    """Of the same recipe, when it was built already."""
    seconds: float | None
    size_bytes: int


class ForecastService:
    """Answers PLAN=true."""

    def __init__(
        self, *, builds: BuildService, quotes: QuoteService, datasets: DatasetStore
    ) -> None:
        self._builds = builds
        self._quotes = quotes
        self._datasets = datasets

    def dry_run(
        self, kind: BuildKind, parameters: Parameters, identity: Identity = ANYBODY
    ) -> DryRun:
        """What a build would be. Raises what :meth:`BuildService.prepare` raises, and LimitError
        for one that is larger than they may ask for."""
        recipe, plan = self._builds.prepare(kind, parameters, identity)
        product = self._builds.find_product(recipe.key())
        built = product is not None
        if not built:
            self._builds.require_small(plan, identity)
        return DryRun(
            plan=plan,
            forecast=forecast(plan),
            product=product,
            seconds=0.0 if built else self._quotes.seconds(kind, self._builds.cost_of(plan)),
            size_bytes=self._bytes(plan) if product is None else product.file_size,
        )

    def _bytes(self, plan: BuildPlan) -> int:
        """Bytes of a pixel of the products built last, times pixels."""
        each = bytes_per_pixel(self._datasets, plan.recipe.kind)
        return round(each * math.prod(Grid.from_text(plan.recipe.grid).shape))


def tables(run: DryRun) -> tuple[NamedTable, ...]:
    """The summary, then inputs, what is left out, patches without a coadd, and the coverage map."""
    return (
        NamedTable("summary", "What would be built", SUMMARY, [_summary(run)]),
        NamedTable("inputs", "What it would be made of", INPUTS, _inputs(run)),
        NamedTable("rejected", "Images that are left out", REJECTED, _rejected(run)),
        NamedTable("missing", "Patches under the image that lack a coadd", MISSING, _missing(run)),
        NamedTable("coverage", "Exposures over the product, in cells", COVERAGE, _cells(run)),
    )


def as_json(run: DryRun) -> dict[str, Any]:
    """The same as one object; the coverage map as rows of cells, the lowest first."""
    coverage = run.forecast.coverage
    return {
        "summary": _summary(run),
        "inputs": _inputs(run),
        "rejected": _rejected(run),
        "missing": _missing(run),
        "coverage": {
            "cell_px": coverage.cell_px,
            "header": Grid.from_text(run.plan.recipe.grid).header,
            "n_exposures": coverage.n_exposures.tolist(),
        },
    }


def _summary(run: DryRun) -> dict[str, Any]:
    plan, told = run.plan, run.forecast
    grid = Grid.from_text(plan.recipe.grid)
    return {
        "kind": plan.recipe.kind,
        "obs_publisher_did": plan.dataset_id,
        "recipe": plan.recipe.key(),
        "built": run.product is not None,
        "band": plan.recipe.band,
        "tract": plan.tract,
        "patch": plan.patch,
        "s_region": format_region(grid.footprint()),
        "s_xel1": grid.shape[1],
        "s_xel2": grid.shape[0],
        "n_inputs": len(told.inputs),
        "n_exposures": len({each.exposure for each in told.inputs}),
        "n_rejected": len(plan.rejected),
        "coverage": told.covered_fraction,
        "median_n_exposures": told.median_n_exposures,
        "fwhm_arcsec": told.fwhm_arcsec,
        "noise": told.noise,
        "zero_point_mag": told.zero_point_mag,
        "depth_mag": told.depth_mag,
        "quote_s": run.seconds,
        "quote_bytes": run.size_bytes,
    }


def _inputs(run: DryRun) -> list[dict[str, Any]]:
    return [
        {
            "obs_publisher_did": each.ref.dataset_id,
            "exposure": each.exposure,
            "weight": each.weight,
            "scale": each.scale,
            "noise": each.noise,
            "fwhm_arcsec": each.ref.fwhm_arcsec,
            "t_min": each.ref.t_min,
            "t_exptime": each.ref.exposure_s,
            "zero_point_mag": each.ref.zero_point_mag,
            "depth_mag": depth_of(each.ref),
        }
        for each in run.forecast.inputs
    ]


def _rejected(run: DryRun) -> list[dict[str, Any]]:
    return [
        {"obs_publisher_did": use.dataset_id, "reason": use.rejected} for use in run.plan.rejected
    ]


def _missing(run: DryRun) -> list[dict[str, Any]]:
    return [{"tract": tract, "patch": patch} for tract, patch in run.plan.missing_patches]


def _cells(run: DryRun) -> Sequence[dict[str, Any]]:
    coverage = run.forecast.coverage
    cell, (ny, nx) = coverage.cell_px, Grid.from_text(run.plan.recipe.grid).shape
    known = run.forecast.noise is not None
    return [
        {
            "x_min": column * cell,
            "x_max": min(nx, (column + 1) * cell),
            "y_min": row * cell,
            "y_max": min(ny, (row + 1) * cell),
            "n_exposures": int(count),
            "noise": float(coverage.noise[row, column]) if known and count else None,
        }
        for (row, column), count in np.ndenumerate(coverage.n_exposures)
    ]
