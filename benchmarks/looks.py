"""Previews and tiles of an image of 4096 x 4096 pixels and links of a hundred datasets, by HTTP.

The peer of a preview is what a script does with astropy and Pillow in this process, without a
service: read, zscale, asinh, shrink, PNG. That of a tile does so with a part of the pixels. The
peer of a hundred links in one request are a hundred requests.
"""

from __future__ import annotations

import io
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pyvo
from astropy.io import fits
from astropy.visualization import AsinhStretch, ZScaleInterval
from PIL import Image

from benchmarks.cutouts import CENTRE, SCALE_DEG, make_images
from benchmarks.figures import Figure, workspace
from tests.flows.service import Service

COUNT = 100
SMALL_PX = 64
SIDE_PX = 512
TILE_PX = 512
COLOURS = ("inverse", "heat", "viridis", "magma", "coolwarm")
RUNS = 7


def make_exposures(folder: Path) -> None:
    """Small exposures, one a night."""
    for number in range(COUNT):
        header = fits.Header(
            {
                "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": CENTRE[0],
                "CRVAL2": CENTRE[1] + 1, "CRPIX1": 32.5, "CRPIX2": 32.5, "CD1_1": -SCALE_DEG,
                "CD2_2": SCALE_DEG, "RADESYS": "ICRS", "FILTER": "r", "EXPTIME": 30.0,
                "MJD-OBS": 60000.0 + number, "PROCTYPE": "calibrated",
            }
        )  # fmt: skip
        flux = np.random.default_rng(number).normal(100, 10, (SMALL_PX, SMALL_PX))
        path = folder / f"small{number:03d}.fits"
        fits.PrimaryHDU(flux.astype(np.float32), header).writeto(path, overwrite=True)


def milliseconds(call: Callable[[], object]) -> float:
    """Of one call."""
    start = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - start)


def by_hand(path: Path) -> bytes:
    """A preview as a script makes it."""
    flux = fits.getdata(path, "IMAGE")
    grey = (255 * AsinhStretch()(ZScaleInterval()(flux))).astype(np.uint8)[::-1]
    out = io.BytesIO()
    picture = Image.fromarray(grey).resize((SIDE_PX, SIDE_PX), Image.Resampling.BOX)
    picture.save(out, format="PNG")
    return out.getvalue()


def tile_by_hand(path: Path, corner: int) -> bytes:
    """A tile of full resolution as a script makes it."""
    with fits.open(path) as found:
        flux = found["IMAGE"].section[corner : corner + TILE_PX, corner : corner + TILE_PX]
    grey = (255 * AsinhStretch()(ZScaleInterval()(flux))).astype(np.uint8)[::-1]
    out = io.BytesIO()
    Image.fromarray(grey).save(out, format="PNG")
    return out.getvalue()


def figures() -> Iterator[Figure]:
    """See the module."""
    folder = workspace() / "looks"
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    make_images(images)
    make_exposures(images)
    service = Service(data_dir=folder / "data")
    service.run("init")
    service.run("ingest", str(images), "--collection", "bench")
    shutil.rmtree(folder / "data" / "cache", ignore_errors=True)
    service.start()
    try:
        found = pyvo.dal.TAPService(f"{service.url}/tap").search(
            "SELECT obs_publisher_did, s_xel1 FROM ivoa.ObsCore ORDER BY obs_publisher_did"
        )
        names = [str(row["obs_publisher_did"]) for row in found if row["s_xel1"] == SMALL_PX][
            :COUNT
        ]
        large = next(str(row["obs_publisher_did"]) for row in found if row["s_xel1"] > SMALL_PX)
        with httpx.Client(base_url=service.url, timeout=60) as client:
            yield from previews(client, large, images / "plain.fits")
            yield from tiles(client, large, images / "plain.fits")
            yield from links(client, names)
    finally:
        service.stop()


def previews(client: httpx.Client, name: str, path: Path) -> Iterator[Figure]:
    """Of sizes that were not drawn before, then again, one after the other."""

    def look(side_px: int) -> None:
        client.get("/previews", params={"ID": name, "SIZE": side_px}).raise_for_status()

    look(SIDE_PX - RUNS)
    cold, hand = [], []
    sizes = range(SIDE_PX - RUNS + 1, SIDE_PX + 1)
    for side_px in sizes:
        cold.append(milliseconds(lambda side_px=side_px: look(side_px)))
        hand.append(milliseconds(lambda: by_hand(path)))
    again = [milliseconds(lambda side_px=side_px: look(side_px)) for side_px in 3 * [*sizes]]
    yield Figure(
        name=f"preview of {SIDE_PX} px, cold, median",
        ours=statistics.median(cold),
        unit="ms",
        peer_name="astropy and Pillow",
        peer=statistics.median(hand),
    )
    yield Figure(name="the same again", ours=statistics.median(again), unit="ms")


def tiles(client: httpx.Client, name: str, path: Path) -> Iterator[Figure]:
    """Of places that were not looked at before, then again; the first has found the limits."""

    def look(level: int, place: int, **more: str) -> None:
        asked = {"ID": name, "LEVEL": level, "ROW": place, "COLUMN": place} | more
        client.get("/tiles", params=asked).raise_for_status()

    finest = int(client.get("/tiles/layout", params={"ID": name}).json()["levels"]) - 1
    look(finest, 0)
    cold, again, hand = [], [], []
    for place in range(1, RUNS + 1):
        cold.append(milliseconds(lambda place=place: look(finest, place)))
        hand.append(milliseconds(lambda place=place: tile_by_hand(path, place * TILE_PX)))
        again.append(milliseconds(lambda place=place: look(finest, place)))
    yield Figure(
        name=f"tile of {TILE_PX} px, cold, median",
        ours=statistics.median(cold),
        unit="ms",
        peer_name="astropy and Pillow",
        peer=statistics.median(hand),
    )
    yield Figure(name="the same again", ours=statistics.median(again), unit="ms")
    whole = [milliseconds(lambda each=each: look(0, 0, COLORMAP=each)) for each in COLOURS]
    yield Figure(name="tile of the whole image, cold", ours=statistics.median(whole), unit="ms")


def links(client: httpx.Client, names: list[str]) -> Iterator[Figure]:
    """All in one request."""

    def ask(*some: str) -> None:
        client.post("/datalink/links", data={"ID": list(some)}).raise_for_status()

    ask(*names)
    together, apart = [], []
    for _ in range(RUNS):
        together.append(milliseconds(lambda: ask(*names)))
        apart.append(milliseconds(lambda: [ask(name) for name in names]))
    yield Figure(
        name=f"DataLink of {len(names)} datasets, median",
        ours=statistics.median(together),
        unit="ms",
        peer_name="one by one",
        peer=statistics.median(apart),
    )
