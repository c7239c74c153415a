"""What must hold after every fault, counted in the database and in the files."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from astropy.io import fits

from app.services.doctor.census import take_census
from app.services.doctor.files import mend
from app.stores import health
from app.stores.database import open_engine, read_transaction
from app.stores.kept_files import KeptFiles
from app.stores.tables.physical import build_quality, dia_source, job, obscore, product_input
from benchmarks.faults.site import DrillError, Site
from benchmarks.faults.sky import COLLECTION


class Inspector:
    """Looks at one site while nothing is under way. ``looked_at`` holds the products that were
    opened before."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._looked_at: set[str] = set()
        self.leftovers = 0

    def check(self, *, ingested: int) -> int:
        """Count; the number of products. Raises DrillError naming what does not hold."""
        engine = open_engine(self._site.database_url, pool_size=1)
        try:
            with read_transaction(engine) as connection:
                _check_jobs(connection)
                _check_rows(connection, ingested)
                paths = _product_paths(connection)
            self._check_files(engine, paths)
            _require(not health.regions_without_index(engine), "rows are not in the spatial index")
        finally:
            engine.dispose()
        return len(paths)

    def _check_files(self, engine: sa.Engine, paths: list[str]) -> None:
        files = KeptFiles(self._site.data_dir)
        census = take_census(engine, files, deep=True, settled_s=0.0)
        _require(not census.products, f"products are gone or half written: {census.products}")
        _require(not census.stray, f"files without rows: {census.stray}")
        _require(not (census.images_missing or census.images_changed), "images differ")
        for path in paths:
            if path not in self._looked_at:
                with fits.open(Path(path), checksum=True) as units:
                    units.verify("exception")
                    _require(len(units) > 4, f"{path} has {len(units)} HDUs")
                self._looked_at.add(path)
        self.leftovers += len(census.leftovers)
        mend(census, engine, files, relist=lambda: None)


def _check_jobs(connection: sa.Connection) -> None:
    """None is under way, none ended without saying how."""
    open_ones = sa.select(job.c.job_id).where(job.c.phase.in_(["QUEUED", "EXECUTING"]))
    _require(not connection.execute(open_ones).scalars().all(), "jobs are stuck")
    mute = sa.select(job.c.job_id).where(job.c.phase == "ERROR", job.c.error.is_(None))
    _require(not connection.execute(mute).scalars().all(), "jobs failed without a cause")


def _check_rows(connection: sa.Connection, ingested: int) -> None:
    """One set of rows for each product and each image, none without its dataset."""
    rows = (
        sa.select(sa.func.count())
        .select_from(obscore)
        .where(obscore.c.obs_collection == COLLECTION)
    )
    found = connection.execute(rows).scalar_one()
    _require(found == ingested, f"{found} rows of {ingested} images")
    for column in (obscore.c.obs_publisher_did, obscore.c.recipe_key, obscore.c.difference_of):
        twice = sa.select(column).where(column.is_not(None)).group_by(column)
        twice = twice.having(sa.func.count() > 1)
        doubled = connection.execute(twice).scalars().all()
        _require(not doubled, f"{column.name} more than once: {doubled}")
    known = sa.select(obscore.c.obs_publisher_did).where(obscore.c.origin == "built")
    for name in (product_input.c.product_id, build_quality.c.obs_publisher_did,
                 dia_source.c.obs_publisher_did):  # fmt: skip
        orphans = connection.execute(sa.select(name).where(name.not_in(known))).scalars().all()
        _require(not orphans, f"orphan rows in {name.table.name}: {orphans}")
    product, quality = product_input.c.product_id, build_quality.c.obs_publisher_did
    pairs = (
        sa.select(product)
        .group_by(product, product_input.c.input_id, product_input.c.role)
        .having(sa.func.count() > 1)
    )
    _require(not connection.execute(pairs).scalars().all(), "provenance more than once")
    twice = sa.select(quality).group_by(quality).having(sa.func.count() > 1)
    _require(not connection.execute(twice).scalars().all(), "quality more than once")


def _product_paths(connection: sa.Connection) -> list[str]:
    query = sa.select(obscore.c.file_path).where(obscore.c.origin == "built")
    return list(connection.execute(query).scalars())


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise DrillError(otherwise)
