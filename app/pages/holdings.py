"""What the service holds, counted by collection, kind of image and band."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Final

from app.pages.result_table import fetch
from app.schema.obscore import BUILDABLE
from app.services.query import QueryService

_COUNT: Final = """
SELECT obs_collection, dataproduct_subtype, lsst_band, build_state,
       COUNT(*) AS n, MIN(t_min) AS earliest, MAX(t_max) AS latest
FROM ivoa.ObsCore
GROUP BY obs_collection, dataproduct_subtype, lsst_band, build_state
"""
_MAX_GROUPS: Final = 2000
WORTH_KEEPING_S: Final = 1.0
KEPT_FOR: Final = 50
"""Counts that took longer are kept for so many times as long as they took."""
_BAND_ORDER: Final = "ugrizyYJHK"
_BUILT: Final = "products"
_MJD_EPOCH: Final = datetime(1858, 11, 17, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Group:
    """Images of one kind in one collection: band -> count ('' where no band is known)."""

    collection: str
    subtype: str
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Images in all bands."""
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class Holdings:
    """All groups of images that are there, by collection and kind, and how many more can be
    built."""

    groups: tuple[Group, ...]
    buildable: int
    first_date: str | None
    last_date: str | None

    @property
    def columns(self) -> list[str]:
        """Bands that occur, from blue to red, unknown ones last."""
        return sorted({band for g in self.groups for band in g.counts}, key=_band_rank)

    @property
    def bands(self) -> list[str]:
        """Named bands that occur."""
        return [band for band in self.columns if band]

    @property
    def subtypes(self) -> list[str]:
        """Kinds of image that occur."""
        return sorted({g.subtype for g in self.groups if g.subtype})

    @property
    def images(self) -> int:
        """All images, products included."""
        return sum(g.total for g in self.groups)

    @property
    def products(self) -> int:
        """Templates and differences that were built here."""
        return sum(g.total for g in self.groups if g.collection == _BUILT)


class HoldingsCounter:
    """Counts when it is asked. Of a large table, which is read from end to end for it, the counts
    are kept for a while: pages then ask for a fiftieth of the database's time at most."""

    def __init__(
        self, *, queries: QueryService, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._queries = queries
        self._clock_s = clock_s
        self._counting = Lock()
        self._kept: Holdings | None = None
        self._until_s = 0.0

    def count(self, service_url: str) -> Holdings:
        """What there is, or was a while ago. Raises what the query service raises."""
        kept = self._kept
        if not self._counting.acquire(blocking=kept is None) and kept is not None:
            return kept  # somebody counts already
        try:
            return self._count(service_url)
        finally:
            self._counting.release()

    def _count(self, service_url: str) -> Holdings:
        start_s = self._clock_s()
        if self._kept is not None and start_s < self._until_s:
            return self._kept
        counted = count_holdings(self._queries, service_url)
        end_s = self._clock_s()
        self._until_s = end_s + KEPT_FOR * (end_s - start_s)
        self._kept = counted if end_s - start_s > WORTH_KEEPING_S else None
        return counted


def count_holdings(queries: QueryService, service_url: str) -> Holdings:
    """One query over ObsCore. Raises what the query service raises."""
    records = fetch(queries, _COUNT, service_url=service_url, maxrec=_MAX_GROUPS).by_name()
    groups: dict[tuple[str, str], Group] = {}
    buildable = sum(int(r["n"] or 0) for r in records if r["build_state"] == BUILDABLE)
    for record in (each for each in records if each["build_state"] != BUILDABLE):
        key = str(record["obs_collection"]), str(record["dataproduct_subtype"] or "")
        group = groups.setdefault(key, Group(*key))
        band = str(record["lsst_band"] or "")
        group.counts[band] = group.counts.get(band, 0) + int(record["n"] or 0)
    starts = [float(r["earliest"]) for r in records if r["earliest"] is not None]
    ends = [float(r["latest"]) for r in records if r["latest"] is not None]
    return Holdings(
        groups=tuple(groups[key] for key in sorted(groups)),
        buildable=buildable,
        first_date=format_date(min(starts)) if starts else None,
        last_date=format_date(max(ends)) if ends else None,
    )


def format_date(mjd: float) -> str:
    """The day of an MJD, as ISO 8601."""
    return (_MJD_EPOCH + timedelta(days=mjd)).date().isoformat()


def format_instant(mjd: float) -> str:
    """Day and time of an MJD to the second, as ISO 8601."""
    return f"{_MJD_EPOCH + timedelta(days=mjd):%Y-%m-%d %H:%M:%S}"


def _band_rank(band: str) -> tuple[int, str]:
    place = _BAND_ORDER.find(band) if len(band) == 1 else -1
    return (place if place >= 0 else len(_BAND_ORDER) + (not band), band)
