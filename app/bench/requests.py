"""Requests that a bench sends, and how long their answers take."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

import httpx

from app.bench.figures import Figure
from app.errors import UsageError

TIMES: Final = 15
SHARE_S: Final = 3.0
"""A figure is the median of so many requests, or of those that fit into so many seconds; of one at
least, after a first that is not counted."""


@dataclass(frozen=True, slots=True)
class Place:
    """An image and a position on it (ICRS, deg)."""

    image: str
    ra_deg: float
    dec_deg: float


class Bench:
    """Measures a service until the time is over. ``client`` has its address."""

    def __init__(self, client: httpx.AsyncClient, *, until_s: float) -> None:
        self._client = client
        self._until_s = until_s

    def left_s(self) -> float:
        """Of the whole time."""
        return self._until_s - time.monotonic()

    async def find_places(self) -> list[Place]:
        """Some public images that are there, and their centres. Raises UsageError with what the
        service says when it does not answer the question."""
        query = (
            "SELECT TOP 5 obs_publisher_did, s_ra, s_dec FROM ivoa.ObsCore WHERE s_ra IS NOT NULL "
            "AND calib_level = 2 AND dataproduct_type = 'image' "
            "AND (data_rights = 'public' OR data_rights IS NULL)"
        )
        try:
            answer = await self._client.get(tap(query, 5))
        except httpx.HTTPError as fault:
            raise UsageError(f"the service cannot be measured: {fault}") from fault
        if answer.is_error:
            raise UsageError(f"the service cannot be measured: {_first_line(answer)}")
        return [_place_of(row) for row in answer.text.strip().splitlines()[1:]]

    async def measure(self, name: str, addresses: Iterator[str], times: int = TIMES) -> Figure:
        """The median time of some requests, after a first one, which may find code that is not
        compiled yet. An answer that is an error is told in the note."""
        taken: list[float] = []
        began_s = time.monotonic()
        while len(taken) <= times and (len(taken) < 2 or time.monotonic() - began_s < SHARE_S):
            if self.left_s() <= 0.0:
                break
            begun_s = time.perf_counter()
            try:
                answer = await self._client.get(next(addresses), timeout=self.left_s())
            except httpx.HTTPError as fault:
                return Figure(name, None, note=f"no answer ({type(fault).__name__})")
            if answer.is_error:
                return Figure(name, None, note=_first_line(answer))
            taken.append(time.perf_counter() - begun_s)
        counted = sorted(taken[1:])
        if not counted:
            return Figure(name, None, note="the time is over")
        return Figure(name, counted[len(counted) // 2])


def _place_of(row: str) -> Place:
    image, ra_deg, dec_deg = row.rsplit(",", 2)
    return Place(image.strip('"'), float(ra_deg), float(dec_deg))


def _first_line(answer: httpx.Response) -> str:
    lines = answer.text.strip().splitlines() or [""]
    return f"{answer.status_code} {lines[0][:200]}"


def tap(query: str, maxrec: int) -> str:
    """The address of a synchronous query."""
    asked = {"LANG": "ADQL", "FORMAT": "csv", "MAXREC": maxrec, "QUERY": query}
    return f"/tap/sync?{urlencode(asked)}"


def reading(place: Place) -> dict[str, Iterator[str]]:
    """Name -> addresses of requests that change nothing."""
    at = f"{place.ra_deg} {place.dec_deg}"
    cone = f"CONTAINS(POINT('ICRS', {place.ra_deg}, {place.dec_deg}), s_region) = 1"
    size_deg = 50 * 0.25 / 3600
    asked = {
        "query": tap("SELECT TOP 10 * FROM ivoa.ObsCore", 10),
        "cone": tap(f"SELECT TOP 100 * FROM ivoa.ObsCore WHERE {cone}", 100),
        "rows": tap("SELECT TOP 10000 * FROM ivoa.ObsCore", 10_000),
        "sia": f"/sia/query?{urlencode({'POS': f'CIRCLE {at} 0.01', 'MAXREC': 100})}",
        "links": f"/datalink/links?{urlencode({'ID': place.image})}",
        "cutout": f"/soda/sync?{urlencode({'ID': place.image, 'CIRCLE': f'{at} {size_deg}'})}",
    }
    return {name: _again(address) for name, address in asked.items()}


def drawing(place: Place) -> dict[str, Iterator[str]]:
    """Requests whose answers are kept in a cache: pictures, each of another size."""
    sizes = (f"/previews?{urlencode({'ID': place.image, 'SIZE': 512 - n})}" for n in range(400))
    return {"preview": sizes}


def building(place: Place, images: Iterable[str]) -> dict[str, Iterator[str]]:
    """Requests that make products, each another one."""
    circles = (f"CIRCLE {place.ra_deg} {place.dec_deg + 0.001 * n} 0.0067" for n in range(9))
    templates = (urlencode({"POS": circle, "BAND": "r"}) for circle in circles)
    differences = (urlencode({"ID": image}) for image in images)
    return {
        "template": (f"/builds/template/sync?{asked}" for asked in templates),
        "difference": (f"/builds/difference/sync?{asked}" for asked in differences),
    }


def _again(address: str) -> Iterator[str]:
    while True:
        yield address
