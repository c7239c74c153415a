"""A census of files in the doctor's words, and what ``--repair`` does about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import sqlalchemy as sa

from app.errors import RemoteUnavailableError
from app.services.doctor.census import Census, Fault
from app.services.doctor.finding import REPAIR, Finding, examples
from app.stores.data_folder import PRODUCTS
from app.stores.kept_files import KeptFiles
from app.stores.remote.addresses import is_remote
from app.stores.tables.product_store import ProductStore


def file_findings(census: Census) -> Iterator[Finding]:
    """What is wrong with files, and what to do."""
    troubles = [*_image_findings(census), *_product_findings(census)]
    if not troubles:
        kept = "with their size and their checksums" if census.deep else "with their size"
        yield Finding("ok", "files", f"all {census.files} are there, {kept}")
    yield from troubles


def _image_findings(census: Census) -> Iterator[Finding]:
    if gone := census.images_missing:
        message = f"{len(gone)} are gone: {examples(gone)}"
        yield Finding("fail", "files", message, "put them back, or mount the disk they lie on")
    if changed := census.images_changed:
        message = f"{len(changed)} changed since they were read: {_told(changed)}"
        yield Finding("warn", "files", message, "run skyloom ingest on their folders again")
    if corrupt := census.images_corrupt:
        message = f"{len(corrupt)} contradict their own checksums: {_told(corrupt)}"
        yield Finding("fail", "files", message, "replace them by sound copies and ingest again")


def _product_findings(census: Census) -> Iterator[Finding]:
    if census.products:
        names = examples(f"{product.dataset_id} ({why})" for product, why in census.products)
        message = f"{len(census.products)} cannot be kept: {names}"
        yield Finding(
            "fail", "products", message, f"{REPAIR}: they are built again when they are asked for"
        )
    if census.stray:
        message = f"{len(census.stray)} files that no dataset names: {examples(census.stray)}"
        yield Finding("warn", "products", message, f"{REPAIR} to remove them")
    if census.leftovers:
        message = f"{len(census.leftovers)} of interrupted work: {examples(census.leftovers)}"
        yield Finding("warn", "leftovers", message, f"{REPAIR} to remove them")


def _told(faults: Sequence[Fault]) -> str:
    return examples(f"{fault.path} ({fault.reason})" for fault in faults)


def mend(
    census: Census, engine: sa.Engine, files: KeptFiles, *, relist: Callable[[], object]
) -> tuple[list[Finding], Census]:
    """Mend what can be; what was done, one finding for each thing, and the rest of the census.

    Products that cannot be kept are withdrawn, so that they are built again when they are asked
    for (``relist`` is called to list them as buildable); product files without rows and leftovers
    are removed. Ingested files are never touched. Raises StoreUnavailableError.
    """
    folder = files.data_dir / PRODUCTS
    here = any(not is_remote(product.path) for product, _ in census.products)
    if here and not folder.is_dir():
        message = f"there is no folder {folder}: nothing is mended"
        advice = "mount the disk it lies on; make it, empty, to give all products up"
        return [Finding("fail", "products", message, advice)], census
    done: list[Finding] = []
    store = ProductStore(engine=engine, files=files)
    for product, why in census.products:
        try:
            withdrawn = store.withdraw(product)
        except (OSError, RemoteUnavailableError) as fault:
            done.append(_cannot(product.path, fault))
            continue
        if withdrawn:
            text = f"{product.dataset_id} withdrawn, {why}: it is built again when it is asked for"
            done.append(Finding("mended", "products", text))
    if census.products:
        relist()
    for path in (*census.stray, *census.leftovers):
        subject = "products" if path in census.stray else "leftovers"
        try:
            files.remove(path)
        except (OSError, RemoteUnavailableError) as fault:
            done.append(_cannot(path, fault))
        else:
            done.append(Finding("mended", subject, f"removed {path}"))
    return done, replace(census, products=(), stray=(), leftovers=())


def _cannot(path: str, fault: Exception) -> Finding:
    reason = fault.strerror if isinstance(fault, OSError) else fault
    return Finding("fail", "files", f"cannot remove {path}: {reason}", "see its rights")
