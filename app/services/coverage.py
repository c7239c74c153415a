"""Coverage maps, kept for each group of images and brought up to date when one is asked for.

Images that came since are added: the rows after the last one that the maps hold. Where few went,
their cells are taken out and those of the images that still lie there put back; where many went,
the map of their group is made anew.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from app.errors import TransientError
from app.schema.coverage import GROUPED
from app.schema.obscore import OBSCORE
from app.services.catalog_rows import CatalogRows, literal
from app.services.coverage_request import CoverageRequest, find_coverage
from app.services.shared_work import SharedWork
from app.sky.moc import (
    MOC,
    bounded,
    cell_size_deg,
    cover,
    fitting_order,
    read_text,
    union,
    write_text,
)
from app.sky.predicates import bounding_circle
from app.sky.stcs import parse_region
from app.stores.tables.coverage_store import CoverageState, CoverageStore, CoverageUpdate, Group

ROWS_AT_ONCE: Final = 10_000
MENDED_AT_ONCE: Final = 200
"""Where more regions went, the maps of their groups are made anew."""
WAIT_S: Final = 20.0
"""How long a request waits for the maps to be brought up to date."""
KEPT_BYTES: Final = 16 * 2**20
"""Documents of maps that are kept for who asks next."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """A map, and the UTC instant (ISO 8601) since which it is no other."""

    moc: MOC
    modified: str


@dataclass(frozen=True, slots=True)
class CoverageDocument:
    """A map as it is sent, and the UTC instant (ISO 8601) since which it is no other."""

    content: bytes
    modified: str


class CoverageService:
    """Keeps the maps. To be stopped at the end."""

    def __init__(
        self, *, store: CoverageStore, rows: CatalogRows, clock: Callable[[], datetime]
    ) -> None:
        self._store = store
        self._rows = rows
        self._clock = clock
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._fault: Exception | None = None
        self._stopped = threading.Event()
        self._documents = SharedWork(max_bytes=KEPT_BYTES)

    def find(self, request: CoverageRequest) -> Coverage:
        """The map of the images of this moment.

        Raises ParameterError for a collection that is not there, and TransientError when it takes
        longer than :data:`WAIT_S` to bring the maps up to date, which goes on meanwhile.
        """
        state = self._bring_up_to_date()
        return Coverage(moc=find_coverage(self._rows, request), modified=state.modified)

    def write(
        self, request: CoverageRequest, form: str, writer: Callable[[MOC], bytes]
    ) -> CoverageDocument:
        """The map of this moment in a ``form`` that a writer makes. However many ask for one at a
        time, it is made once. Raises what :meth:`find` raises."""
        state = self._bring_up_to_date()
        content = self._documents.get(
            (request, form, state.version), lambda: writer(find_coverage(self._rows, request))
        )
        return CoverageDocument(content, state.modified)

    def _bring_up_to_date(self) -> CoverageState:
        """The state of the maps when they hold all there is."""
        deadline = time.monotonic() + WAIT_S
        while not (state := self._store.state()).is_current:
            left = deadline - time.monotonic()
            if left <= 0.0 or self._stopped.is_set():
                done = 100.0 * (state.through or 0) / max(state.newest, 1)
                raise TransientError(
                    f"The coverage map is being made ({done:.0f} % of the images are in it); "
                    "try again later"
                )
            self._start().join(left)
            if self._fault is not None:
                raise self._fault
        return state

    def _start(self) -> threading.Thread:
        """The thread at work."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._work, name="coverage", daemon=True)
                self._thread.start()
            return self._thread

    def _work(self) -> None:
        self._fault = None
        try:
            self.refresh()
        except Exception as fault:  # told to whoever waits
            self._fault = fault

    def stop(self) -> None:
        """Leave off where it is; what was added stays."""
        self._stopped.set()
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join()

    def refresh(self) -> None:
        """Bring the maps up to date. Raises StoreUnavailableError."""
        self._store.begin(modified=self._now())
        maps = _Maps(self._store)
        while not self._stopped.is_set():
            state = self._store.state()
            if state.is_current:
                return
            known = maps.of(state.version)
            if state.last_change:
                update = self._settle(known, state.last_change)
            else:
                update = self._extend(known, state.through or 0)
            self._store.write(update, version=state.version, modified=self._now())

    def _now(self) -> str:
        return self._clock().isoformat(timespec="seconds")

    def _extend(self, known: dict[Group, MOC], through: int) -> CoverageUpdate:
        """The next rows."""
        rows = self._store.rows_after(through, most=ROWS_AT_ONCE)
        regions: dict[Group, list[str]] = {}
        for row in rows:
            regions.setdefault(row.group, []).extend([row.region] if row.region else [])
        return _update(
            {group: _added(known.get(group), found) for group, found in regions.items()},
            through=rows[-1].number if rows else through,
        )

    def _settle(self, known: dict[Group, MOC], last: int) -> CoverageUpdate:
        """What happened to rows that the maps hold."""
        changes = self._store.changes(until=last, most=MENDED_AT_ONCE + 1)
        changed: dict[Group, MOC | None] = {}
        if len(changes) > MENDED_AT_ONCE:
            for group in self._store.changed_groups(until=last):
                changed[group] = self._made_anew(group)
            return _update(changed, last_change=last)
        for group in {change.group for change in changes}:
            own = [change for change in changes if change.group == group and change.region]
            moc = _added(known.get(group), {str(c.region) for c in own if c.came})
            moc = self._without(moc, group, {str(c.region) for c in own if not c.came})
            changed[group] = moc if not moc.empty() else self._made_anew(group)
        return _update(changed, last_change=last)

    def _made_anew(self, group: Group) -> MOC | None:
        """The map of all images of a group; None without any."""
        moc = None
        for some in self._store.regions_of(group):
            if self._stopped.is_set():
                raise TransientError("the service stops")
            moc = _added(moc, [region for region in some if region])
        return moc

    def _without(self, moc: MOC, group: Group, gone: Iterable[str]) -> MOC:
        """Less the cells of regions that went, unless images that are left lie in them."""
        lost = list(gone)
        if not lost:
            return moc
        left = {region for each in lost for region in self._near(each, group, moc.max_order)}
        rest = moc.difference(cover(lost, moc.max_order))
        return union([rest, cover(sorted(left), moc.max_order)], moc.max_order)

    def _near(self, region: str, group: Group, order: int) -> Sequence[str]:
        """The regions of the images of a group that may have a part in the cells of a region."""
        circle = bounding_circle(parse_region(region))
        radius = min(circle.radius_deg + 2.0 * cell_size_deg(order), 180.0)
        about = f"CIRCLE({circle.lon_deg!r}, {circle.lat_deg!r}, {radius!r})"
        same = " AND ".join(_equals(*pair) for pair in zip(GROUPED, group, strict=True))
        query = f"SELECT DISTINCT s_region FROM {OBSCORE.name} WHERE {same}"
        found = self._rows.select(
            f"{query} AND INTERSECTS({about}, s_region) = 1", what="images looked at in one region"
        )
        return [str(text) for (text,) in found]


class _Maps:
    """The maps of a version, read when it is another one than before."""

    def __init__(self, store: CoverageStore) -> None:
        self._store = store
        self._known: tuple[int, dict[Group, MOC]] = (-1, {})

    def of(self, version: int) -> dict[Group, MOC]:
        """Group -> map."""
        if self._known[0] != version:
            found = {group: read_text(text) for group, text in self._store.maps().items()}
            self._known = (version, found)
        return self._known[1]


def _update(
    maps: dict[Group, MOC | None] | dict[Group, MOC],
    *,
    through: int | None = None,
    last_change: int = 0,
) -> CoverageUpdate:
    written = {
        group: None if moc is None else (int(moc.max_order), write_text(moc))
        for group, moc in maps.items()
    }
    return CoverageUpdate(maps=written, through=through, last_change=last_change)


def _added(moc: MOC | None, regions: Iterable[str]) -> MOC:
    """A map with more regions; the first ones decide of its order."""
    texts = list(dict.fromkeys(regions))
    if moc is None or moc.empty():
        moc = MOC.new_empty(fitting_order(texts))
    if not texts:
        return moc
    return bounded(union([moc, cover(texts, moc.max_order)], moc.max_order))


def _equals(name: str, value: str | int | float | None) -> str:
    if value is None:
        return f"{name} IS NULL"
    return f"{name} = {literal(value) if isinstance(value, str) else repr(value)}"
