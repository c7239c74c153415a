"""Triplets of 30 arcsec on exposures of a simulated survey with their difference, by HTTP, warm.

Each at another position: the file with all planes, and its picture. The peer is astropy's Cutout2D
on the two files, open in this process, for the same six planes: no search, no template, no cards.
"""

from __future__ import annotations

import io
import statistics
from collections.abc import Iterator
from urllib.parse import urlencode

import httpx
import numpy as np
from astropy.io import fits
from astropy.nddata import Cutout2D
from astropy.wcs import WCS
from pyvo.dal.adhoc import DatalinkResults

from app.demo.settings import BANDS, Camera, SurveySettings
from app.demo.survey import make_survey
from benchmarks.figures import Figure, workspace
from benchmarks.looks import milliseconds
from tests.flows.service import Service

SURVEY = SurveySettings(
    camera=Camera(columns=1, rows=1, nx_px=1024, ny_px=1024),
    bands=BANDS[1:2],
    quiet_epochs=3,
    active_epochs=1,
    dither_arcsec=10.0,
)
RUNS = 60
SIDE_PX = 100
"""30 arcsec."""


def figures() -> Iterator[Figure]:
    """See the module."""
    folder = workspace() / "stamps"
    truth = make_survey(folder / "survey", seed=1, workers=2, settings=SURVEY)
    service = Service(data_dir=folder / "data")
    service.run("init")
    service.run("ingest", str(truth.images), "--collection", "bench")
    service.start()
    try:
        with httpx.Client(base_url=service.url, timeout=900, follow_redirects=True) as client:
            yield from of_one(client, "{} {}".format(*truth.centre_deg))
    finally:
        service.stop()


def of_one(client: httpx.Client, centre: str) -> Iterator[Figure]:
    """The last exposure."""
    asked = {"POS": centre, "MAXREC": "1", "BUILD": "true", "PLANES": "image"}
    built = client.get("/stamps", params=asked).raise_for_status()
    with fits.open(io.BytesIO(built.content)) as found:
        names = [found[role, 1].header["OBSPUBID"] for role in ("SCIENCE", "DIFFERENCE")]
        wcs = WCS(found["SCIENCE", 1].header)
    steps = np.random.default_rng(1).uniform(-300, 300, (RUNS, 2))
    places = [f"{lon!r} {lat!r}" for lon, lat in wcs.all_pix2world(steps + SIDE_PX / 2, 0).tolist()]

    def ask(place: str, **more: str) -> None:
        client.get("/stamps", params={"POS": place, "ID": names[0], **more}).raise_for_status()

    for form in ("fits", "png"):
        ask(centre, RESPONSEFORMAT=form)
        took = [milliseconds(lambda p=p, f=form: ask(p, RESPONSEFORMAT=f)) for p in places]
        peer = statistics.median(by_hand(client, names, places)) if form == "fits" else None
        yield Figure(
            name=f"triplet of {SIDE_PX} px as {form}, median",
            ours=statistics.median(took),
            unit="ms",
            peer_name="" if peer is None else "astropy's Cutout2D of open files",
            peer=peer,
        )


def by_hand(client: httpx.Client, names: list[str], places: list[str]) -> list[float]:
    """Milliseconds of the same cutouts by astropy."""
    files = [fits.open(_fetched(client, name)) for name in names]
    wcs = WCS(files[0]["IMAGE"].header)

    def cut(place: str) -> bytes:
        where = tuple(float(c) for c in wcs.all_world2pix(*map(float, place.split()), 0))
        units = [fits.PrimaryHDU()]
        for file in files:
            for name in ("IMAGE", "VARIANCE", "MASK"):
                part = Cutout2D(file[name].section, where, SIDE_PX, wcs=wcs, mode="partial")
                units.append(fits.ImageHDU(part.data, part.wcs.to_header()))
        buffer = io.BytesIO()
        fits.HDUList(units).writeto(buffer)
        return buffer.getvalue()

    return [milliseconds(lambda p=p: cut(p)) for p in places]


def _fetched(client: httpx.Client, name: str) -> io.BytesIO:
    """The file of a dataset, as its links give it."""
    url = f"{str(client.base_url).rstrip('/')}/datalink/links?{urlencode({'ID': name})}"
    (this,) = DatalinkResults.from_result_url(url).bysemantics("#this", include_narrower=False)
    return io.BytesIO(client.get(this.access_url).raise_for_status().content)
