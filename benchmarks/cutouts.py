"""Cutouts of 200 x 200 pixels from an image of 4096 x 4096 with three planes, by HTTP.

Warm, which is how people look at a field again and again: requests per second with eight clients,
the median time with one, and what the server reads for each byte it sends, of a plain file and of
one in compressed tiles. The peer is astropy's Cutout2D with the same file open in this process: no
service, no header, no variance and mask made into a file, one plane after the other.
"""

from __future__ import annotations

import http.client
import io
import math
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from urllib.parse import quote, urlencode

import numpy as np
import pyvo
from astropy.io import fits
from astropy.nddata import Cutout2D
from astropy.wcs import WCS

from benchmarks.figures import Figure, workspace
from tests.flows.service import Service

SIZE_PX = 4096
SIDE_PX = 200
SCALE_DEG = 0.2 / 3600
CENTRE = (150.0, 2.0)
REQUESTS = 400
CLIENTS = 8
PIXEL_BYTES = 4
PLANES = ("IMAGE", "MASK", "VARIANCE")


def make_images(folder: Path) -> None:
    """One image with its planes, plain and in Rice-compressed tiles of rows."""
    rng = np.random.default_rng(1)
    header = fits.Header()
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN", "DEC--TAN"
    header["CRVAL1"], header["CRVAL2"] = CENTRE
    header["CRPIX1"] = header["CRPIX2"] = (SIZE_PX + 1) / 2
    header["CD1_1"], header["CD2_2"] = -SCALE_DEG, SCALE_DEG
    header["RADESYS"], header["FILTER"], header["MJD-OBS"] = "ICRS", "i", 60000.0
    header["EXPTIME"] = 30.0
    shape = SIZE_PX, SIZE_PX
    flux = rng.normal(100, 10, shape).astype(np.float32)
    planes = (flux, (rng.random(shape) < 0.01).astype(np.int32), np.full_like(flux, 100))
    for name, kind in (("plain", fits.ImageHDU), ("tiled", fits.CompImageHDU)):
        units = [kind(data, header, name=each) for data, each in zip(planes, PLANES, strict=True)]
        fits.HDUList([fits.PrimaryHDU(), *units]).writeto(folder / f"{name}.fits", overwrite=True)


def places(count: int) -> list[str]:
    """Centres spread over the image, as CIRCLE of half the side."""
    rng = np.random.default_rng(2)
    reach = (SIZE_PX / 2 - SIDE_PX) * SCALE_DEG
    radius = (SIDE_PX / 2 - 0.5) * SCALE_DEG
    lon = CENTRE[0] + rng.uniform(-reach, reach, count) / math.cos(math.radians(CENTRE[1]))
    lat = CENTRE[1] + rng.uniform(-reach, reach, count)
    return [f"{a:.7f} {b:.7f} {radius:.8f}" for a, b in zip(lon, lat, strict=True)]


def ask(port: int, dataset_id: str, circles: list[str]) -> list[tuple[float, int]]:
    """Seconds and bytes of one request after the other, on one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    told = []
    for circle in circles:
        query = urlencode({"ID": dataset_id, "CIRCLE": circle}, quote_via=quote)
        start = time.perf_counter()
        connection.request("GET", f"/soda/sync?{query}")
        answer = connection.getresponse()
        content = answer.read()
        told.append((time.perf_counter() - start, len(content)))
        if answer.status != http.client.OK:
            raise RuntimeError(content.decode())
    return told


def throughput(port: int, dataset_id: str) -> float:
    """Requests per second of all clients together."""
    shares = [places(REQUESTS)[each::CLIENTS] for each in range(CLIENTS)]
    with ProcessPoolExecutor(2) as processes:
        list(processes.map(_one_thread_each, [(port, dataset_id, [s[:5]]) for s in shares[:2]]))
        start = time.perf_counter()
        halves = [(port, dataset_id, shares[each::2]) for each in range(2)]
        list(processes.map(_one_thread_each, halves))
        return REQUESTS / (time.perf_counter() - start)


def _one_thread_each(given: tuple[int, str, list[list[str]]]) -> int:
    from concurrent.futures import ThreadPoolExecutor

    port, dataset_id, shares = given
    with ThreadPoolExecutor(len(shares)) as threads:
        return sum(len(told) for told in threads.map(lambda s: ask(port, dataset_id, s), shares))


def bytes_read(process: int) -> int:
    """What a process has read from files and sockets so far."""
    lines = Path(f"/proc/{process}/io").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("rchar")).split()[1])


def peer(path: Path | str, **options: bool) -> Callable[[str], bytes]:
    """Cutouts by astropy, the file open and its WCS known."""
    hdulist = fits.open(path, **options)
    wcs = WCS(hdulist[1].header)

    def cut(circle: str) -> bytes:
        lon, lat, _ = map(float, circle.split())
        place = tuple(float(c) for c in wcs.all_world2pix(lon, lat, 0))
        units = []
        for name in PLANES:
            section = Cutout2D(hdulist[name].section, place, SIDE_PX, wcs=wcs)
            units.append(fits.ImageHDU(section.data, section.wcs.to_header(), name=name))
        buffer = io.BytesIO()
        fits.HDUList([fits.PrimaryHDU(), *units]).writeto(buffer)
        return buffer.getvalue()

    return cut


def figures() -> Iterator[Figure]:
    """See the module."""
    folder = workspace() / "cutouts"
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    make_images(images)
    service = Service(data_dir=folder / "data")
    service.run("init", "--data-dir", str(folder / "data"))
    service.run("ingest", str(images), "--collection", "bench", "--data-dir", str(folder / "data"))
    service.start()
    try:
        rows = pyvo.dal.TAPService(f"{service.url}/tap").search(
            "SELECT obs_publisher_did FROM ivoa.ObsCore ORDER BY obs_publisher_did"
        )
        port = int(service.url.rpartition(":")[2])
        for name, row in zip(("plain", "tiled"), rows, strict=True):
            yield from of_one(name, str(row["obs_publisher_did"]), port, service, images)
    finally:
        service.stop()


def of_one(
    name: str, dataset_id: str, port: int, service: Service, images: Path
) -> Iterator[Figure]:
    """The figures of one file."""
    circles = places(60)
    ask(port, dataset_id, circles[:10])
    before = bytes_read(service.process.pid)
    told = ask(port, dataset_id, circles)
    read = bytes_read(service.process.pid) - before
    cut = peer(images / f"{name}.fits")
    spent = []
    for circle in circles:
        start = time.perf_counter()
        cut(circle)
        spent.append(time.perf_counter() - start)
    yield Figure(
        name=f"{name}: median of one client",
        ours=1000 * statistics.median(seconds for seconds, _ in told),
        unit="ms",
        peer_name="Cutout2D in this process",
        peer=1000 * statistics.median(spent),
    )
    yield Figure(
        name=f"{name}: bytes read for each sent", ours=read / sum(n for _, n in told), unit=""
    )
    yield Figure(
        name=f"{name}: {CLIENTS} clients",
        ours=throughput(port, dataset_id),
        unit="/s",
        larger_is_better=True,
    )
