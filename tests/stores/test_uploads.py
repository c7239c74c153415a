"""Tables that come with a query: loaded, joined, gone; the same on both engines."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pyarrow as pa
import pytest

from app.adql.compile import compile_query
from app.errors import AdqlError
from app.schema.catalog import CATALOG
from app.schema.fields import Field, Table
from app.schema.uploads import UploadedTable, with_uploads
from app.stores.metadata import MetadataStores
from tests.stores.contract import dataset

FIELDS = (
    Field(name='odd "name"; --', column="c1", kind="integer", datatype="short"),
    Field(name="ra", column="c2", kind="real", datatype="double", unit="deg", ucd="pos.eq.ra"),
    Field(name="size", column="c3", kind="text", datatype="char", arraysize="*"),
    Field(name="flag", column="c4", kind="boolean", datatype="boolean"),
    Field(name="p", column="c5", kind="point", datatype="double", arraysize="2", xtype="point"),
    Field(name="o", column="c6", kind="region", datatype="double", arraysize="3", xtype="circle"),
    Field(name="a", column="c7", kind="region", datatype="double", arraysize="*", xtype="polygon"),
    Field(name="z", column="c8", kind="text", datatype="floatComplex"),
)
COLUMNS: dict[str, list[Any]] = {
    "c1": [1, -2, None],
    "c2": [1.5, None, float("inf")],
    "c3": ["", 'ż "x", \n', None],
    "c4": [True, False, None],
    "c5": ["10 20", "350.123456789012 -20", None],
    "c6": ["10 20 1", "0 0 0.5", None],
    "c7": ["9 19 11 19 11 21 9 21", "0 0 1 0 1 1", None],
    "c8": ["0.1 -2.5", "3 4", None],
}


def make(fields: tuple[Field, ...] = FIELDS, **columns: list[Any]) -> UploadedTable:
    given = COLUMNS | columns
    types = {"integer": pa.int64(), "real": pa.float64(), "boolean": pa.bool_()}
    arrays = [pa.array(given[f.physical], types.get(f.kind, pa.string())) for f in fields]
    table = Table(
        schema_name="TAP_UPLOAD", name="TAP_UPLOAD.t1", physical="upload_1", fields=fields
    )
    return UploadedTable(table, pa.table(arrays, [f.physical for f in fields]))


def ask(stores: MetadataStores, query: str, *uploads: UploadedTable) -> list[tuple[Any, ...]]:
    compiled = compile_query(
        query,
        catalog=with_uploads(CATALOG, uploads),
        target=stores.tables.target,
        maxrec=1000,
    )
    with closing(stores.tables.stream(compiled, uploads=uploads)) as batches:
        return [
            tuple(row)
            for batch in batches
            for row in zip(*(c.to_pylist() for c in batch.columns), strict=True)
        ]


def test_every_value_comes_back(stores: MetadataStores) -> None:
    rows = ask(stores, "SELECT * FROM TAP_UPLOAD.t1", make())
    assert rows == list(zip(*COLUMNS.values(), strict=True))


def test_odd_names_are_reached_in_quotes(stores: MetadataStores) -> None:
    query = 'SELECT "odd ""name""; --", "size" FROM TAP_UPLOAD.t1 WHERE "odd ""name""; --" < 0'
    assert ask(stores, query, make()) == [(-2, COLUMNS["c3"][1])]


def test_geometries_are_geometries(stores: MetadataStores) -> None:
    query = (
        "SELECT COORD1(p), CONTAINS(p, o), CONTAINS(p, a), CONTAINS(POINT(0.5, 0.1), a), "
        "INTERSECTS(CIRCLE(10, 20, 0.1), a) FROM TAP_UPLOAD.t1 WHERE p IS NOT NULL ORDER BY ra"
    )
    rows = ask(stores, query, make())
    assert [row[1:] for row in rows] == [(1, 1, 0, 1), (0, 0, 1, 0)]
    assert [row[0] for row in rows] == pytest.approx([10, 350.123456789012])


def test_an_infinite_position_lies_nowhere(stores: MetadataStores) -> None:
    stores.datasets.upsert([dataset(1)])
    query = (
        "SELECT COUNT(CASE WHEN CONTAINS(POINT(u.ra, 0), o.s_region) = 1 THEN 1 END)"
        " FROM ivoa.ObsCore o JOIN TAP_UPLOAD.t1 u ON u.ra > 100"
    )
    assert ask(stores, query, make()) == [(0,)]


@pytest.mark.parametrize(
    "value", ["z + 1", "-z", "ABS(z)", "SUM(z)", "POINT(z, 1)", "IN_UNIT(z, 'm')", "z * z"]
)
def test_complex_numbers_are_passed_on_but_not_reckoned_with(
    stores: MetadataStores, value: str
) -> None:
    (field,) = compile_query(
        "SELECT z FROM (SELECT z FROM TAP_UPLOAD.t1 WHERE z IS NOT NULL) AS q",
        catalog=with_uploads(CATALOG, [make()]),
        target=stores.tables.target,
        maxrec=10,
    ).fields
    assert (field.datatype, field.arraysize) == ("floatComplex", None)
    with pytest.raises(AdqlError, match="complex numbers of z, which a query can only pass on"):
        ask(stores, f"SELECT {value} FROM TAP_UPLOAD.t1", make())
    with pytest.raises(AdqlError, match="complex numbers of z"):
        ask(stores, "SELECT ra FROM TAP_UPLOAD.t1 WHERE z = 1", make())


def test_nothing_is_left_behind(stores: MetadataStores) -> None:
    for _ in range(3):
        assert ask(stores, "SELECT COUNT(*) FROM TAP_UPLOAD.t1", make()) == [(3,)]
    compiled = compile_query(
        "SELECT ra FROM TAP_UPLOAD.t1",
        catalog=with_uploads(CATALOG, [make()]),
        target=stores.tables.target,
        maxrec=10,
    )
    rows = stores.tables.stream(compiled, uploads=[make()], batch_rows=1)
    next(rows)
    rows.close()
    assert ask(stores, "SELECT COUNT(*) FROM TAP_UPLOAD.t1", make()) == [(3,)]
    with pytest.raises(AdqlError, match=r"TAP_UPLOAD\.t1"):
        ask(stores, "SELECT * FROM TAP_UPLOAD.t1")


def test_a_column_may_mix_circles_and_polygons(stores: MetadataStores) -> None:
    fields = (Field(name="m", column="c1", kind="region", datatype="char", arraysize="*"),)
    shapes = ["CIRCLE ICRS 10 20 1", "POLYGON ICRS 9 19 11 19 11 21 9 21", "CIRCLE ICRS 50 0 1"]
    query = "SELECT COUNT(*) FROM TAP_UPLOAD.t1 WHERE CONTAINS(POINT(10.1, 20.1), m) = 1"
    assert ask(stores, query, make(fields, c1=shapes)) == [(2,)]
