"""Records of the metadata store as values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import quote

from app.schema.access import Rights, rights_of
from app.schema.obscore import BUILDABLE, STALE

Value = str | int | float | None

Origin = Literal["ingested", "built", "external", "virtual"]

SourceRow = Mapping[str, Value]
"""Column of ``skyloom.dia_source`` -> value."""


_VIRTUAL = "products?difference-of/"
_EXPOSURE = re.compile(r"ivo://([^/?#]+)/([^?#:]+)\?(.+)", re.IGNORECASE)
_PROMISED = re.compile(rf"ivo://([^/?#]+)/{re.escape(_VIRTUAL)}([^?#:]+):(.+)", re.IGNORECASE)


def links_path(dataset_id: str) -> str:
    """Path of the DataLink document of a dataset, below the address of the service."""
    return f"/datalink/links?ID={quote(dataset_id, safe='')}"


def virtual_id(exposure_id: str) -> str | None:
    """obs_publisher_did of the default difference of an exposure, built or not, for ever:
    ``ivo://AUTHORITY/products?difference-of/COLLECTION:IMAGE``. None when the exposure's is not of
    the form ``ivo://AUTHORITY/COLLECTION?IMAGE``."""
    found = _EXPOSURE.fullmatch(exposure_id)
    if found is None:
        return None
    authority, collection, image = found.groups()
    return f"ivo://{authority}/{_VIRTUAL}{collection}:{image}"


def science_of_virtual(dataset_id: str) -> str | None:
    """The exposure's identifier in one that :func:`virtual_id` made; None in any other."""
    found = _PROMISED.fullmatch(dataset_id)
    return None if found is None else "ivo://{}/{}?{}".format(*found.groups())


def difference_path(dataset_id: str) -> str:
    """Path of the link that builds a difference on first use, below the address of the service.
    ``dataset_id`` is that of the exposure or of its virtual difference."""
    return f"/differences?ID={quote(dataset_id, safe='')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetRow:
    """One ObsCore row with what is kept beside it and never published.

    An ``external`` row has no file and no planes: its image lies where ``access_url`` says. Nor has
    a ``virtual`` one: its image can be built, and is on first use.

    ``columns``: public ObsCore column -> value; a missing name is NULL. ``access_url`` holds the
    path of the DataLink document (:func:`links_path`). ``image_ref`` is the JSON form of
    :class:`app.recipes.recipe.ImageRef` (where the planes lie, serialised grid, zero point …).
    ``difference_of`` is the folded identifier of the exposure whose default difference the row is:
    one row for each. ``restricted_by`` are the collections of the inputs that a product is as
    restricted as; of an image that was taken it is empty, and its own collection counts.
    """

    columns: Mapping[str, Value]
    file_path: str
    file_hdu: int
    file_size: int
    file_mtime_ns: int
    file_checksum: str
    image_ref: str
    origin: Origin = "ingested"
    recipe_key: str | None = None
    difference_of: str | None = None
    restricted_by: tuple[str, ...] = ()

    @property
    def rights(self) -> Rights:
        """Who may have its pixels."""
        return rights_of(self.columns, self.restricted_by)

    @property
    def is_external(self) -> bool:
        """Whether the image lies at another service."""
        return self.origin == "external"

    @property
    def is_buildable(self) -> bool:
        """Whether there is no file yet, or no more, and its link builds it."""
        return self.columns.get("build_state") == BUILDABLE and not self.is_external

    @property
    def is_stale(self) -> bool:
        """Whether an input was changed or withdrawn since it was built."""
        return self.columns.get("build_state") == STALE

    @property
    def dataset_id(self) -> str:
        """obs_publisher_did."""
        return str(self.columns["obs_publisher_did"])


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductQuality:
    """One row of ``skyloom.build_quality``: column -> value; a missing name is NULL."""

    product_id: str
    numbers: Mapping[str, float | None]
    words: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductInput:
    """One row of ``skyloom.product_input``: which dataset went into which product, and how."""

    product_id: str
    input_id: str
    role: Literal["template", "science"]
    weight: float | None = None
    scale: float | None = None
    rejected: str | None = None
    input_checksum: str = ""
