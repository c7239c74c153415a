"""Records of the metadata store as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import quote

Value = str | int | float | None

SourceRow = Mapping[str, Value]
"""Column of ``skyloom.dia_source`` -> value."""


def links_path(dataset_id: str) -> str:
    """Path of the DataLink document of a dataset, below the address of the service."""
    return f"/datalink/links?ID={quote(dataset_id, safe='')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetRow:
    """One ObsCore row with what is kept beside it and never published.

    An ``external`` row has no file and no planes: its image lies where ``access_url`` says.

    ``columns``: public ObsCore column -> value; a missing name is NULL. ``access_url`` holds the
    path of the DataLink document (:func:`links_path`). ``image_ref`` is the JSON form of
    :class:`app.recipes.recipe.ImageRef` (where the planes lie, serialised grid, zero point …).
    """

    columns: Mapping[str, Value]
    file_path: str
    file_hdu: int
    file_size: int
    file_mtime_ns: int
    file_checksum: str
    image_ref: str
    origin: Literal["ingested", "built", "external"] = "ingested"
    recipe_key: str | None = None

    @property
    def is_external(self) -> bool:
        """Whether the image lies at another service."""
        return self.origin == "external"

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
