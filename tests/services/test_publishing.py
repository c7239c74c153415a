"""Files of every format become tables that queries find, on both engines."""

from __future__ import annotations

import gzip
import math
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits, votable
from astropy.table import MaskedColumn, Table

from app.adql.compile import compile_query
from app.errors import ParameterError, ServiceError, UnknownNameError, UsageError
from app.services.publishing.columns import check_name
from app.services.publishing.service import PublishReport, PublishRequest, PublishService
from app.stores.metadata import MetadataStores, open_stores
from app.stores.tables import published
from app.stores.tables.catalog_store import discarded
from app.stores.tables.published import PublishedStore
from tests.stores.contract import ROOT, dataset, execute
from tests.waiting import wait_for

ROWS = 300
FORMATS = ("tabledata.vot", "binary.vot", "binary2.vot", "t.fits", "t.parquet", "t.ecsv", "t.csv")


@pytest.fixture(autouse=True)
def no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other process reads these databases."""
    monkeypatch.setattr(published, "_GRACE_S", 0.0)


@pytest.fixture
def service(stores: MetadataStores) -> PublishService:
    return make_service(stores)


def make_service(stores: MetadataStores) -> PublishService:
    return PublishService(
        tables=PublishedStore(engine=stores.engine),
        catalogs=stores.catalogs,
        clock=lambda: datetime(2026, 3, 1, tzinfo=UTC),
    )


def publish(service: PublishService, path: Path, name: str, **more: Any) -> PublishReport:
    request = PublishRequest(path=path, name=name, **more)
    return service.publish(request, progress=lambda done, total: None)


def ask(stores: MetadataStores, text: str) -> list[dict[str, Any]]:
    stores.catalogs.forget()
    query = compile_query(
        text, catalog=stores.catalogs.current(), target=stores.tables.target, maxrec=10_000
    )
    return [row for batch in stores.tables.stream(query) for row in batch.to_pylist()]


def stars() -> Table:
    """Names that are odd, values that are unknown, a position, a region."""
    numbers = np.arange(ROWS)
    table = Table()
    table["id"] = numbers
    table["RA"] = (numbers * 1.2) * u.deg
    table["Dec"] = (numbers % 150 - 75.0) * u.deg
    table["mag"] = MaskedColumn(
        (20 + numbers % 7 / 8).astype("f4"), mask=numbers % 7 == 0, unit="mag"
    )
    table["mag"].description = "Brightness in r"
    table["date"] = [f"day {n}" for n in numbers]
    table["my col"] = numbers % 2 == 0
    table["row_id"] = (numbers % 100).astype("i2")
    table["counts"] = MaskedColumn(numbers.astype("i4"), mask=numbers % 5 == 0)
    table["s_region"] = [
        f"POLYGON ICRS {n} 1 {n + 0.5} 1 {n + 0.5} 2 {n} 2" for n in numbers.tolist()
    ]
    return table


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same table in every format."""
    folder = tmp_path_factory.mktemp("stars")
    table = stars()
    document = votable.from_table(table)
    first = document.get_first_table()
    first.get_field_by_id("RA").ucd = "pos.eq.ra;meta.main"
    first.get_field_by_id("Dec").ucd = "pos.eq.dec;meta.main"
    first.get_field_by_id("counts").values.null = -1
    for serialization in ("tabledata", "binary", "binary2"):
        path = folder / f"{serialization}.vot"
        votable.writeto(document, str(path), tabledata_format=serialization)
    table.write(folder / "t.fits")
    table.write(folder / "t.ecsv")
    table.write(folder / "t.csv", format="csv")
    table.write(
        folder / "t.parquet",
        format="parquet.votable",
        metadata={n: {"unit": str(table[n].unit or ""), "ucd": ""} for n in table.colnames},
    )
    return folder


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_table(
    stores: MetadataStores, service: PublishService, files: Path, name: str
) -> None:
    report = publish(service, files / name, "mine.stars", description="Stars")
    assert report.rows == ROWS
    rows = ask(stores, 'SELECT id, ra, dec, mag, "date", "my col", row_id, counts FROM mine.stars')
    assert len(rows) == ROWS
    for row in rows:
        n = row["id"]
        assert row["RA"] == pytest.approx(n * 1.2, abs=1e-12)
        assert row["Dec"] == n % 150 - 75.0
        assert row["mag"] == (None if n % 7 == 0 else 20 + n % 7 / 8)
        assert (row["date"], row["my col"]) == (f"day {n}", n % 2 == 0)
        assert (row["row_id"], row["counts"]) == (n % 100, None if n % 5 == 0 else n)
    described = {
        r["column_name"]: r
        for r in ask(stores, "SELECT * FROM tap_schema.columns WHERE table_name = 'mine.stars'")
    }
    assert {'"date"', '"my col"', "RA", "row_id"} <= set(described)
    assert described["s_region"]["xtype"] == "adql:REGION"
    assert described["RA"]["indexed"] == 1
    if name != "t.csv":
        assert described["mag"]["unit"] == "mag"
    if name.endswith(".vot"):
        assert described["RA"]["ucd"] == "pos.eq.ra;meta.main"
        assert described["mag"]["description"] == "Brightness in r"


def test_positions_and_regions_are_found_by_their_indexes(
    stores: MetadataStores, service: PublishService, files: Path
) -> None:
    publish(service, files / "t.fits", "mine.stars")
    cone = ask(
        stores,
        "SELECT id FROM mine.stars WHERE CONTAINS(POINT(ra, dec), CIRCLE(12, -65, 0.1)) = 1",
    )
    assert [row["id"] for row in cone] == [10]
    inside = ask(stores, "SELECT id FROM mine.stars WHERE CONTAINS(POINT(40.2, 1.5), s_region) = 1")
    assert [row["id"] for row in inside] == [40]


def test_a_key_joins_to_obscore(
    stores: MetadataStores, service: PublishService, tmp_path: Path
) -> None:
    stores.datasets.upsert([dataset(n) for n in range(3)])
    path = tmp_path / "seeing.csv"
    path.write_text(f"image,seeing (arcsec)\n{dataset(1).dataset_id},0.7\nivo://x/y?z,1.5\n")
    key = ("image", "ivoa.ObsCore.obs_publisher_did")
    report = publish(service, path, "mine.seeing", keys=(key,))
    assert report.table.fields[1].unit == "arcsec"
    rows = ask(
        stores,
        "SELECT o.obs_id, s.seeing FROM mine.seeing AS s "
        "JOIN ivoa.ObsCore AS o ON s.image = o.obs_publisher_did",
    )
    assert [tuple(row.values()) for row in rows] == [("image-0001", 0.7)]
    (stored,) = ask(stores, "SELECT * FROM tap_schema.keys WHERE from_table = 'mine.seeing'")
    assert stored["target_table"] == "ivoa.ObsCore"
    with pytest.raises(ParameterError, match="no column"):
        publish(service, path, "mine.other", keys=(("image", "ivoa.ObsCore.nothing"),))


def test_replace_append_and_drop(
    stores: MetadataStores, service: PublishService, tmp_path: Path
) -> None:
    first, more = tmp_path / "first.csv", tmp_path / "more.csv"
    first.write_text("name,ra,dec\na,10,1\nb,20,2\n")
    more.write_text("DEC,Name\n7,d\n3,c\n")
    publish(service, first, "Mine.Things")
    with pytest.raises(ParameterError, match="--replace or --append"):
        publish(service, first, "mine.things")
    assert publish(service, more, "mine.things", existing="append").total == 4
    rows = ask(stores, "SELECT name, ra, dec FROM mine.things ORDER BY dec")
    assert [tuple(r.values()) for r in rows] == [
        ("a", 10, 1), ("b", 20, 2), ("c", None, 3), ("d", None, 7),
    ]  # fmt: skip
    publish(service, more, "mine.things", existing="replace")
    assert len(ask(stores, "SELECT * FROM mine.things")) == 2
    service.drop("MINE.things")
    with pytest.raises(UnknownNameError):
        ask(stores, "SELECT * FROM mine.things")
    assert ask(stores, "SELECT * FROM tap_schema.tables WHERE table_name LIKE 'mine%'") == []
    with pytest.raises(UsageError, match="no table"):
        service.drop("mine.things")
    assert not [name for name in table_names(stores) if name.startswith("pub_")]


def table_names(stores: MetadataStores) -> list[str]:
    catalogs = {
        "sqlite": "SELECT name FROM sqlite_schema",
        "postgresql": "SELECT relname FROM pg_class",
    }
    return [str(row[0]) for row in execute(stores, catalogs[stores.engine.dialect.name])]


def test_other_processes_see_the_change(
    stores: MetadataStores, database_url: str, files: Path
) -> None:
    other = open_stores(database_url)
    before = other.catalogs.current()
    assert other.catalogs.current() is before
    publish(make_service(stores), files / "t.csv", "mine.stars")
    other.catalogs.forget()  # what half a second does
    after = other.catalogs.current()
    assert "mine.stars" in after.by_name() and "mine.stars" not in before.by_name()
    other.close()


def test_a_replaced_table_is_readable_until_the_new_one_is_there(
    stores: MetadataStores, service: PublishService, tmp_path: Path, monkeypatch: Any
) -> None:
    old, new = tmp_path / "old.csv", tmp_path / "new.csv"
    old.write_text("x\n1\n")
    new.write_text("x,y\n2,3\n4,5\n")
    publish(service, old, "mine.t")
    seen: list[int] = []

    def look(done: int, total: int | None) -> None:
        seen.extend(row["x"] for row in ask(stores, "SELECT x FROM mine.t"))

    service.publish(PublishRequest(path=new, name="mine.t", existing="replace"), progress=look)
    assert seen == [1]
    assert [row["x"] for row in ask(stores, "SELECT x FROM mine.t ORDER BY x")] == [2, 4]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", ["empty"]),
        ("1,2\n3,4\n", ["line 1", "header"]),
        ("a,b\n1,2\n1,2,3\n", ["line 3", "3 values", "2 columns"]),
        ("a,s_region\n1,POLYGON ICRS 1 2 3 4 5 6\n2,POLYGON ICRS 1 2 3\n", ["row 2", "s_region"]),
        ("<a/>", ["XML", "no VOTable"]),
        ("<VOTABLE><RESOURCE/></VOTABLE>", ["no TABLE"]),
        ("<VOTABLE><RESOURCE><TABLE>", ["1:"]),
        ("SIMPLE  = gibberish", []),
        ("\x7fELF\0\0", ["none of"]),
    ],
)
def test_a_bad_file_is_refused_and_nothing_changes(
    stores: MetadataStores,
    service: PublishService,
    tmp_path: Path,
    content: str,
    words: list[str],
) -> None:
    path = tmp_path / "bad"
    path.write_text(content)
    with pytest.raises(ServiceError) as caught:
        publish(service, path, "mine.t")
    assert all(word in str(caught.value) for word in words), caught.value
    assert not [name for name in table_names(stores) if name.startswith("pub_")]
    assert "mine.t" not in stores.catalogs.current().by_name()


def test_a_packed_file_with_a_corrupt_header_ends(service: PublishService, tmp_path: Path) -> None:
    """astropy alone would read it again and again, and keep what it read."""
    content = BytesIO()
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.zeros((2, 2)))]).writeto(content)
    corrupt = content.getvalue().replace(b"'           / Image", b"'      U    / Image")
    path = tmp_path / "bad.fits.gz"
    path.write_bytes(gzip.compress(corrupt))
    with pytest.raises(ServiceError, match="the header of HDU 1 is corrupt"):
        publish(service, path, "mine.t")


@pytest.mark.parametrize(
    "name",
    ["t", "a.b.c", "ivoa.x", "TAP_SCHEMA.x", "tap_upload.x", "pg_catalog.x", "sqlite_x.y",
     "information_schema.x", "my.select", "a b.c", "1a.b", 'a".b', "skyloom.product_input"],
)  # fmt: skip
def test_names_that_are_refused(service: PublishService, tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a\n1\n")
    with pytest.raises(ParameterError, match="--name"):
        publish(service, path, name)


def test_the_schema_keeps_its_case() -> None:
    assert check_name("Survey.Stars") == ("Survey", "Stars")


def test_odd_column_names(stores: MetadataStores, service: PublishService, tmp_path: Path) -> None:
    path = tmp_path / "odd.csv"
    path.write_text('select,a:b,A,a,"q""uote",,Ünï,a\n1,2,3,4,5,6,7,8\n')
    report = publish(service, path, "mine.odd")
    names = [field.name for field in report.table.fields]
    assert names == ["select", "a:b", "A", "a_2", "q_uote", "column6", "Ünï", "a_3"]
    (row,) = ask(
        stores, 'SELECT "select", "a:b", a, a_2, q_uote, column6, "Ünï", a_3 FROM mine.odd'
    )
    assert list(row.values()) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert len(ask(stores, "SELECT * FROM mine.odd")) == 1


def test_types_are_those_of_all_values(
    stores: MetadataStores, service: PublishService, tmp_path: Path
) -> None:
    lines = [f"{n},{n},2020-01-01T00:00:00,t,{n}" for n in range(150_000)]
    lines[-1] = "NULL,1.5e3,2020-01-01T00:00:01.5,F,x"
    path = tmp_path / "long.csv"
    path.write_text("\n".join(["# a comment", "n;m;t;b;s".replace(";", ","), *lines]))
    report = publish(service, path, "mine.long")
    kinds = [field.kind for field in report.table.fields]
    assert kinds == ["integer", "real", "timestamp", "boolean", "text"]
    (row,) = ask(stores, "SELECT n, m, t, b FROM mine.long WHERE s = 'x'")
    assert list(row.values()) == [None, 1500.0, "2020-01-01T00:00:01.5", False]


def test_a_second_line_of_units(service: PublishService, tmp_path: Path) -> None:
    path = tmp_path / "units.tsv"
    path.write_text("ra\tdec\tname\ndeg\tdeg\t\n1\t2\tx\n")
    report = publish(service, path, "mine.units")
    assert [field.unit for field in report.table.fields] == ["deg", "deg", None]
    assert report.rows == 1 and report.table.positions


def test_numbers_that_are_not_finite_are_null(
    stores: MetadataStores, service: PublishService, tmp_path: Path
) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"x": [1.0, math.nan, math.inf], "n": pa.array([1, None, 3])}), path)
    publish(service, path, "mine.x")
    rows = ask(stores, "SELECT x, n FROM mine.x ORDER BY n")
    assert [tuple(r.values()) for r in rows] == [(1.0, 1), (None, 3), (None, None)]


def test_integers_that_do_not_fit_are_named(service: PublishService, tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"big": pa.array([1, 2**63], pa.uint64())}), path)
    with pytest.raises(ServiceError, match="column big"):
        publish(service, path, "mine.x")


def test_dali_polygons_and_circles_become_regions(
    stores: MetadataStores, service: PublishService, tmp_path: Path
) -> None:
    path = tmp_path / "x.vot"
    path.write_text(
        '<VOTABLE version="1.4"><RESOURCE><TABLE><FIELD name="n" datatype="int"/>'
        '<FIELD name="outline" datatype="double" arraysize="*" xtype="polygon"/><DATA><TABLEDATA>'
        "<TR><TD>1</TD><TD>10 10 11 10 11 11</TD></TR><TR><TD>2</TD><TD/></TR>"
        "</TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>"
    )
    publish(service, path, "mine.x")
    rows = ask(
        stores, "SELECT n, outline FROM mine.x WHERE CONTAINS(POINT(10.8, 10.2), outline) = 1"
    )
    assert [row["n"] for row in rows] == [1]


def test_one_loader_at_a_time(
    stores: MetadataStores, service: PublishService, tmp_path: Path, database_url: str
) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a\n1\n")
    other = open_stores(database_url)
    with make_store(other).loading(), pytest.raises(UsageError, match="another command"):
        publish(service, path, "mine.a")
    other.close()
    assert publish(service, path, "mine.a").rows == 1


def make_store(stores: MetadataStores) -> PublishedStore:
    return PublishedStore(engine=stores.engine)


KILLED = """
import os, sys
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from app.services.publishing.service import PublishRequest, PublishService
from app.stores.metadata import open_stores
from app.stores.tables.published import PublishedStore
stores = open_stores(sys.argv[1])
service = PublishService(
    tables=PublishedStore(engine=stores.engine), catalogs=stores.catalogs,
    clock=lambda: datetime.now(UTC),
)
request = PublishRequest(path=Path(sys.argv[2]), name="mine.t", existing=sys.argv[3])
service.publish(request, progress=lambda done, total: os.kill(os.getpid(), 9))
"""


@pytest.mark.parametrize("existing", ["replace", "append"])
def test_a_load_that_is_killed_leaves_all_as_it_was(
    stores: MetadataStores,
    service: PublishService,
    database_url: str,
    tmp_path: Path,
    existing: str,
) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a\n1\n2\n")
    publish(service, path, "mine.t")
    command = [sys.executable, "-c", KILLED, database_url, str(path), existing]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == -9
    assert [row["a"] for row in ask(stores, "SELECT a FROM mine.t ORDER BY a")] == [1, 2]
    with make_store(stores).loading(), stores.engine.connect() as connection:
        assert discarded(connection) == ()
    left = [name for name in table_names(stores) if name.startswith("pub_")]
    assert len([n for n in left if "_t_" in n and not n.endswith(("_pkey", "_seq"))]) == 1


def test_queries_go_on_while_a_table_is_replaced(
    stores: MetadataStores, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published, "_GRACE_S", 5.0)
    paths = []
    for k in (1, 2):
        paths.append(tmp_path / f"{k}.csv")
        paths[-1].write_text("x\n" + f"{k}\n" * 1000)
    service = make_service(stores)
    publish(service, paths[0], "mine.t")
    stop, seen, faults = threading.Event(), set(), []
    reader = open_stores(database_url)

    def read() -> Iterator[None]:
        while not stop.is_set():
            query = compile_query(
                "SELECT x FROM mine.t",
                catalog=reader.catalogs.current(),
                target=reader.tables.target,
                maxrec=2000,
            )
            rows = [x for batch in reader.tables.stream(query) for x in batch.column(0).to_pylist()]
            seen.add((len(rows), *sorted(set(rows))))
            yield

    def work() -> None:
        try:
            for _ in read():
                pass
        except ServiceError as fault:
            faults.append(fault)

    thread = threading.Thread(target=work)
    thread.start()
    wait_for(lambda: bool(seen or faults))
    publish(service, paths[1], "mine.t", existing="replace")
    wait_for(lambda: (1000, 2) in seen or bool(faults))
    stop.set()
    thread.join()
    reader.close()
    assert not faults
    assert seen == {(1000, 1), (1000, 2)}
