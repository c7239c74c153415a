"""What a progressive survey is made of: images, orders, and blocks that are made independently."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from app.errors import NotFoundError, UsageError, quoted
from app.pixels.grid import Grid
from app.pixels.healpix_grid import pixel_scale_arcsec
from app.pixels.hips import TILE_PX
from app.recipes.photometry import common_zero_point
from app.recipes.recipe import ImageRef
from app.recipes.select import Candidate
from app.sky.moc import MOC, cover
from app.sky.stcs import format_region
from app.stores.hips_files import Tile

VERSION: Final = 1
"""Raised whenever the pixels that the same images give would change."""
FIRST_ORDER: Final = 3
MAX_TILE_ORDER: Final = 20
BLOCK_DEPTH: Final = 2
"""A block is a tile of so many orders less than the finest: 16 tiles, 2048 x 2048 pixels."""
_SLACK: Final = 1.15
"""How much larger than the images' pixels the finest may be."""
UNIT: Final = "nJy/arcsec2"
UNKNOWN_UNIT: Final = "arcsec-2"


@dataclass(frozen=True, slots=True, kw_only=True)
class SurveyRequest:
    """``order`` None: that of the images' pixels."""

    collection: str
    band: str | None
    title: str | None
    order: int | None


@dataclass(frozen=True, slots=True)
class SurveyImage:
    """An image and its outline (``POLYGON ICRS …``)."""

    ref: ImageRef
    region: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """Tiles of ``order`` are made of pixels of ``finest`` (the same, or finer ones averaged).

    ``blocks``: tile -> places in ``images`` of those that touch it.
    """

    title: str
    collection: str
    band: str | None
    order: int
    finest: int
    zero_point_mag: float | None
    images: tuple[SurveyImage, ...]
    blocks: dict[Tile, tuple[int, ...]]

    @property
    def unit(self) -> str:
        """Of the pixels: surface brightness."""
        return UNKNOWN_UNIT if self.zero_point_mag is None else UNIT

    @property
    def block_order(self) -> int:
        """Of all blocks."""
        return block_order_of(self.finest)

    def images_of(self, block: Tile) -> tuple[SurveyImage, ...]:
        """Those that touch a block."""
        return tuple(self.images[place] for place in self.blocks[block])

    def digest(self, block: Tile) -> str:
        """Of all that the pixels of a block depend on."""
        inputs = sorted(image.ref.to_text() for image in self.images_of(block))
        told = json.dumps([VERSION, self.order, self.finest, self.zero_point_mag, inputs])
        return hashlib.sha256(told.encode()).hexdigest()[:32]

    def moc(self, order: int) -> MOC:
        """Cells that the images have a part in."""
        return cover([image.region for image in self.images], order)


def survey_name(collection: str, band: str | None) -> str:
    """The folder of a survey, unless another one is named."""
    words = collection if band is None else f"{collection}-{band}"
    return re.sub(r"[^A-Za-z0-9._-]+", "-", words).strip(".-") or "survey"


def plan_survey(request: SurveyRequest, candidates: Sequence[Candidate]) -> Survey:
    """Blocks and orders for the images of a collection and band.

    Raises NotFoundError without any image, UsageError for an order that does not fit them.
    """
    images = tuple(
        SurveyImage(each.ref, format_region(each.region))
        for each in sorted(candidates, key=lambda each: each.dataset_id)
        if each.region is not None
    )
    if not images:
        what = quoted(request.collection) + (f" in band {request.band}" if request.band else "")
        raise NotFoundError(f"A calibrated image of collection {what} with pixels here")
    finest = fitting_tile_order([Grid.from_text(i.ref.grid).pixel_scale_arcsec for i in images])
    lowest = max(FIRST_ORDER, finest - BLOCK_DEPTH)
    order = finest if request.order is None else request.order
    if not lowest <= order <= finest:
        raise UsageError(
            f"--order {order}: the pixels of these images ask for {lowest} to {finest}"
        )
    blocks: dict[Tile, list[int]] = {}
    for place, image in enumerate(images):
        cells = cover([image.region], block_order_of(finest))
        for number in cells.flatten().tolist():
            blocks.setdefault(Tile(block_order_of(finest), int(number)), []).append(place)
    return Survey(
        title=request.title or " ".join(filter(None, [request.collection, request.band])),
        collection=request.collection,
        band=request.band,
        order=order,
        finest=finest,
        zero_point_mag=common_zero_point(tuple(image.ref for image in images), None),
        images=images,
        blocks={tile: tuple(blocks[tile]) for tile in sorted(blocks, key=lambda t: t.number)},
    )


def fitting_tile_order(scales_arcsec: Sequence[float]) -> int:
    """The order whose tiles have pixels like those of a typical image, or finer ones."""
    wanted = _SLACK * median(scales_arcsec)
    order = math.ceil(math.log2(pixel_scale_arcsec(0, TILE_PX) / wanted))
    return min(max(order, FIRST_ORDER), MAX_TILE_ORDER)


def block_order_of(finest: int) -> int:
    """See :data:`BLOCK_DEPTH`; the first order at least."""
    return max(FIRST_ORDER, finest - BLOCK_DEPTH)
