"""Triplets: science, template and difference about a place, on the pixels of the science image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from app.errors import ComputationError, ImageFormatError
from app.pixels.grid import Grid
from app.pixels.image import MaskedImage
from app.pixels.mapping import overlap_bounds
from app.pixels.stamp import (
    StampWindow,
    empty_stamp,
    padded,
    stamp_window,
    subtracted_template,
)
from app.pixels.warp import warp
from app.recipes.photometry import flux_factor, zero_point_of
from app.recipes.recipe import ImageRef
from app.recipes.target import cut
from app.schema.access import ANYBODY, Identity
from app.schema.rows import DatasetRow
from app.services.builds_candidates import image_ref_of
from app.services.stamp_epochs import EpochFinder, Role, StampEpoch, StampEpochs
from app.services.stamp_request import StampRequest
from app.sky.shapes import Point
from app.stores.images import ImageStore
from app.workers.inputs import read_image


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """One image of a triplet: the planes, and where they lie on the sky. ``row``: the dataset that
    it is cut from, None for what was calculated; ``ref`` tells flux scale, times and seeing."""

    image: MaskedImage
    grid: Grid
    row: DatasetRow | None
    ref: ImageRef
    window: StampWindow
    knows_noise: bool = True

    @property
    def place(self) -> tuple[float, float]:
        """The place in 0-based pixels of the stamp (x, y)."""
        return self.window.x - self.window.bounds[2], self.window.y - self.window.bounds[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Triplet:
    """The stamps of an epoch, all of one shape; ``epoch.missing`` has the reason for each that is
    not among them."""

    epoch: StampEpoch
    stamps: Mapping[Role, Stamp]


class StampService:
    """Finds triplets and reads their pixels, one after the other."""

    def __init__(self, *, finder: EpochFinder, images: ImageStore) -> None:
        self._finder = finder
        self._images = images

    def find(self, request: StampRequest, most: int, identity: Identity = ANYBODY) -> StampEpochs:
        """Which there are; see :meth:`EpochFinder.find`. Raises LimitError for stamps that are too
        large as well."""
        found = self._finder.find(request, most, identity)
        for epoch in found.epochs:
            request.size.side_px(epoch.grid)
        return found

    def read(self, epochs: StampEpochs, request: StampRequest) -> Iterator[Triplet]:
        """Their pixels. What cannot be read is missing, with the reason."""
        for epoch in epochs.epochs:
            yield self._read(epoch, request.size.side_px(epoch.grid))

    def _read(self, epoch: StampEpoch, side_px: int) -> Triplet:
        stamps: dict[Role, Stamp] = {}
        missing = dict(epoch.missing)

        def attempt(role: Role, row: DatasetRow, ref: ImageRef) -> None:
            try:
                stamps[role] = self._cut(row, ref, epoch.point, side_px)
            except ComputationError as fault:
                missing[role] = str(fault)

        attempt("science", epoch.science, epoch.ref)
        if epoch.difference is not None:
            attempt("difference", epoch.difference, image_ref_of(epoch.difference))
        if epoch.template_origin in ("matched", "alike") and epoch.template is not None:
            attempt("template", epoch.template, image_ref_of(epoch.template))
        elif epoch.template_origin == "subtracted" and len(stamps) == 2:
            science, difference = stamps["science"], stamps["difference"]
            image = subtracted_template(science.image, difference.image)
            stamps["template"] = replace(science, image=image, row=None, knows_noise=False)
        elif epoch.template_origin == "subtracted":
            missing["template"] = "science or difference cannot be read"
        elif epoch.template is not None and "science" in stamps:
            try:
                stamps["template"] = self._resampled(epoch.template, stamps["science"])
            except ComputationError as fault:
                missing["template"] = str(fault)
        return Triplet(epoch=replace(epoch, missing=missing), stamps=stamps)

    def _cut(self, row: DatasetRow, ref: ImageRef, point: Point, side_px: int) -> Stamp:
        grid = Grid.from_text(ref.grid)
        window = stamp_window(grid, point.lon_deg, point.lat_deg, side_px)
        if window is None:
            raise ImageFormatError(ref.dataset_id, "its projection does not reach the position")
        inside = window.inside(grid.shape)
        image = empty_stamp(side_px)
        if inside[0] < inside[1] and inside[2] < inside[3]:
            image = padded(read_image(self._images, ref, inside), inside, window.bounds)
        return Stamp(image=image, grid=cut(grid, window.bounds), row=row, ref=ref, window=window)

    def _resampled(self, row: DatasetRow, science: Stamp) -> Stamp:
        """A template of the place on the pixels and the flux scale of the science stamp."""
        ref = image_ref_of(row)
        whole = Grid.from_text(ref.grid)
        bounds = overlap_bounds(science.grid, whole)
        if bounds is None:
            raise ImageFormatError(ref.dataset_id, "it does not reach the stamp")
        scale = flux_factor(ref, zero_point_of(science.ref))
        image = read_image(self._images, ref, bounds)
        warped = warp(image, cut(whole, bounds), science.grid)
        return replace(
            science,
            image=replace(warped, flux=warped.flux * scale, variance=warped.variance * scale**2),
            row=row,
            ref=replace(
                ref,
                zero_point_mag=science.ref.zero_point_mag,
                bunit=science.ref.bunit if scale != 1.0 else ref.bunit,
            ),
        )
