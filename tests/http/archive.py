"""A small archive behind the real routers: SQLite file, FITS files, dispatcher, uvicorn."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import uvicorn
from astropy.io import fits
from fastapi import FastAPI

from app.http import datalink, files, sia, tap
from app.http.context import ServiceAddress
from app.http.faults import install_fault_handlers
from app.pixels.grid import Grid
from app.recipes.recipe import ImageRef, PlaneRef
from app.schema.rows import DatasetRow, ProductInput, ProductQuality
from app.services.dispatcher import Dispatcher
from app.services.jobs import JobService
from app.services.links import LinkService
from app.services.query import QueryService, TapExecutor
from app.services.signatures import FileSigner
from app.services.uploads import UploadLimits, UploadService
from app.stores.downloads import Downloads
from app.stores.metadata import MetadataStores, open_stores
from app.stores.results import ResultStore
from tests.databases import database_at

DATALINK = "application/x-votable+xml;content=datalink"
LIFETIME_S = 86400
LINK_LIFETIME_S = 3600


class Clock:
    """The time now, or later."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@dataclass
class Archive:
    """What the tests reach into."""

    app: FastAPI
    stores: MetadataStores
    jobs: JobService
    links: LinkService
    results: ResultStore
    clock: Clock
    data_dir: Path
    dispatcher: Dispatcher
    url: str = ""


def make_uploads(results: ResultStore) -> UploadService:
    """Small limits; tables may also come from this machine."""
    limits = UploadLimits(max_bytes=1_000_000, max_rows=2000, max_columns=20, max_tables=3)
    downloads = Downloads(max_bytes=1_000_000, time_limit_s=60, hosts=["127.0.0.1"])
    return UploadService(limits=limits, downloads=downloads, results=results)


@contextmanager
def open_archive(data_dir: Path, *, max_ids: int = 200) -> Iterator[Archive]:
    """The archive with its dispatcher running; no datasets yet."""
    url = database_at(data_dir / "archive.sqlite3")
    stores, clock = open_stores(url), Clock()
    results = ResultStore(data_dir=data_dir)
    queries = QueryService(
        tables=stores.tables,
        catalogs=stores.catalogs,
        default_rows=1000,
        max_rows=5000,
        time_limit_s=300,
    )
    uploads = make_uploads(results)
    executor = TapExecutor(
        queries=queries, uploads=uploads, results=results, default_service_url="http://nowhere"
    )
    wake: list[Dispatcher] = []
    jobs = JobService(
        jobs=stores.jobs,
        results=results,
        clock=clock,
        lifetime_s=LIFETIME_S,
        execution_limits_s={"tap": 300},
        on_change=lambda job: [each.notify(job) for each in wake] and None,
    )
    dispatcher = Dispatcher(
        jobs=stores.jobs,
        executors={"tap": executor},
        slots={"tap": 2},
        clock=clock,
        expire=jobs.expire,
        discard=results.delete,
        owner="test",
        lease_s=300,
        max_attempts=2,
        poll_s=0.1,
    )
    wake.append(dispatcher)
    signer = FileSigner(keys=lambda: [b"key" * 8], clock=clock, lifetime_s=LINK_LIFETIME_S)
    links = LinkService(datasets=stores.datasets, signer=signer, max_ids=max_ids)
    app = make_app(queries, jobs, results, links)
    dispatcher.start()
    try:
        yield Archive(app, stores, jobs, links, results, clock, data_dir, dispatcher)
    finally:
        dispatcher.stop()
        stores.close()


def make_app(
    queries: QueryService, jobs: JobService, results: ResultStore, links: LinkService
) -> FastAPI:
    """The routers of this room in an application of their own."""
    app = FastAPI()
    install_fault_handlers(app)
    address = ServiceAddress(base_url=None)
    app.include_router(
        tap.router(
            queries=queries,
            jobs=jobs,
            results=results,
            links=links,
            uploads=make_uploads(results),
            address=address,
            retention_s=LIFETIME_S,
        )
    )
    app.include_router(sia.router(queries=queries, uploads=make_uploads(results), address=address))
    app.include_router(datalink.router(links=links, address=address))
    app.include_router(files.router(links=links))
    return app


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """The application on a real socket; gives its address."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        config = uvicorn.Config(
            app, log_level="error", server_header=False, headers=[("Server", "Skyloom/0.1.0")]
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            thread.join(10)


def add_images(archive: Archive, count: int = 3) -> list[str]:
    """Calibrated images with a weight map each, and a template made of the first two."""
    images = [_image(archive.data_dir, number) for number in range(count)]
    archive.stores.datasets.upsert(images)
    product = _product(archive.data_dir)
    uses = [
        ProductInput(
            product_id=product.dataset_id, input_id=row.dataset_id, role="template", weight=0.5
        )
        for row in images[:2]
    ]
    left_out = ProductInput(
        product_id=product.dataset_id,
        input_id=images[-1].dataset_id,
        role="template",
        rejected="too few pixels",
    )
    archive.stores.datasets.publish(
        product,
        [*uses, left_out],
        ProductQuality(product_id=product.dataset_id, numbers={"n_inputs": len(uses)}),
        result_media_type="application/fits",
        now=archive.clock(),
        sources=[{"dia_source_id": 1, "obs_publisher_did": product.dataset_id, "ra": 10, "dec": 0}],
    )
    return [row.dataset_id for row in (*images, product)]


def _image(data_dir: Path, number: int) -> DatasetRow:
    path = _fits(data_dir / "images" / f"visit {number}.fits", value=number)
    weight = _fits(data_dir / "images" / f"visit {number}.weight.fits", value=1)
    planes = (
        PlaneRef(path=str(path), hdu=0, role="image"),
        PlaneRef(path=str(weight), hdu=0, role="weight"),
    )
    columns = {
        "obs_id": f"visit-{number}",
        "obs_publisher_did": f"ivo://skyloom.test/demo?Visit-{number}",
        "calib_level": 2,
        "dataproduct_subtype": "lsst.visit_image",
        "lsst_visit": number,
        "s_ra": 10.0 + 0.01 * number,
        "t_min": 60000.0 + number,
        "t_max": 60000.01 + number,
        "target_name": "a <b> & 'c'",
    }
    return _row(path, columns, planes)


def _product(data_dir: Path) -> DatasetRow:
    path = _fits(data_dir / "products" / "template.fits", value=7)
    columns = {
        "obs_id": "template-1",
        "obs_publisher_did": "ivo://skyloom.test/products?template/1",
        "calib_level": 3,
        "dataproduct_subtype": "lsst.template_coadd",
        "s_ra": 10.0,
    }
    return _row(path, columns, (PlaneRef(path=str(path), hdu=0, role="image"),))


def _row(
    path: Path, columns: dict[str, str | int | float], planes: tuple[PlaneRef, ...]
) -> DatasetRow:
    did = str(columns["obs_publisher_did"])
    ra = float(columns["s_ra"])
    corners = ((ra - 0.1, -0.1), (ra + 0.1, -0.1), (ra + 0.1, 0.1), (ra - 0.1, 0.1))
    common = {
        "dataproduct_type": "image",
        "obs_collection": "demo",
        "access_url": f"/datalink/links?ID={did.replace('?', '%3F').replace('/', '%2F')}",
        "access_format": DATALINK,
        "access_estsize": 3,
        "s_dec": 0.0,
        "s_region": "POLYGON ICRS " + " ".join(f"{x} {y}" for x, y in corners),
        "lsst_band": "i",
        "facility_name": "Test",
        "instrument_name": "Cam",
    }
    ref = ImageRef(
        dataset_id=did, planes=planes, grid=Grid("CTYPE1  = 'RA---TAN'", (4, 4)).to_text()
    )
    return DatasetRow(
        columns=common | columns,
        file_path=str(path),
        file_hdu=0,
        file_size=path.stat().st_size,
        file_mtime_ns=path.stat().st_mtime_ns,
        file_checksum="",
        image_ref=ref.to_text(),
    )


def _fits(path: Path, value: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    fits.PrimaryHDU(np.full((40, 40), value, np.float32)).writeto(path, overwrite=True)
    return path
