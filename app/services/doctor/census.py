"""The difference between what the tables say and what lies in the files."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Final

import sqlalchemy as sa

from app.errors import ImageFormatError, NotFoundError
from app.stores import health
from app.stores.data_folder import (
    PRODUCTS,
    RESULTS,
    leftovers,
    product_files,
    results_without,
    size_of,
)
from app.stores.fits_checksums import wrong_checksums
from app.stores.kept_files import KeptFacts, KeptFiles
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
    stray: Sequence[str]
    leftovers: Sequence[str]


def take_census(
    engine: sa.Engine, files: KeptFiles, *, deep: bool = False, settled_s: float = SETTLED_S
) -> Census:
    """Compare rows with the files of this machine, and with products and results wherever they
    are kept; ``deep`` reads every file and compares its checksums too.

    Raises StoreUnavailableError, RemoteUnavailableError.
    """
    data_dir = files.data_dir
    store = ProductStore(engine=engine, files=files)
    stored = [
        file for file in health.stored_files(engine) if file.built or not is_remote(file.path)
    ]
    images = [file for file in stored if not file.built]
    sizes = {file.path: size_of(data_dir / file.path) for file in images}
    changed, corrupt = [], []
    for file in images:
        size = sizes[file.path]
        if size is not None and size != file.size_bytes:
            changed.append(Fault(file.path, f"{size} bytes, not {file.size_bytes}"))
        elif size is not None and deep:
            changed += _other_bytes(files, file.path, file.checksum)
            corrupt += _wrong_cards(data_dir, file.path)
    unexplained = set(store.unexplained())
    find = files.look(PRODUCTS)
    products = [
        (product, why)
        for product in store.products()
        if (why := _wrong_with(product, find(product.path), files, unexplained, deep=deep))
    ]
    before_s, jobs = time.time() - settled_s, store.job_ids()
    known = {_real(data_dir, file.path) for file in stored}
    building = store.recipes_under_way()
    there = [*map(str, product_files(data_dir)), *(path for path, _ in files.listed(PRODUCTS))]
    lost = results_without(data_dir, jobs, before_s=before_s)
    return Census(
        files=len(stored),
        deep=deep,
        images_missing=[path for path, size in sizes.items() if size is None],
        images_changed=changed,
        images_corrupt=corrupt,
        products=products,
        stray=[
            path
            for path in there
            if _real(data_dir, path) not in known and PurePath(path).stem not in building
        ],
        leftovers=[
            *map(str, (*leftovers(data_dir, before_s=before_s), *lost)),
            *_results_elsewhere(files, jobs, before_s),
        ],
    )


def _real(data_dir: Path, path: str) -> str:
    """One name of a file."""
    return path if is_remote(path) else os.path.realpath(data_dir / path)


def _results_elsewhere(files: KeptFiles, jobs: Collection[str], before_s: float) -> Iterator[str]:
    """Results of none of the ``jobs``, written before."""
    for path, facts in files.listed(RESULTS):
        if PurePath(path).parent.name not in jobs and facts.written_s < before_s:
            yield path


def _wrong_with(
    product: StoredProduct,
    facts: KeptFacts | None,
    files: KeptFiles,
    unexplained: set[str],
    *,
    deep: bool,
) -> str | None:
    """Why a product cannot be kept; None when it can."""
    if facts is None:
        return "its file is gone"
    if facts.size_bytes != product.size_bytes:
        return f"its file has {facts.size_bytes} bytes, not {product.size_bytes}"
    if product.dataset_id in unexplained:
        return "it is without provenance rows"
    if deep and _other_bytes(files, product.path, product.checksum):
        return "its file is corrupt (SHA-256)"
    return None


def _other_bytes(files: KeptFiles, path: str, checksum: str) -> list[Fault]:
    """Whether a file has other bytes than when its rows were written."""
    try:
        same = not checksum or files.checksum(path) == checksum
    except OSError as fault:
        return [Fault(path, fault.strerror or "it cannot be read")]
    except NotFoundError:
        return [Fault(path, "it is gone")]
    return [] if same else [Fault(path, "its SHA-256 is another")]


def _wrong_cards(data_dir: Path, path: str) -> list[Fault]:
    """Whether a file contradicts its own checksums."""
    try:
        wrong = wrong_checksums(data_dir / path)
    except ImageFormatError as fault:
        return [Fault(path, str(fault.args[1]))]
    return [Fault(path, "; ".join(wrong))] if wrong else []
