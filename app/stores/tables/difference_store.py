"""The list of differences that can be built: rows of ObsCore, one for each exposure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from app.schema.obscore import BUILDABLE, BUILT
from app.schema.rows import DatasetRow
from app.stores.database import read_transaction, write_transaction
from app.stores.tables.build_states import chunks, make_room, restate
from app.stores.tables.dataset_rows import FOLDED_ID, delete_rows, upsert_rows
from app.stores.tables.physical import changed_place, obscore
from app.stores.tables.regions import region_index
from app.stores.tables.rows import fold, to_record


@dataclass(frozen=True, slots=True)
class ChangedPlace:
    """Where calibrated exposures of a band came, changed or went. ``thorough``: exposures there
    may have lost what their differences can be built of."""

    number: int
    s_region: str
    band: str
    thorough: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What was found out about exposures: rows of differences that can be built (``listed``), the
    products that were built of them already (``built``: exposure -> product), and exposures
    without any (``impossible``)."""

    listed: Sequence[DatasetRow] = ()
    built: Mapping[str, str] | None = None
    impossible: Sequence[str] = ()


class DifferenceStore:
    """Reads and writes the list. Every method may raise StoreUnavailableError."""

    def __init__(self, *, engine: sa.Engine) -> None:
        self._engine = engine
        self._index = region_index(engine)

    def newest_place(self) -> int | None:
        """Number of the place that changed last; None when all were looked at."""
        with read_transaction(self._engine) as connection:
            found = connection.execute(sa.select(sa.func.max(changed_place.c.row_id))).scalar()
        return None if found is None else int(found)

    def places(self, *, until: int, most: int) -> list[ChangedPlace]:
        """The oldest places to be looked at, none newer than number ``until``."""
        query = (
            sa.select(changed_place)
            .where(changed_place.c.row_id <= until)
            .order_by(changed_place.c.row_id)
            .limit(most)
        )
        with read_transaction(self._engine) as connection:
            return [
                ChangedPlace(r.row_id, r.s_region, r.lsst_band, bool(r.thorough))
                for r in connection.execute(query)
            ]

    def settle(self, found: Settlement, places: Sequence[ChangedPlace] = ()) -> int:
        """Write down what was found at places, which need not be looked at again; how many rows
        changed. What was built meanwhile stays."""
        changed = 0
        with write_transaction(self._engine) as connection:
            self._index.lock(connection)
            for row in found.listed:
                changed += self._list(connection, row)
            for exposure, product in (found.built or {}).items():
                changed += self._adopt(connection, fold(exposure), fold(product))
            gone: list[int] = []
            for some in chunks([fold(name) for name in found.impossible]):
                query = sa.select(obscore.c.row_id).where(
                    obscore.c.difference_of.in_(some), obscore.c.origin == "virtual"
                )
                gone += connection.execute(query).scalars()
            changed += delete_rows(connection, self._index, gone)
            for numbers in chunks([place.number for place in places]):
                connection.execute(
                    changed_place.delete().where(changed_place.c.row_id.in_(numbers))
                )
        return changed

    def _list(self, connection: sa.Connection, row: DatasetRow) -> int:
        record = to_record(row)
        exposure, name = str(record["difference_of"]), fold(row.dataset_id)
        built = (obscore.c.difference_of == exposure) & (obscore.c.build_state == BUILT)
        withdrawn = ~sa.exists().where(sa.literal(exposure) == FOLDED_ID)
        query = sa.select(sa.exists().where(built) | withdrawn)
        if connection.execute(query).scalar_one():
            return 0
        make_room(connection, exposure, keep=name)
        done = upsert_rows(connection, self._index, {name: record})
        return done.inserted + done.updated

    def _adopt(self, connection: sa.Connection, exposure: str, product: str) -> int:
        delete_rows(connection, self._index, make_room(connection, exposure, keep=product))
        change = obscore.update().where(
            FOLDED_ID.in_([product]),
            obscore.c.difference_of.is_(None),
        )
        return connection.execute(change.values(difference_of=exposure)).rowcount

    def current_files(self) -> dict[str, str]:
        """Identifier -> file of the differences of exposures that were built."""
        query = sa.select(obscore.c.obs_publisher_did, obscore.c.file_path).where(
            obscore.c.difference_of.is_not(None), obscore.c.origin == "built"
        )
        with read_transaction(self._engine) as connection:
            return {str(name): str(path) for name, path in connection.execute(query)}

    def note_files(self, *, lost: Sequence[str], there: Sequence[str]) -> None:
        """Differences whose files are gone can be built again; those whose files are back are
        what they were."""
        with write_transaction(self._engine) as connection:
            self._index.lock(connection)
            for some in chunks([fold(name) for name in lost]):
                change = obscore.update().where(FOLDED_ID.in_(some), obscore.c.build_state == BUILT)
                connection.execute(change.values(build_state=BUILDABLE))
            for some in chunks([fold(name) for name in there]):
                change = obscore.update().where(
                    FOLDED_ID.in_(some), obscore.c.build_state == BUILDABLE
                )
                connection.execute(change.values(build_state=BUILT))
                restate(connection, some)
