"""Images of every kind that cutouts are made of, and a service that cuts them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from fastapi import FastAPI
from starlette.testclient import TestClient

from app.http import soda
from app.http.context import ServiceAddress
from app.http.faults import describe_plainly, install_fault_handlers
from app.pixels.detect import gaussian_psf
from app.pixels.grid import Grid
from app.recipes.recipe import ImageRef, PlaneRef
from app.services.cutout_files import CutoutWriter
from app.services.cutout_jobs import CutoutExecutor
from app.services.cutout_pictures import CutoutPictures
from app.services.cutouts import CutoutService
from app.services.dispatcher import Dispatcher
from app.services.jobs import JobService
from app.services.links import LinkService
from app.services.query import QueryService
from app.services.signatures import FileSigner
from app.stores.images import ImageStore
from app.stores.metadata import MetadataStores, open_stores
from app.stores.plane_files import PlaneFiles
from app.stores.results import ResultStore
from tests.databases import database_at
from tests.services.builds_fixture import now
from tests.services.survey import CENTRE, Exposure, dataset_row, write_exposure

PLAIN = Exposure(visit=1, rotation_deg=30)
TILED = Exposure(visit=2, rotation_deg=30)
WITH_PSF = Exposure(visit=3)
CUBE = "ivo://test.local/field?cube"
ELSEWHERE = "ivo://test.local/field?elsewhere"
PROMISED = "ivo://test.local/products?difference-of/field:i/1"
UNPLACED = "ivo://test.local/field?unplaced"
LOST = Exposure(visit=21)
CIRCLE = f"{CENTRE[0]} {CENTRE[1]} 0.004"


@contextmanager
def published(folder: Path) -> Iterator[MetadataStores]:
    """Images of every kind, published."""
    url = database_at(folder / "skyloom.sqlite3")
    opened = open_stores(url)
    rows = [
        dataset_row(write_exposure(folder, each), each) for each in (PLAIN, TILED, WITH_PSF, LOST)
    ]
    compress(folder / "i-1.fits", folder / "i-2.fits")
    stamp = fits.Header({"EXTNAME": "PSF"})
    fits.append(folder / "i-3.fits", gaussian_psf(4.0).astype(np.float32), stamp)
    (folder / "i-21.fits").unlink()
    plain = rows[0]
    columns = {**plain.columns, "obs_id": "other"}
    external = {**columns, "obs_publisher_did": ELSEWHERE, "access_url": "http://far.org/x"}
    promised = {**columns, "obs_publisher_did": PROMISED, "build_state": "buildable"}
    unplaced = {**columns, "obs_publisher_did": UNPLACED}
    empty = '{"dataset_id":"","planes":[],"grid":""}'
    opened.datasets.upsert(
        [
            *rows,
            cube_row(folder, columns, plain),
            replace(plain, columns=external, origin="external", file_path="elsewhere"),
            replace(plain, columns=promised, origin="virtual", file_path="", image_ref=empty),
            replace(plain, columns=unplaced, image_ref=empty),
        ]
    )
    try:
        yield opened
    finally:
        opened.close()


def compress(source: Path, path: Path) -> None:
    """The same image in tiles of 32 x 32, its real numbers without loss."""
    with fits.open(source) as plain:
        units = [
            fits.CompImageHDU(
                unit.data,
                header=unit.header,
                name=unit.name,
                compression_type="GZIP_2" if unit.data.dtype.kind == "f" else "RICE_1",
                quantize_level=0,
                tile_shape=(32, 32),
            )
            for unit in plain[1:]
        ]
        fits.HDUList([plain[0].copy(), *units]).writeto(path, overwrite=True)


def cube_row(folder: Path, columns: Any, like: Any) -> Any:
    """A cube of 4 polarisations, 10 channels and 30 x 20 pixels, scaled 16-bit numbers."""
    header = fits.Header()
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN", "DEC--TAN"
    header["CRVAL1"], header["CRVAL2"] = CENTRE
    header["CRPIX1"], header["CRPIX2"] = 15.5, 10.5
    header["CDELT1"], header["CDELT2"] = -0.001, 0.001
    header["CTYPE3"], header["CUNIT3"] = "FREQ", "GHz"
    header["CRVAL3"], header["CRPIX3"], header["CDELT3"] = 100.0, 1.0, 1.0
    header["CTYPE4"], header["CRVAL4"], header["CRPIX4"], header["CDELT4"] = "STOKES", 1.0, 1.0, 1.0
    values = np.arange(4 * 10 * 20 * 30, dtype=np.int16).reshape(4, 10, 20, 30)
    unit = fits.PrimaryHDU(values, header)
    unit.header["BSCALE"], unit.header["BZERO"] = 0.5, 100.0
    path = folder / "cube.fits"
    unit.writeto(path)
    grid = Grid.from_header(header, values.shape)
    ref = ImageRef(
        dataset_id=CUBE,
        planes=(PlaneRef(path=str(path), hdu=0, role="image"),),
        grid=grid.to_text(),
    )
    told = {**columns, "obs_publisher_did": CUBE, "dataproduct_type": "cube", "pol_states": "/I/"}
    return replace(like, columns=told, file_path=str(path), file_hdu=0, image_ref=ref.to_text())


@contextmanager
def serving(folder: Path, stores: MetadataStores) -> Iterator[TestClient]:
    """A client of their cutouts."""
    files, results = PlaneFiles(data_dir=folder), ResultStore(data_dir=folder)
    cutouts = CutoutService(datasets=stores.datasets, files=files)
    writer = CutoutWriter(files=files, images=ImageStore(data_dir=folder))
    pictures = CutoutPictures(files=files)
    dispatcher = Dispatcher(
        jobs=stores.jobs,
        executors={
            "cutout": CutoutExecutor(
                cutouts=cutouts,
                writer=writer,
                pictures=pictures,
                results=results,
                describe_error=describe_plainly,
            )
        },
        slots={"cutout": 1},
        clock=now,
        expire=lambda _job: None,
        discard=results.delete,
        owner="test",
        lease_s=300,
        max_attempts=2,
        poll_s=0.1,
    )
    jobs = JobService(
        jobs=stores.jobs,
        results=results,
        clock=now,
        lifetime_s=3600,
        execution_limits_s={},
        on_change=dispatcher.notify,
    )
    signer = FileSigner(keys=lambda: [b"k" * 32], clock=now, lifetime_s=60)
    app = FastAPI()
    install_fault_handlers(app)
    app.include_router(
        soda.router(
            cutouts=cutouts,
            writer=writer,
            pictures=pictures,
            queries=QueryService(
                tables=stores.tables,
                catalogs=stores.catalogs,
                default_rows=10,
                max_rows=10,
                time_limit_s=10,
            ),
            jobs=jobs,
            results=results,
            links=LinkService(datasets=stores.datasets, signer=signer),
            address=ServiceAddress(base_url=None),
        )
    )
    dispatcher.start()
    with TestClient(app, follow_redirects=False, raise_server_exceptions=False) as made:
        yield made
    dispatcher.stop()


def cut(client: TestClient, **parameters: Any) -> fits.HDUList:
    """A cutout as astropy reads it."""
    answer = client.get("/soda/sync", params={"ID": PLAIN.dataset_id, **parameters})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/fits"
    hdulist = fits.open(io.BytesIO(answer.content))
    hdulist.verify("exception")
    return hdulist
