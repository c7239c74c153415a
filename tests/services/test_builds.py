"""Builds from request to published product: SQLite, a real engine, small real FITS files."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from app.adql.compile import compile_query
from app.errors import (
    CoverageError,
    DatasetNotFoundError,
    LimitError,
    ParameterError,
    RecipeError,
)
from app.recipes.recipe import BuildKind, BuildPlan, Recipe
from app.schema.catalog import CATALOG
from app.uws.job import Phase
from app.workers.embedded import EmbeddedEngine
from tests.services.builds_fixture import Field, now, open_field, standard_field
from tests.services.survey import (
    AUTHORITY,
    CENTRE,
    TRANSIENT,
    Exposure,
    standard_exposures,
)
from tests.waiting import wait_for

POSITION = f"{CENTRE[0]} {CENTRE[1]}"
SCIENCE = standard_exposures()[4]


@pytest.fixture
def field(tmp_path: Path, engine: EmbeddedEngine) -> Iterator[Field]:
    """The standard exposures, published, with a running dispatcher."""
    with open_field(tmp_path, engine) as opened:
        standard_field(opened)
        yield opened


def select(field: Field, query: str) -> list[dict[str, object]]:
    """Rows of an ADQL query, as a user gets them."""
    compiled = compile_query(
        query,
        catalog=CATALOG,
        target=field.stores.tables.target,
        maxrec=1000,
        prefixes={"service_url": "http://x"},
    )
    return [row for batch in field.stores.tables.stream(compiled) for row in batch.to_pylist()]


def prepare(field: Field, kind: BuildKind, **parameters: object) -> tuple[Recipe, BuildPlan]:
    """The recipe and plan of a request."""
    return field.builds.prepare(kind, [(name, str(value)) for name, value in parameters.items()])


def names(plan: BuildPlan) -> list[str]:
    """Last part of the inputs' identifiers."""
    return [ref.dataset_id.rpartition("/")[2] for ref in plan.inputs]


# -- what is prepared -----------------------------------------------------------------------------


def test_a_template_at_a_position_takes_what_lies_there(field: Field) -> None:
    recipe, plan = prepare(field, "template", POS=POSITION, BAND="i")
    assert names(plan) == ["1", "2", "3", "4", "5"]
    assert plan.tract is not None and plan.patch is not None
    assert plan.dataset_id == f"ivo://{AUTHORITY}/products?template/{recipe.key()}"
    assert plan.output_path.endswith(f"products/{recipe.key()[:2]}/{recipe.key()}.fits")
    again = prepare(field, "template", POS=f"CIRCLE {POSITION} 0.001", BAND="i")
    assert again == (recipe, plan)


def test_selections_change_the_recipe(field: Field) -> None:
    _, sharp = prepare(field, "template", POS=POSITION, BAND="i", FWHM_FRACTION=0.4)
    assert names(sharp) == ["1", "2"]
    _, early = prepare(field, "template", POS=POSITION, BAND="i", TIME="-Inf 60002.5")
    assert names(early) == ["1", "2"]
    _, late = prepare(field, "template", POS=POSITION, BAND="i", EXCLUDE_TIME="60002 60003.5")
    assert names(late) == ["1", "4", "5"]


def test_the_science_exposure_is_left_out(field: Field) -> None:
    _, template = prepare(field, "template", ID=SCIENCE.dataset_id)
    _, difference = prepare(field, "difference", ID=SCIENCE.dataset_id)
    assert names(template) == names(difference) == ["1", "2", "3", "4"]
    assert difference.science is not None
    assert difference.science.dataset_id == SCIENCE.dataset_id
    assert template.tract is None


def test_an_exposure_without_a_visit_is_named_for_its_file_not_its_folder(field: Field) -> None:
    for exposure in standard_exposures():
        row = field.stores.datasets.get(exposure.dataset_id)
        columns = {name: value for name, value in row.columns.items() if name != "lsst_visit"}
        field.stores.datasets.upsert([replace(row, columns=columns)])
    _, plan = prepare(field, "template", POS=POSITION, BAND="i")
    assert len(set(plan.exposures)) == 5
    for exposure, ref in zip(plan.exposures, plan.inputs, strict=True):
        assert exposure.startswith(f"i-{ref.dataset_id.rpartition('/')[2]}.fits/")
        assert str(field.folder) not in exposure


def test_what_cannot_be_built_is_said_clearly(field: Field, engine: EmbeddedEngine) -> None:
    lonely = standard_exposures()[5].dataset_id
    with pytest.raises(CoverageError, match="No image of band z"):
        prepare(field, "difference", ID=lonely)
    with pytest.raises(CoverageError, match="band z has one image only"):
        prepare(field, "template", POS=POSITION, BAND="z")
    with pytest.raises(CoverageError, match="No image of band i"):
        prepare(field, "template", POS="200 80", BAND="i")
    with pytest.raises(CoverageError, match="No image of band i' OR 1=1"):
        prepare(field, "template", POS=POSITION, BAND="i' OR 1=1 --")
    with pytest.raises(DatasetNotFoundError, match="ivo://x/y"):
        prepare(field, "difference", ID="ivo://x/y?z")
    with pytest.raises(DatasetNotFoundError, match="ivo://x/y"):
        prepare(field, "difference", ID=SCIENCE.dataset_id, TEMPLATE_IDS="ivo://x/y?z")
    with pytest.raises(RecipeError, match="own template"):
        ids = f"{standard_exposures()[0].dataset_id},{SCIENCE.dataset_id}"
        prepare(field, "difference", ID=SCIENCE.dataset_id, TEMPLATE_IDS=ids)
    with pytest.raises(ParameterError, match="BAND"):
        prepare(field, "difference", ID=SCIENCE.dataset_id, BAND="z")
    with pytest.raises(RecipeError, match="reaches beyond patch"):
        prepare(field, "template", POS=f"CIRCLE {POSITION} 1", BAND="i")


def test_the_pixel_limit(tmp_path: Path, engine: EmbeddedEngine) -> None:
    with open_field(tmp_path, engine, max_pixels=100_000) as field:
        standard_field(field)
        with pytest.raises(LimitError, match="100000"):
            prepare(field, "difference", ID=SCIENCE.dataset_id)


# -- what is built --------------------------------------------------------------------------------


def test_a_template_is_published(field: Field) -> None:
    job = field.run("template", POS=POSITION, BAND="i")
    assert job.phase is Phase.COMPLETED, job.error
    (result,) = job.results
    (row,) = select(
        field,
        "SELECT * FROM ivoa.ObsCore WHERE calib_level = 3 AND "
        f"CONTAINS(POINT({CENTRE[0]}, {CENTRE[1]}), s_region) = 1",
    )
    assert row["obs_publisher_did"] == result.dataset_id
    assert row["dataproduct_subtype"] == "lsst.template_coadd"
    assert (row["lsst_band"], row["obs_collection"]) == ("i", "products")
    assert row["lsst_tract"] is not None and row["lsst_patch"] is not None
    assert (row["t_min"], row["t_exptime"]) == (60001, 150)
    assert row["instrument_name"] == "TestCam" and row["em_min"] == 7e-7
    assert str(row["access_url"]).startswith("http://x/datalink/links?ID=ivo%3A%2F%2F")
    inputs = select(
        field,
        "SELECT input_id, role, weight, rejected FROM skyloom.product_input "
        f"WHERE product_id = '{result.dataset_id}'",
    )
    assert len(inputs) == 5 and {i["role"] for i in inputs} == {"template"}
    assert sum(float(str(i["weight"])) for i in inputs) == pytest.approx(1)
    product = field.builds.get_product(str(result.dataset_id))
    with fits.open(product.file_path) as hdus:
        header = hdus["IMAGE"].header
        assert header["CRVAL1A"] == -header["LTV1"]
        x, y = WCS(header).world_to_pixel_values(*CENTRE)
        assert np.isfinite(hdus["IMAGE"].data[round(float(y)), round(float(x))])


def test_a_difference_is_published_with_its_science_exposure(field: Field) -> None:
    job = field.run("difference", ID=SCIENCE.dataset_id)
    assert job.phase is Phase.COMPLETED, job.error
    (row,) = select(
        field,
        "SELECT * FROM ivoa.ObsCore WHERE dataproduct_subtype = 'lsst.difference_image' "
        f"AND lsst_visit = {SCIENCE.visit} AND lsst_detector = 0",
    )
    assert (row["t_min"], row["lsst_band"], row["calib_level"]) == (60100, "i", 3)
    product = field.builds.get_product(str(row["obs_publisher_did"]))
    with fits.open(product.file_path) as hdus:
        x, y = WCS(hdus["IMAGE"].header).world_to_pixel_values(*TRANSIENT)
        box = np.s_[
            round(float(y)) - 1 : round(float(y)) + 2, round(float(x)) - 1 : round(float(x)) + 2
        ]
        pulls = hdus["IMAGE"].data[box] / np.sqrt(hdus["VARIANCE"].data[box])
    assert pulls.max() > 10
    inputs = field.stores.datasets.inputs_of(product.dataset_id)
    used = [i.role for i in inputs if i.rejected is None]
    assert used == ["science"] + ["template"] * 4
    assert [(i.input_id, i.rejected) for i in inputs if i.rejected] == [
        (SCIENCE.dataset_id, "the exposure of the science image itself")
    ]


def test_a_published_template_serves_a_difference(field: Field) -> None:
    ids = ",".join(e.dataset_id for e in standard_exposures()[:4])
    template = field.run("template", ID=SCIENCE.dataset_id, TEMPLATE_IDS=ids)
    assert template.phase is Phase.COMPLETED, template.error
    made = template.results[0].dataset_id
    job = field.run("difference", ID=SCIENCE.dataset_id, TEMPLATE_IDS=made)
    assert job.phase is Phase.COMPLETED, job.error
    inputs = field.stores.datasets.inputs_of(str(job.results[0].dataset_id))
    assert [i.input_id for i in inputs] == [SCIENCE.dataset_id, made]
    own = standard_exposures()[0]
    with pytest.raises(RecipeError, match="contains the science exposure"):
        prepare(field, "difference", ID=own.dataset_id, TEMPLATE_IDS=made)


def test_the_same_recipe_twice_is_one_product(field: Field) -> None:
    first = field.run("difference", ID=SCIENCE.dataset_id)
    path = field.products()[0]
    written = path.stat().st_mtime_ns
    second = field.run("difference", ID=SCIENCE.dataset_id, CONVOLVE="auto")
    assert len(field.engine.submitted) == 1
    assert second.results == first.results
    assert field.products() == [path] and path.stat().st_mtime_ns == written
    path.unlink()
    third = field.run("difference", ID=SCIENCE.dataset_id)
    assert third.results == first.results and path.is_file()


def test_two_at_the_same_moment_share_one_build(field: Field) -> None:
    ids = [field.start("template", POS=POSITION, BAND="i") for _ in range(4)]
    jobs = [field.ended(i) for i in ids]
    assert [job.phase for job in jobs] == [Phase.COMPLETED] * 4
    assert len({job.results for job in jobs}) == 1
    assert len(field.engine.submitted) == 1
    assert len(field.products()) == 1
    assert len(select(field, "SELECT obs_id FROM ivoa.ObsCore WHERE calib_level = 3")) == 1


def test_two_servers_share_one_build(field: Field, engine: EmbeddedEngine) -> None:
    with open_field(field.folder, engine, owner="other") as other:
        ids = [field.start("template", POS=POSITION, BAND="i") for _ in range(3)]
        assert {field.ended(i).phase for i in ids} == {Phase.COMPLETED}
        assert len(field.engine.submitted) + len(other.engine.submitted) == 1
    assert len(field.products()) == 1


def test_the_same_builds_on_postgresql(
    tmp_path: Path, engine: EmbeddedEngine, fresh_postgres_url: str
) -> None:
    with open_field(tmp_path, engine, url=fresh_postgres_url) as field:
        standard_field(field)
        ids = [field.start("difference", ID=SCIENCE.dataset_id) for _ in range(3)]
        jobs = [field.ended(i) for i in ids]
        assert [job.phase for job in jobs] == [Phase.COMPLETED] * 3
        assert len(field.engine.submitted) == 1
        product = field.builds.get_product(str(jobs[0].results[0].dataset_id))
        inputs = field.stores.datasets.inputs_of(product.dataset_id)
        used = [i.role for i in inputs if i.rejected is None]
        assert used == ["science"] + ["template"] * 4


# -- what goes wrong ------------------------------------------------------------------------------


def many(count: int) -> list[Exposure]:
    """Enough exposures for a build that lasts."""
    return [Exposure(visit=100 + n, mjd=61000 + n) for n in range(count)]


def slow_build(field: Field, count: int = 60) -> str:
    """Start a template of many exposures and return when a worker is at it."""
    field.add(*many(count))
    job_id = field.start("template", POS=POSITION, BAND="i", TIME="61000 62000", FWHM_FRACTION=1)
    wait_for(lambda: field.jobs.get(job_id).progress.get("stage") == "warp")
    return job_id


def test_an_aborted_build_stops(tmp_path: Path, engine: EmbeddedEngine) -> None:
    with open_field(tmp_path, engine) as field:
        job_id = slow_build(field)
        field.jobs.abort(job_id)
        wait_for(lambda: not field.dispatcher.running_jobs())
        assert field.jobs.get(job_id).phase is Phase.ABORTED
        standard_field(field)
        assert field.run("difference", ID=SCIENCE.dataset_id).phase is Phase.COMPLETED
        assert len(select(field, "SELECT obs_id FROM ivoa.ObsCore WHERE calib_level = 3")) == 1
        assert len(field.products()) == 1


def test_a_killed_worker_does_not_lose_the_job(tmp_path: Path, engine: EmbeddedEngine) -> None:
    with open_field(tmp_path, engine) as field:
        job_id = slow_build(field)
        for pid in engine.worker_pids():
            os.kill(pid, signal.SIGKILL)
        job = field.ended(job_id)
    assert job.phase is Phase.COMPLETED, job.error


def test_a_job_of_a_killed_server_is_built_after_its_lease(field: Field) -> None:
    field.dispatcher.stop()
    job_id = field.start("template", POS=POSITION, BAND="i")
    key = prepare(field, "template", POS=POSITION, BAND="i")[0].key()
    dead = field.stores.jobs.claim(
        kinds=["template"],
        owner="dead server",
        now=now() - timedelta(hours=1),
        lease_s=30,
        max_attempts=3,
    )
    assert dead is not None and dead.phase is Phase.EXECUTING
    field.dispatcher.start()
    job = field.ended(job_id)
    assert job.phase is Phase.COMPLETED and job.attempts == 2 and job.recipe_key == key


def truncate(path: Path) -> None:
    """Cut a file short."""
    path.write_bytes(path.read_bytes()[:100_000])


def test_truncated_files(field: Field) -> None:
    truncate(field.image(standard_exposures()[2]))
    automatic = field.run("template", POS=POSITION, BAND="i")
    assert automatic.phase is Phase.COMPLETED, automatic.error
    rejected = select(
        field, "SELECT input_id, rejected FROM skyloom.product_input WHERE rejected IS NOT NULL"
    )
    assert [str(r["input_id"]).rpartition("/")[2] for r in rejected] == ["3"]
    ids = ",".join(e.dataset_id for e in standard_exposures()[:4])
    listed = field.run("template", ID=SCIENCE.dataset_id, TEMPLATE_IDS=ids)
    assert listed.phase is Phase.ERROR and listed.error is not None
    assert standard_exposures()[2].dataset_id in listed.error.message
    assert str(field.folder) not in listed.error.message
    assert listed.error.fault == "ImageFormatError" and not listed.error.transient
    good = field.run("difference", ID=SCIENCE.dataset_id)
    assert good.phase is Phase.COMPLETED


def test_a_band_with_one_image_fails_its_job(field: Field) -> None:
    job = field.run("difference", ID=standard_exposures()[5].dataset_id)
    assert job.phase is Phase.ERROR and job.error is not None
    assert job.error.fault == "CoverageError" and "band z" in job.error.message
    assert job.attempts == 1


def limit_file_size(size_bytes: int) -> None:
    """Let this process write no file larger than that: to it the disk is full."""
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, resource.RLIM_INFINITY))


def test_a_full_disk(field: Field, engine: EmbeddedEngine) -> None:
    field.run("template", POS=POSITION, BAND="i")
    client = engine._runner.client()
    client.run(limit_file_size, 150_000)
    try:
        job = field.run("difference", ID=SCIENCE.dataset_id)
    finally:
        client.run(limit_file_size, -1)
    assert job.phase is Phase.ERROR and job.error is not None
    assert job.error.fault == "StorageFullError" and job.error.transient
    assert "No space" in job.error.message and str(field.folder) not in job.error.message
    assert len(field.products()) == 1
    assert len(select(field, "SELECT obs_id FROM ivoa.ObsCore WHERE calib_level = 3")) == 1
    assert field.run("difference", ID=SCIENCE.dataset_id).phase is Phase.COMPLETED
