"""The difference between what the tables say and what lies in the files."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from app.errors import ImageFormatError
from app.stores import health
from app.stores.data_folder import leftovers, product_files, results_without, sha256_of, size_of
from app.stores.fits_checksums import wrong_checksums
from app.stores.remote.addresses import is_remote
from app.stores.tables.product_store import ProductStore, StoredProduct

SETTLED_S: Final = 3600.0
"""What nobody has written to for so long is no work under way."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A file that is not what its rows say, and what is wrong with it."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Census:
    """Everything looked at.

    ``images_missing``, ``images_changed`` and ``images_corrupt`` are ingested files; ``products``
    are built ones that are gone, changed or corrupt, or that no provenance explains (``why``:
    row number -> reason). ``stray`` are product files that no row names, ``leftovers`` files and
    folders that interrupted work left.
    """

    files: int
    deep: bool
    images_missing: Sequence[str]
    images_changed: Sequence[Fault]
    images_corrupt: Sequence[Fault]
    products: Sequence[tuple[StoredProduct, str]]
    stray: Sequence[Path]
    leftovers: Sequence[Path]


def take_census(
    engine: sa.Engine, data_dir: Path, *, deep: bool = False, settled_s: float = SETTLED_S
) -> Census:
    """Compare rows and the files of this machine; ``deep`` reads every file and compares its
    checksums too.

    Raises StoreUnavailableError.
    """
    store = ProductStore(engine=engine, data_dir=data_dir)
    files = [file for file in health.stored_files(engine) if not is_remote(file.path)]
    images = [file for file in files if not file.built]
    sizes = {file.path: size_of(data_dir / file.path) for file in images}
    changed, corrupt = [], []
    for file in images:
        size = sizes[file.path]
        if size is not None and size != file.size_bytes:
            changed.append(Fault(file.path, f"{size} bytes, not {file.size_bytes}"))
        elif size is not None and deep:
            changed += _other_bytes(data_dir, file.path, file.checksum)
            corrupt += _wrong_cards(data_dir, file.path)
    unexplained = set(store.unexplained())
    products = [
        (product, why)
        for product in store.products()
        if (why := _wrong_with(product, data_dir, unexplained, deep=deep))
    ]
    before_s = time.time() - settled_s
    known = {os.path.realpath(data_dir / file.path) for file in files}
    building = store.recipes_under_way()
    stray = [
        path
        for path in product_files(data_dir)
        if os.path.realpath(path) not in known and path.stem not in building
    ]
    lost = results_without(data_dir, store.job_ids(), before_s=before_s)
    return Census(
        files=len(files),
        deep=deep,
        images_missing=[path for path, size in sizes.items() if size is None],
        images_changed=changed,
        images_corrupt=corrupt,
        products=products,
        stray=stray,
        leftovers=[*leftovers(data_dir, before_s=before_s), *lost],
    )


def _wrong_with(
    product: StoredProduct, data_dir: Path, unexplained: set[str], *, deep: bool
) -> str | None:
    """Why a product cannot be kept; None when it can."""
    size = size_of(data_dir / product.path)
    if size is None:
        return "its file is gone"
    if size != product.size_bytes:
        return f"its file has {size} bytes, not {product.size_bytes}"
    if product.dataset_id in unexplained:
        return "it is without provenance rows"
    if deep and (_other_bytes(data_dir, product.path, product.checksum)):
        return "its file is corrupt (SHA-256)"
    return None


def _other_bytes(data_dir: Path, path: str, checksum: str) -> list[Fault]:
    """Whether a file has other bytes than when its rows were written."""
    try:
        same = not checksum or sha256_of(data_dir / path) == checksum
    except OSError as fault:
        return [Fault(path, fault.strerror or "it cannot be read")]
    return [] if same else [Fault(path, "its SHA-256 is another")]


def _wrong_cards(data_dir: Path, path: str) -> list[Fault]:
    """Whether a file contradicts its own checksums."""
    try:
        wrong = wrong_checksums(data_dir / path)
    except ImageFormatError as fault:
        return [Fault(path, str(fault.args[1]))]
    return [Fault(path, "; ".join(wrong))] if wrong else []
