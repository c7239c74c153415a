"""Coverage maps of groups of images, and what of ObsCore they hold already."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from app.schema.coverage import GROUPED
from app.stores.database import read_transaction, write_transaction
from app.stores.tables.physical import coverage, coverage_change, coverage_state, obscore
from app.stores.tables.regions import region_index

Group = tuple[str | int | float | None, ...]
"""Values of the columns :data:`app.schema.coverage.GROUPED`."""

_GROUPED: Final = [obscore.c[name] for name in GROUPED]
_AT_ONCE: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CoverageState:
    """``version`` moves with every change of the maps, at the UTC instant ``modified`` (ISO 8601).

    They hold the rows up to number ``through`` (None before anybody asked) of ``newest``, less
    what happened to these since: changes up to number ``last_change`` (0: none).
    """

    version: int
    through: int | None
    modified: str
    newest: int
    last_change: int

    @property
    def is_current(self) -> bool:
        """Whether the maps hold all there is."""
        return self.through is not None and self.through >= self.newest and not self.last_change


@dataclass(frozen=True, slots=True)
class Placed:
    """A row of ObsCore: its number, group and region."""

    number: int
    group: Group
    region: str | None


@dataclass(frozen=True, slots=True)
class RegionChange:
    """A region that ``came`` to a group, or went from it."""

    group: Group
    region: str | None
    came: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CoverageUpdate:
    """Maps to write: group -> order and text, None where no image is left. They hold the rows up
    to number ``through`` (None: as before) and the changes up to ``last_change``."""

    maps: Mapping[Group, tuple[int, str] | None]
    through: int | None = None
    last_change: int = 0


class CoverageStore:
    """Reads and writes the maps. Every method may raise StoreUnavailableError."""

    def __init__(self, *, engine: sa.Engine) -> None:
        self._engine = engine
        self._index = region_index(engine)

    def state(self) -> CoverageState:
        """How far the maps go now."""
        query = sa.select(
            coverage_state,
            sa.select(sa.func.coalesce(sa.func.max(obscore.c.row_id), 0)).scalar_subquery(),
            sa.select(sa.func.coalesce(sa.func.max(coverage_change.c.row_id), 0)).scalar_subquery(),
        )
        with read_transaction(self._engine) as connection:
            version, through, modified, newest, change = connection.execute(query).one()
        return CoverageState(
            version=version,
            through=through,
            modified=modified,
            newest=newest,
            last_change=change,
        )

    def begin(self, *, modified: str) -> None:
        """From now on it is written down what goes. No other writer is at work meanwhile."""
        with write_transaction(self._engine) as connection:
            self._index.lock(connection)
            fresh = coverage_state.update().where(coverage_state.c.through.is_(None))
            connection.execute(fresh.values(through=0, modified=modified))

    def maps(self) -> dict[Group, str]:
        """Every map, as text."""
        query = sa.select(*(coverage.c[name] for name in GROUPED), coverage.c.coverage)
        with read_transaction(self._engine) as connection:
            return {tuple(group): text for *group, text in connection.execute(query)}

    def rows_after(self, number: int, *, most: int) -> list[Placed]:
        """The rows after a number, in their order."""
        query = (
            sa.select(obscore.c.row_id, obscore.c.s_region, *_GROUPED)
            .where(obscore.c.row_id > number)
            .order_by(obscore.c.row_id)
            .limit(most)
        )
        with read_transaction(self._engine) as connection:
            return [
                Placed(row_id, tuple(group), region)
                for row_id, region, *group in connection.execute(query)
            ]

    def regions_of(self, group: Group) -> Iterator[list[str | None]]:
        """The regions of all rows of a group, many at a time."""
        last = 0
        while True:
            query = (
                sa.select(obscore.c.row_id, obscore.c.s_region)
                .where(_is_group(group), obscore.c.row_id > last)
                .order_by(obscore.c.row_id)
                .limit(_AT_ONCE)
            )
            with read_transaction(self._engine) as connection:
                found = connection.execute(query).all()
            if not found:
                return
            yield [region for _, region in found]
            last = found[-1][0]

    def changes(self, *, until: int, most: int) -> list[RegionChange]:
        """The oldest changes up to a number."""
        query = (
            sa.select(
                coverage_change.c.came,
                coverage_change.c.s_region,
                *(coverage_change.c[name] for name in GROUPED),
            )
            .where(coverage_change.c.row_id <= until)
            .order_by(coverage_change.c.row_id)
            .limit(most)
        )
        with read_transaction(self._engine) as connection:
            return [
                RegionChange(tuple(group), region, bool(came))
                for came, region, *group in connection.execute(query)
            ]

    def changed_groups(self, *, until: int) -> list[Group]:
        """The groups that changes up to a number are of."""
        columns = [coverage_change.c[name] for name in GROUPED]
        query = sa.select(*columns).where(coverage_change.c.row_id <= until).distinct()
        with read_transaction(self._engine) as connection:
            return [tuple(group) for group in connection.execute(query)]

    def write(self, update: CoverageUpdate, *, version: int, modified: str) -> bool:
        """Write maps that were made of those of a version; False, and nothing, when there is
        another version by now."""
        values: dict[str, Any] = {"version": version + 1, "modified": modified}
        if update.through is not None:
            values["through"] = update.through
        with write_transaction(self._engine) as connection:
            mine = coverage_state.update().where(coverage_state.c.version == version)
            if connection.execute(mine.values(**values)).rowcount != 1:
                return False
            _put(connection, update.maps)
            connection.execute(
                coverage_change.delete().where(coverage_change.c.row_id <= update.last_change)
            )
        return True


def _put(connection: sa.Connection, maps: Mapping[Group, tuple[int, str] | None]) -> None:
    for group, found in maps.items():
        connection.execute(coverage.delete().where(_same(coverage.c, group)))
        if found is not None:
            order, text = found
            row = dict(zip(GROUPED, group, strict=True)) | {"moc_order": order, "coverage": text}
            connection.execute(coverage.insert(), row)


def _is_group(group: Group) -> sa.ColumnElement[bool]:
    return _same(obscore.c, group)


def _same(columns: Any, group: Sequence[object]) -> sa.ColumnElement[bool]:
    pairs: Iterable[tuple[str, object]] = zip(GROUPED, group, strict=True)
    return sa.and_(*(columns[name].is_not_distinct_from(value) for name, value in pairs))
