"""How large the file of a product will be."""

from __future__ import annotations

from statistics import median
from typing import Final

from app.recipes.recipe import BuildKind
from app.services.builds_rows import SUBTYPES
from app.stores.tables.datasets import DatasetStore

PLANES_BYTES: Final = 12
"""Of a pixel: flux, mask and variance; a first guess until products of a kind were built."""


def bytes_per_pixel(datasets: DatasetStore, kind: BuildKind) -> float:
    """Of the products of a kind that were built last."""
    built = datasets.product_sizes(SUBTYPES[kind])
    return median(size / pixels for size, pixels in built) if built else PLANES_BYTES
