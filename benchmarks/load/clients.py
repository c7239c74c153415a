"""What clients do: each action is one visit of a client to the service."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import httpx

CONE: Final = (
    "SELECT TOP 50 * FROM ivoa.ObsCore WHERE CONTAINS(POINT({ra}, {dec}), s_region) = 1 "
    "ORDER BY t_min"
)
COUNT: Final = (
    "SELECT obs_collection, COUNT(*) AS n FROM ivoa.ObsCore WHERE t_min > {day} "
    "GROUP BY obs_collection"
)
TABLE: Final = "SELECT * FROM ivoa.ObsCore"
HEAVY: Final = (
    "SELECT COUNT(*) FROM ivoa.ObsCore AS a, ivoa.ObsCore AS b, ivoa.ObsCore AS c "
    "WHERE a.t_min + b.t_min < c.t_max + {day}"
)
SLOW_PIECE_BYTES: Final = 2048
SLOW_PAUSE_S: Final = 0.2
MOST_PIECES: Final = 50


@dataclass(frozen=True, slots=True)
class Image:
    """A dataset whose pixels can be asked for, and a place on it."""

    name: str
    ra_deg: float
    dec_deg: float


@dataclass(frozen=True, slots=True)
class Visit:
    """A client's connection, what it may ask for, and its own chance."""

    web: httpx.AsyncClient
    images: tuple[Image, ...]
    chance: random.Random

    def image(self) -> Image:
        """Any of them."""
        return self.chance.choice(self.images)

    def query(self) -> dict[str, str]:
        """A short query that was not asked before."""
        text, image = self.chance.choice((CONE, COUNT)), self.image()
        ra, dec = (value + self.chance.uniform(-0.02, 0.02) for value in image_place(image))
        asked = text.format(ra=ra, dec=dec, day=self.chance.uniform(50_000, 61_000))
        return {"LANG": "ADQL", "QUERY": asked}


Action = Callable[[Visit], Awaitable[httpx.Response]]


def image_place(image: Image) -> tuple[float, float]:
    """ICRS longitude and latitude in degrees."""
    return image.ra_deg, image.dec_deg


async def query(visit: Visit) -> httpx.Response:
    """A short query."""
    return await visit.web.post("/tap/sync", data=visit.query())


async def table(visit: Visit) -> httpx.Response:
    """All rows, in a format by chance."""
    style = visit.chance.choice(("votable", "votable/b2", "csv", "parquet", "json"))
    asked = {"LANG": "ADQL", "QUERY": TABLE, "RESPONSEFORMAT": style}
    return await visit.web.get("/tap/sync", params=asked)


async def cutout(visit: Visit) -> httpx.Response:
    """Some pixels around a place."""
    image = visit.image()
    circle = f"{image.ra_deg} {image.dec_deg} {visit.chance.uniform(0.001, 0.01):.6f}"
    return await visit.web.get("/soda/sync", params={"ID": image.name, "CIRCLE": circle})


async def links(visit: Visit) -> httpx.Response:
    """Links of some datasets."""
    names = [visit.image().name for _ in range(visit.chance.randint(1, 20))]
    return await visit.web.post("/datalink/links", data={"ID": names})


async def preview(visit: Visit) -> httpx.Response:
    """A picture, most often one that was drawn before."""
    size = visit.chance.choice((150, 300, 900))
    return await visit.web.get("/previews", params={"ID": visit.image().name, "SIZE": size})


async def job(visit: Visit) -> httpx.Response:
    """An asynchronous query from its creation to its result."""
    created = await visit.web.post("/tap/async", data=visit.query() | {"PHASE": "RUN"})
    if created.status_code != httpx.codes.SEE_OTHER:
        return created
    place = created.headers["location"]
    answer = await visit.web.get(f"{place}/phase", params={"WAIT": 60})
    if answer.text.strip() == "COMPLETED":
        answer = await visit.web.get(f"{place}/results/result")
    removed = await visit.web.delete(place)
    return answer if answer.is_error else removed


async def hang_up(visit: Visit) -> httpx.Response:
    """A client that goes away in the middle of an answer."""
    asked = {"LANG": "ADQL", "QUERY": TABLE}
    async with visit.web.stream("GET", "/tap/sync", params=asked) as answer:
        async for _ in answer.aiter_raw(256):
            break
    return answer


async def read_slowly(visit: Visit) -> httpx.Response:
    """A client that takes an answer in small pieces, with pauses."""
    asked = {"LANG": "ADQL", "QUERY": TABLE}
    async with visit.web.stream("GET", "/tap/sync", params=asked) as answer:
        pieces = 0
        async for _ in answer.aiter_raw(SLOW_PIECE_BYTES):
            pieces += 1
            if pieces == MOST_PIECES:
                break
            await asyncio.sleep(SLOW_PAUSE_S)
    return answer


async def heavy(visit: Visit) -> httpx.Response:
    """A query that keeps a core busy."""
    day = visit.chance.uniform(50_000, 61_000)
    asked = {"LANG": "ADQL", "QUERY": HEAVY.format(day=day)}
    return await visit.web.post("/tap/sync", data=asked)


MIX: Final[tuple[tuple[int, Action], ...]] = (
    (40, query),
    (8, table),
    (22, cutout),
    (15, links),
    (4, preview),
    (5, job),
    (3, hang_up),
    (3, read_slowly),
)
"""How often of a hundred visits."""
