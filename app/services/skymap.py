"""The sky map as users ask it: which patches cover a region, and what is there to build from."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import pyarrow as pa

from app.errors import NotFoundError, RegionError, shortened
from app.recipes.recipe import PatchNumber
from app.recipes.select import Candidate, overlaps
from app.schema.batches import arrow_schema
from app.schema.columns import integer, real, text
from app.schema.fields import Field
from app.schema.obscore import OBSCORE
from app.schema.rows import links_path
from app.services.builds_candidates import CandidateFinder
from app.sky.numbers import parse_whole
from app.sky.predicates import bounding_circle, distance_deg
from app.sky.shapes import Circle, Point, Shape
from app.sky.skymap import SkyMap
from app.sky.stcs import format_region
from app.sky.tracts import Patch, PixelBox


@dataclass(frozen=True, slots=True)
class BandCover:
    """What a patch has in one band: exposures that overlap it, and templates that were built."""

    band: str
    n_exposures: int
    n_images: int
    templates: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PatchCover:
    """A patch with its bands, by name; of a patch nobody looked at there is none."""

    patch: Patch
    bands: tuple[BandCover, ...]


def _box_fields(name: str, described: str) -> tuple[Field, ...]:
    return tuple(
        integer(
            f"{name}_{side}",
            f"{described}: {told} in 0-based pixels of the tract",
            datatype="int",
            unit="pixel",
            ucd=f"pos.cartesian.{side[0]}",
        )
        for side, told in (
            ("x_min", "first column"),
            ("x_max", "column after the last"),
            ("y_min", "first row"),
            ("y_max", "row after the last"),
        )
    )


FIELDS: Final = (
    integer("tract", "Number of the tract", datatype="int", ucd="meta.id", principal=True),
    integer("patch", "Number of the patch in it", datatype="int", ucd="meta.id", principal=True),
    integer("patch_column", "Column of the patch in its tract, from 0", datatype="int"),
    integer("patch_row", "Row of the patch in its tract, from 0", datatype="int"),
    real("s_ra", "Centre of the inner box, ICRS", unit="deg", ucd="pos.eq.ra;meta.main"),
    real("s_dec", "Centre of the inner box, ICRS", unit="deg", ucd="pos.eq.dec;meta.main"),
    *(field for field in OBSCORE.fields if field.name == "s_region"),
    *_box_fields("inner", "Inner box; those of a tract tile it"),
    *_box_fields("outer", "Outer box, the pixels of a template of the patch"),
    text("wcs", "WCS of the outer box: FITS cards, one a line"),
    text("band", "Band; null when there is no image", ucd="meta.id;instr.filter", principal=True),
    integer(
        "n_exposures",
        "Calibrated exposures of the band that overlap the patch",
        datatype="int",
        ucd="meta.number;obs.exposure",
        principal=True,
    ),
    integer("n_images", "Their images (detectors)", datatype="int", ucd="meta.number;obs.image"),
    integer("n_templates", "Templates of patch and band that were built", datatype="int"),
    text("template", "obs_publisher_did of the newest of them", ucd="meta.id", principal=True),
)


class SkyMapService:
    """Answers what the sky map and the metadata store know together."""

    def __init__(self, *, skymap: SkyMap, finder: CandidateFinder) -> None:
        self._skymap = skymap
        self._finder = finder

    def cover(
        self, shape: Shape, *, bands: Sequence[str] = (), most: int
    ) -> tuple[PatchCover, ...]:
        """The patches whose outer boxes hold the point or overlap the region, at most ``most``.

        Raises LimitError for a region, or a number of images there, that is too large.
        """
        return self._look(self._skymap.find_numbers(shape, most), bands)

    def patch(self, tract: str, patch: str) -> PatchCover:
        """One patch by its numbers. Raises NotFoundError if there is none."""
        try:
            number = (parse_whole(tract), parse_whole(patch))
            self._skymap.get_patch(*number)
        except (ValueError, RegionError) as fault:
            reason = fault.args[1] if isinstance(fault, RegionError) else "numbers are needed"
            raise NotFoundError(
                f"Patch {shortened(patch)} of tract {shortened(tract)} ({reason})"
            ) from None
        return self._look([number], ())[0]

    def _look(self, numbers: Sequence[PatchNumber], bands: Sequence[str]) -> tuple[PatchCover, ...]:
        patches = {number: self._skymap.get_patch(*number) for number in numbers}
        if not patches:
            return ()
        circle = self.circle_about(list(patches))
        images = self.group_by_patch(self._finder.find_all(circle), patches)
        templates: dict[tuple[PatchNumber, str], list[str]] = {}
        for each in self._finder.find_templates(circle):
            templates.setdefault(((each.tract, each.patch), each.band), []).append(each.dataset_id)
        return tuple(
            PatchCover(patch, _bands_of(number, images.get(number, ()), templates, bands))
            for number, patch in patches.items()
        )

    def images_of_band(
        self, band: str, numbers: Sequence[PatchNumber] | None
    ) -> dict[PatchNumber, list[Candidate]]:
        """(tract, patch) -> the images of a band with pixels on it; of all patches without
        ``numbers``."""
        if numbers is None:
            return self.group_by_patch(self._finder.of_band(band))
        near = self._finder.find_all(self.circle_about(numbers))
        return self.group_by_patch((c for c in near if c.ref.band == band), set(numbers))

    def circle_about(self, numbers: Sequence[PatchNumber]) -> Circle:
        """A circle that holds the outlines of patches, which lie near each other."""
        return _circle_about([self._skymap.get_patch(*number) for number in numbers])

    def group_by_patch(
        self, candidates: Iterable[Candidate], wanted: Container[PatchNumber] | None = None
    ) -> dict[PatchNumber, list[Candidate]]:
        """(tract, patch) -> the images with pixels on its outer box; only ``wanted`` patches."""
        found: dict[PatchNumber, list[Candidate]] = {}
        for candidate in candidates:
            if candidate.region is None or candidate.ref.band is None:
                continue
            for number in self._skymap.find_numbers(candidate.region):
                if wanted is not None and number not in wanted:
                    continue
                if overlaps(candidate, self._skymap.get_patch(*number).outline):
                    found.setdefault(number, []).append(candidate)
        return found


def _bands_of(
    number: PatchNumber,
    images: Sequence[Candidate],
    templates: Mapping[tuple[PatchNumber, str], Sequence[str]],
    wanted: Sequence[str],
) -> tuple[BandCover, ...]:
    names = {str(image.ref.band) for image in images}
    names |= {band for where, band in templates if where == number}
    return tuple(
        BandCover(
            band=band,
            n_exposures=len({image.exposure for image in images if image.ref.band == band}),
            n_images=sum(image.ref.band == band for image in images),
            templates=tuple(templates.get((number, band), ())),
        )
        for band in sorted(names)
        if not wanted or band in wanted
    )


def _circle_about(patches: Iterable[Patch]) -> Circle:
    """A circle that holds the outlines of patches, which lie near each other."""
    outlines = [bounding_circle(patch.outline) for patch in patches]
    centre = outlines[len(outlines) // 2]
    middle = Point(centre.lon_deg, centre.lat_deg)
    reach = max(
        distance_deg(middle, Point(each.lon_deg, each.lat_deg)) + each.radius_deg
        for each in outlines
    )
    return Circle(middle.lon_deg, middle.lat_deg, min(reach, 180.0))


def table_rows(patches: Sequence[PatchCover]) -> Iterator[pa.RecordBatch]:
    """One batch of :data:`FIELDS`: a row for each band of each patch, one for a patch without."""
    empty = BandCover("", 0, 0, ())
    rows = [_row(each.patch, band) for each in patches for band in (each.bands or (empty,))]
    yield pa.RecordBatch.from_pylist(rows, schema=arrow_schema(FIELDS))


def _row(patch: Patch, band: BandCover) -> dict[str, Any]:
    return {
        "tract": patch.tract,
        "patch": patch.patch,
        "patch_column": patch.column,
        "patch_row": patch.row,
        "s_ra": patch.centre.lon_deg,
        "s_dec": patch.centre.lat_deg,
        "s_region": format_region(patch.outline),
        **_box("inner", patch.inner),
        **_box("outer", patch.outer),
        "wcs": patch.header,
        "band": band.band or None,
        "n_exposures": band.n_exposures,
        "n_images": band.n_images,
        "n_templates": len(band.templates),
        "template": band.templates[-1] if band.templates else None,
    }


def _box(name: str, box: PixelBox) -> dict[str, int]:
    return {
        f"{name}_x_min": box.x_min,
        f"{name}_x_max": box.x_max,
        f"{name}_y_min": box.y_min,
        f"{name}_y_max": box.y_max,
    }


def describe_patch(cover: PatchCover, service_url: str) -> dict[str, Any]:
    """A patch as a JSON object, with the addresses of its templates and of their builds."""
    patch = cover.patch
    where = f"TRACT={patch.tract}&PATCH={patch.patch}"
    return {
        "tract": patch.tract,
        "patch": patch.patch,
        "column": patch.column,
        "row": patch.row,
        "centre": [patch.centre.lon_deg, patch.centre.lat_deg],
        "s_region": format_region(patch.outline),
        "shape": list(patch.shape),
        **_box("inner", patch.inner),
        **_box("outer", patch.outer),
        "header": patch.header,
        "bands": [
            {
                "band": band.band,
                "n_exposures": band.n_exposures,
                "n_images": band.n_images,
                "templates": [
                    {"obs_publisher_did": each, "links": service_url + links_path(each)}
                    for each in band.templates
                ],
                "build": f"{service_url}/builds/template/sync?{where}&BAND={quote(band.band)}",
            }
            for band in cover.bands
        ],
    }
