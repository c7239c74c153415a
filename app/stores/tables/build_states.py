"""How a change of images reaches what was, and can be, built of them: in its own transaction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

import sqlalchemy as sa

from app.schema.obscore import BUILDABLE, BUILT, CALIBRATED, STALE
from app.schema.rows import Value
from app.stores.tables.physical import changed_place, obscore, product_input
from app.stores.tables.rows import fold

Record = Mapping[str, Any] | sa.RowMapping
T = TypeVar("T")

_AT_ONCE: Final = 500
_INPUT: Final = sa.func.lower(product_input.c.input_id)
_PRODUCT: Final = sa.func.lower(product_input.c.product_id)
_DATASET: Final = sa.func.lower(obscore.c.obs_publisher_did)
_USED: Final = product_input.c.rejected.is_(None)


def note_changes(
    connection: sa.Connection, *, old: Sequence[Record], new: Sequence[Record]
) -> None:
    """Write down what rows that came, were replaced (``old`` by some of ``new``) or went mean for
    products: which are stale, and where it is to be looked at what can be built."""
    names = {_name(row) for row in (*old, *new)}
    restated = restate_products_of(connection, names)
    replaced = {_name(row) for row in old}
    places = [_place(row, thorough=True) for row in old if _matters(row)]
    places += [
        _place(row, thorough=bool(restated) or _name(row) in replaced)
        for row in new
        if is_exposure(row)
    ]
    for some in chunks(sorted(restated)):
        query = sa.select(obscore.c.s_region, obscore.c.lsst_band).where(
            _DATASET.in_(some), obscore.c.difference_of.is_not(None)
        )
        places += [
            _place(row, thorough=False) for row in map(dict, connection.execute(query).mappings())
        ]
    if places:
        connection.execute(changed_place.insert(), places)


def restate_products_of(connection: sa.Connection, inputs: Iterable[str]) -> set[str]:
    """Judge anew the products of these inputs (folded identifiers), those of these products, and
    so on; the folded identifiers of those whose state changed."""
    changed: set[str] = set()
    names = set(inputs)
    while names:
        products: set[str] = set()
        for some in chunks(sorted(names)):
            query = sa.select(_PRODUCT).where(_INPUT.in_(some), _USED).distinct()
            products |= set(connection.execute(query).scalars())
        names = restate(connection, products) - changed
        changed |= names
    return changed


def restate(connection: sa.Connection, products: Iterable[str]) -> set[str]:
    """Judge products (folded identifiers) by their inputs; those whose state changed.

    A product is stale when an input that it used is gone, has another checksum, or is stale.
    """
    changed: set[str] = set()
    for some in chunks(sorted(products)):
        stale = set(connection.execute(_stale_among(some)).scalars())
        for old, new, names in (
            (BUILT, STALE, stale),
            (STALE, BUILT, set(some) - stale),
        ):
            found = connection.execute(
                sa.select(_DATASET).where(_DATASET.in_(names), obscore.c.build_state == old)
            )
            moved = set(found.scalars())
            if moved:
                change = obscore.update().where(_DATASET.in_(moved))
                connection.execute(change.values(build_state=new))
            changed |= moved
    return changed


def _stale_among(products: Sequence[str]) -> sa.Select[Any]:
    other = (product_input.c.input_checksum != "") & (
        product_input.c.input_checksum != obscore.c.file_checksum
    )
    return (
        sa.select(_PRODUCT)
        .select_from(product_input.outerjoin(obscore, _DATASET == _INPUT))
        .where(
            _PRODUCT.in_(products),
            _USED,
            obscore.c.row_id.is_(None) | other | (obscore.c.build_state == STALE),
        )
        .distinct()
    )


def make_room(connection: sa.Connection, exposure: str, *, keep: str) -> list[int]:
    """Before ``keep`` becomes the difference of an exposure (both folded): no other product is
    any more, nor is one built again for its file. Row numbers of the virtual row, which is to be
    deleted."""
    same = obscore.c.difference_of == exposure
    virtual = connection.execute(
        sa.select(obscore.c.row_id).where(
            same, obscore.c.origin == "virtual", _DATASET.not_in([keep])
        )
    )
    row_ids = list(virtual.scalars())
    connection.execute(
        obscore.update()
        .where(same, obscore.c.origin != "virtual", _DATASET.not_in([keep]))
        .values(difference_of=None, build_state=_without_promise())
    )
    return row_ids


def _without_promise() -> sa.ColumnElement[str | None]:
    state = obscore.c.build_state
    return sa.case((state == BUILDABLE, BUILT), else_=state)


def chunks(names: Sequence[T]) -> Iterator[Sequence[T]]:
    """As many as a statement takes."""
    for start in range(0, len(names), _AT_ONCE):
        yield names[start : start + _AT_ONCE]


def _name(row: Record) -> str:
    return fold(str(row["obs_publisher_did"]))


def is_exposure(row: Record) -> bool:
    """Whether it may be an input of templates."""
    return (
        row["origin"] == "ingested"
        and row["calib_level"] == CALIBRATED
        and row["s_region"] is not None
        and row["lsst_band"] is not None
    )


def _matters(row: Record) -> bool:
    """Whether it was an input, or the difference of an exposure."""
    return is_exposure(row) or (row["origin"] == "built" and row["difference_of"] is not None)


def _place(row: Record, *, thorough: bool) -> dict[str, Value]:
    return {"s_region": row["s_region"], "lsst_band": row["lsst_band"], "thorough": thorough}
