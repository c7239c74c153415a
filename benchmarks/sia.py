"""SIA 2.0 on 1,000,000 rows over HTTP, and in turns the same search as ADQL through TAP.

``python -m benchmarks sia``, or ``python -m benchmarks.sia [--quick]``. One client on a connection
that stays; each search and its twin must find equally many rows. The databases are those of
:mod:`benchmarks.tap_databases`. A search is to take at most 1.2 times its twin (ratio 0.83).
"""

from __future__ import annotations

import argparse
import http.client
import re
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Final

from benchmarks.figures import Figure, interleaved, machine
from benchmarks.tap_by_hand import LAT, LON
from benchmarks.tap_databases import postgres_service, sqlite_service
from tests.flows.service import Service

RUNS: Final = 40
LONG_RUNS: Final = 7
MAXREC: Final = "100000"
IMAGES: Final = "dataproduct_type IN ('image', 'cube')"
"""What SIA adds of itself."""

Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Parameters of SIA, and the condition of the ADQL that asks the same."""

    name: str
    asked: Pairs
    condition: str
    is_long: bool = False


def searches(identifier: str) -> Iterator[Search]:
    """What people ask for; ``identifier`` is that of an image."""
    circle = "INTERSECTS(CIRCLE('ICRS', {}, {}, {}), s_region) = 1"
    for radius in (0.001, 0.1, 0.5):
        yield Search(
            name=f"circle of {radius} deg",
            asked=[("POS", f"CIRCLE {LON} {LAT} {radius}")],
            condition=circle.format(LON, LAT, radius),
            is_long=radius > 0.1,
        )
    yield Search(
        name="circle, band, time, level and kind",
        asked=[
            ("POS", f"CIRCLE {LON} {LAT} 0.1"),
            ("BAND", "6e-7 6.5e-7"),
            ("TIME", "60000 60400"),
            ("CALIB", "2"),
            ("CALIB", "3"),
            ("DPTYPE", "image"),
        ],
        condition=f"{circle.format(LON, LAT, 0.1)} AND em_min <= 6.5e-7 AND em_max >= 6e-7 "
        "AND t_min <= 60400 AND t_max >= 60000 AND calib_level IN (2, 3) "
        "AND dataproduct_type = 'image'",
    )
    places = [(LON + 0.37 * n, LAT + 0.21 * n) for n in range(10)]
    yield Search(
        name="ten circles",
        asked=[("POS", f"CIRCLE {lon} {lat} 0.01") for lon, lat in places],
        condition=f"({' OR '.join(circle.format(lon, lat, 0.01) for lon, lat in places)})",
    )
    corners = [(LON, LAT), (LON + 0.2, LAT), (LON + 0.2, LAT + 0.2), (LON, LAT + 0.2)]
    polygon = [str(x) for corner in corners for x in corner]
    yield Search(
        name="polygon",
        asked=[("POS", f"POLYGON {' '.join(polygon)}")],
        condition=f"INTERSECTS(POLYGON('ICRS', {', '.join(polygon)}), s_region) = 1",
    )
    yield Search(
        name="identifier",
        asked=[("ID", identifier.upper())],
        condition=f"LOWER(obs_publisher_did) = '{identifier.lower()}'",
    )
    yield Search(
        name="five days of one level, no position",
        asked=[("TIME", "60500 60505"), ("CALIB", "2")],
        condition="t_min <= 60505 AND t_max >= 60500 AND calib_level IN (2)",
        is_long=True,
    )


def figures(*, quick: bool = False) -> Iterator[Figure]:
    """Both engines."""
    yield from _of_service("SQLite", sqlite_service(), quick)
    with postgres_service() as postgres:
        if isinstance(postgres, str):
            print(f"  not run: PostgreSQL ({postgres})")
        else:
            yield from _of_service("PostgreSQL", postgres, quick)


def _of_service(engine: str, service: Service, quick: bool) -> Iterator[Figure]:
    service.start()
    try:
        with closing(http.client.HTTPConnection("127.0.0.1", service.port)) as client:
            for search in searches(_some_identifier(client)):
                yield _figure(engine, client, search, quick)
            yield _alone(engine, client, _range_asked(), "range of 0.2 deg (TAP has none)")
            yield _alone(engine, client, [("MAXREC", "0")], "metadata alone")
    finally:
        service.stop()


def _some_identifier(client: http.client.HTTPConnection) -> str:
    query = (
        "SELECT TOP 1 obs_publisher_did FROM ivoa.ObsCore "
        f"WHERE CONTAINS(POINT('ICRS', {LON}, {LAT}), s_region) = 1"
    )
    asked = [("LANG", "ADQL"), ("QUERY", query), ("RESPONSEFORMAT", "csv")]
    return _asking(client, "/tap/sync", asked)().decode().split()[1]


def _figure(engine: str, client: http.client.HTTPConnection, search: Search, quick: bool) -> Figure:
    query = f"SELECT * FROM ivoa.ObsCore WHERE {search.condition}"
    query += "" if "dataproduct_type" in query else f" AND {IMAGES}"
    sia = _asking(client, "/sia/query", [*search.asked, ("MAXREC", MAXREC)])
    tap = _asking(client, "/tap/sync", [("LANG", "ADQL"), ("QUERY", query), ("MAXREC", MAXREC)])
    rows, others = _rows(sia()), _rows(tap())
    if rows != others or not rows:
        raise ValueError(f"{search.name}: SIA finds {rows} rows, TAP {others}")
    runs = (LONG_RUNS if search.is_long else RUNS) // (2 if quick else 1)
    seconds = interleaved(runs, sia=sia, tap=tap)
    return Figure(
        name=f"{search.name}, {rows} rows, {engine}",
        ours=1e3 * seconds["sia"],
        unit="ms",
        peer_name="the same by TAP",
        peer=1e3 * seconds["tap"],
    )


def _range_asked() -> Pairs:
    return [("POS", f"RANGE {LON} {LON + 0.2} {LAT} {LAT + 0.2}"), ("MAXREC", MAXREC)]


def _alone(engine: str, client: http.client.HTTPConnection, asked: Pairs, name: str) -> Figure:
    ask = _asking(client, "/sia/query", asked)
    rows = _rows(ask())
    seconds = interleaved(LONG_RUNS, sia=ask)["sia"]
    return Figure(name=f"{name}, {rows} rows, {engine}", ours=1e3 * seconds, unit="ms")


def _asking(client: http.client.HTTPConnection, path: str, asked: Pairs) -> Callable[[], bytes]:
    """Ask on the connection; the document that came."""
    body = urllib.parse.urlencode(asked)

    def ask() -> bytes:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        client.request("POST", path, body, headers)
        answer = client.getresponse()
        document = answer.read()
        if answer.status != http.client.OK:
            raise ValueError(document[:500])
        return document

    return ask


def _rows(document: bytes) -> int:
    return len(re.findall(rb"<TR>", document))


def main() -> None:
    """Run it alone."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sia")
    parser.add_argument("--quick", action="store_true", help="half as many runs")
    options = parser.parse_args()
    print(machine())
    for figure in figures(quick=options.quick):
        print("  " + figure.line(), flush=True)


if __name__ == "__main__":
    main()
