"""Columns written to a database come back as they were, on both engines."""

from __future__ import annotations

import pyarrow as pa
import pytest
import sqlalchemy as sa

from app.errors import ServiceError
from app.sky.bulk_regions import read_regions
from app.stores.database import write_transaction
from app.stores.metadata import MetadataStores
from app.stores.sqlite_native import SWITCH
from app.stores.tables.bulk import insert_batch
from app.stores.tables.region_columns import region_values

TABLE = sa.Table(
    "kinds",
    sa.MetaData(),
    sa.Column("whole", sa.BigInteger, unique=True),
    sa.Column("number", sa.Double),
    sa.Column("truth", sa.Boolean),
    sa.Column("words", sa.Text),
    sa.Column("absent", sa.Text),
)
VALUES = {
    "whole": pa.array([99, -(2**63), 2**63 - 1, None, 0], pa.int64())[1:],
    "number": pa.array([-1.5e-300, None, 1.7e308, 0.1], pa.float64()),
    "truth": pa.array([None, True, False, True]),
    "words": pa.array(["x", "", 'Ω, "q" \\n\t\n\'', None, "é" * 5000], pa.string())[1:],
    "absent": pa.nulls(4, pa.string()),
}


@pytest.mark.parametrize("native", ["on", "off"])
def test_values_of_every_kind(
    stores: MetadataStores, monkeypatch: pytest.MonkeyPatch, native: str
) -> None:
    monkeypatch.setenv(SWITCH, native)
    with write_transaction(stores.engine) as connection:
        TABLE.create(connection)
        insert_batch(connection, "kinds", list(VALUES), list(VALUES.values()))
        insert_batch(connection, "kinds", ["whole"], [pa.array([], pa.int64())])
        rows = connection.execute(sa.select(TABLE)).all()
        TABLE.drop(connection)
    wanted = zip(*(values.to_pylist() for values in VALUES.values()), strict=True)
    assert sorted(map(tuple, rows), key=repr) == sorted(wanted, key=repr)


def test_a_row_that_the_table_refuses(stores: MetadataStores) -> None:
    with (
        pytest.raises(ServiceError, match=r"(?i)unique"),
        write_transaction(stores.engine) as connection,
    ):
        TABLE.create(connection)
        insert_batch(connection, "kinds", ["whole"], [pa.array([1, 2, 1], pa.int64())])


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_geometries_in_binary_form_are_those_of_their_text(stores: MetadataStores) -> None:
    given = ["10 10 11 10 11 11", None, "359.5 0 0.5 0 0.5 1 0 2 359.5 1", "CIRCLE ICRS 20 89.9 1"]
    texts = read_regions(pa.array(given)).texts
    with write_transaction(stores.engine) as connection:
        written = region_values("r", texts, str)
        sent = region_values("r", texts, str, is_binary=True)
        connection.exec_driver_sql("CREATE TEMPORARY TABLE t (place int8, r_bounds box)")
        connection.exec_driver_sql("ALTER TABLE t ADD COLUMN r_plane polygon")
        numbers = pa.array(range(4), pa.int64())
        names = ["r_bounds", "r_plane"]
        insert_batch(connection, "t", ["place", *names], [numbers, *(sent[n] for n in names)])
        for place in range(4):
            binds = {name: written[name][place].as_py() for name in names}
            query = sa.text(
                "SELECT CAST(r_bounds AS text) IS NOT DISTINCT FROM "
                "CAST(CAST(:r_bounds AS box) AS text), CAST(r_plane AS text) IS NOT DISTINCT FROM "
                f"CAST(CAST(:r_plane AS polygon) AS text) FROM t WHERE place = {place}"
            )
            assert connection.execute(query, binds).one() == (True, True)
