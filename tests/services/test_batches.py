"""Templates of many patches, differences of many exposures: each built once, whatever happens
to the run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.errors import CoverageError, ParameterError, RegionError
from app.recipes.values import Parameters
from app.services.batches import (
    BatchRequest,
    DifferenceBatch,
    DifferenceBatchRequest,
    TemplateBatch,
)
from app.services.build_runs import BatchReport
from app.sky.shapes import Circle, Point
from app.workers.embedded import EmbeddedEngine
from tests.services.builds_fixture import SKYMAP, Field, open_field, standard_field
from tests.services.survey import CENTRE, Exposure, standard_exposures

HERE = Circle(*CENTRE, 0.02)
HOME = SKYMAP.locate(Point(*CENTRE))


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedEngine]:
    """Two worker processes for all tests."""
    made = EmbeddedEngine(workers=2, data_dir=tmp_path_factory.mktemp("engine"))
    yield made
    made.close()


@pytest.fixture
def field(tmp_path: Path, engine: EmbeddedEngine) -> Iterator[Field]:
    """The standard exposures, published, with a running dispatcher."""
    with open_field(tmp_path, engine) as opened:
        standard_field(opened)
        yield opened


def run(
    field: Field,
    *,
    band: str = "i",
    shape: Circle | None = None,
    tract: int | None = None,
    patch: int | None = None,
    parameters: Parameters = (),
    seen: list[tuple[int, int]] | None = None,
) -> BatchReport:
    """One batch, to its end."""
    batch = TemplateBatch(
        skymap=SKYMAP,
        patches=field.skymap,
        builds=field.builds,
        jobs=field.jobs,
        in_flight=2,
    )
    request = BatchRequest(band=band, shape=shape, tract=tract, patch=patch, parameters=parameters)
    told = [] if seen is None else seen
    return batch.run(request, lambda done, total: told.append((done, total)))


def patches_with(field: Field, band: str, exposures: int) -> set[tuple[int, int]]:
    """What /skymap says of the patches around."""
    covers = field.skymap.cover(Circle(*CENTRE, 0.1), most=1000)
    return {
        (each.patch.tract, each.patch.patch)
        for each in covers
        for found in each.bands
        if found.band == band and found.n_exposures >= exposures
    }


def test_the_whole_sky_map_is_built_once(field: Field) -> None:
    seen: list[tuple[int, int]] = []
    first = run(field, seen=seen)
    found = {(each.of["tract"], each.of["patch"]) for each in first.outcomes}
    assert found == patches_with(field, "i", 2) and len(found) >= 2
    assert first.counts()["built"] == len(found) and first.exit_status == 0
    assert seen[0] == (0, len(found)) and seen[-1] == (len(found), len(found))
    for each in first.outcomes:
        row = field.builds.get_product(str(each.dataset_id))
        assert (
            row.columns.items()
            >= {"lsst_tract": each.of["tract"], "lsst_patch": each.of["patch"]}.items()
        )
    submitted = len(field.engine.submitted)
    second = run(field)
    assert second.counts()["already there"] == len(found)
    assert [e.dataset_id for e in second.outcomes] == [
        e.dataset_id for e in sorted(first.outcomes, key=lambda e: (e.of["tract"], e.of["patch"]))
    ]
    assert len(field.engine.submitted) == submitted


def test_a_region_a_tract_and_a_patch(field: Field) -> None:
    one = run(field, tract=HOME.tract, patch=HOME.patch)
    assert [(e.of["tract"], e.of["patch"]) for e in one.outcomes] == [(HOME.tract, HOME.patch)]
    wanted = set(SKYMAP.find_numbers(HERE)) & patches_with(field, "i", 2)
    region = run(field, shape=HERE)
    assert {(e.of["tract"], e.of["patch"]) for e in region.outcomes} == wanted
    assert region.counts()["already there"] >= 1
    tract = run(field, tract=HOME.tract)
    assert {e.of["tract"] for e in tract.outcomes} == {HOME.tract}


def test_a_job_that_was_left_behind_is_taken_up(field: Field) -> None:
    asked = {"TRACT": HOME.tract, "PATCH": HOME.patch, "BAND": "i"}
    field.dispatcher.stop()
    left = field.start("template", **asked)
    field.dispatcher.start()
    report = run(field, tract=HOME.tract, patch=HOME.patch)
    assert [job.job_id for job in field.jobs.list_jobs("template")] == [left]
    assert report.exit_status == 0 and len(field.engine.submitted) == 1


def test_a_patch_that_fails_stops_no_other(field: Field) -> None:
    for file in (field.folder / "images").glob("i-[1-5].fits"):
        file.unlink()
    report = run(field)
    assert report.counts()["failed"] == len(report.outcomes) >= 2
    assert report.exit_status == 1
    assert all("does not exist" in str(each.reason) for each in report.outcomes)


def test_too_few_exposures_are_told_and_no_failure(field: Field) -> None:
    few = run(field, tract=HOME.tract, patch=HOME.patch, parameters=(("TIME", "60001 60001.5"),))
    assert few.counts()["not enough exposures"] == 1 and few.exit_status == 0
    assert "outside TIME" in str(few.outcomes[0].reason)
    assert run(field, band="z").outcomes == []


def test_an_interrupted_run_reports_what_it_did(field: Field) -> None:
    def interrupt(done: int, total: int) -> None:
        if done >= 1:
            raise KeyboardInterrupt

    batch = TemplateBatch(
        skymap=SKYMAP, patches=field.skymap, builds=field.builds, jobs=field.jobs, in_flight=1
    )
    report = batch.run(BatchRequest(band="i"), interrupt)
    assert report.interrupted and report.exit_status == 1
    assert 1 <= len(report.outcomes) < len(patches_with(field, "i", 2))


def test_what_cannot_be_asked(field: Field) -> None:
    with pytest.raises(CoverageError, match="No image of band y"):
        run(field, band="y")
    with pytest.raises(ParameterError, match="FWHM_MAX"):
        run(field, parameters=(("FWHM_MAX", "wide"),))
    with pytest.raises(ParameterError, match="WIDTH"):
        run(field, parameters=(("WIDTH", "2"),))
    with pytest.raises(RegionError, match="tracts are numbered"):
        run(field, tract=10**8)


def differences(field: Field) -> DifferenceBatch:
    """A batch of differences."""
    return DifferenceBatch(finder=field.finder, builds=field.builds, jobs=field.jobs, in_flight=2)


def build_differences(
    batch: DifferenceBatch, *, band: str = "i", **more: Any
) -> dict[str, tuple[str, str | None]]:
    """Run a batch: science image -> state and product."""
    report = batch.run(DifferenceBatchRequest(band=band, **more), lambda _done, _all: None)
    assert report.exit_status == 0
    return {str(e.of["science"]): (e.state, e.dataset_id) for e in report.outcomes}


def test_the_differences_of_a_band_are_built_once(field: Field) -> None:
    first = build_differences(differences(field))
    assert set(first) == {e.dataset_id for e in standard_exposures()[:5]}
    for science, (state, product) in first.items():
        assert state == "built"
        uses = field.stores.datasets.inputs_of(str(product))
        assert [use.input_id for use in uses if use.role == "science"] == [science]
    submitted = len(field.engine.submitted)
    again = build_differences(differences(field))
    assert again == {name: ("already there", product) for name, (_, product) in first.items()}
    assert len(field.engine.submitted) == submitted
    far = differences(field).run(
        DifferenceBatchRequest(band="i", shape=Point(10.0, 10.0)), lambda _done, _all: None
    )
    assert far.outcomes == [] and far.exit_status == 0


def test_a_batch_that_goes_on_sees_what_is_new(field: Field) -> None:
    batch, (lonely,) = differences(field), standard_exposures()[5:]
    few = build_differences(batch, band="z")
    assert few == {lonely.dataset_id: ("not enough exposures", None)}
    assert build_differences(batch, band="z") == {}
    more = [Exposure(visit=visit, band="z", mjd=60000.0 + visit) for visit in (10, 11)]
    field.add(*more)
    found = build_differences(batch, band="z", parameters=(("MAX_INPUTS", "2"),))
    assert set(found) == {e.dataset_id for e in (lonely, *more)}
    assert {state for state, _ in found.values()} == {"built"}
    assert build_differences(batch, band="z") == {}


def test_wrong_parameters_of_differences_are_refused(field: Field) -> None:
    for name, value in (("CONVOLVE", "both"), ("TRACT", "1")):
        with pytest.raises(ParameterError, match=name):
            build_differences(differences(field), parameters=((name, value),))
