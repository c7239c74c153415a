"""Differences that can be built: which are listed, and what becomes of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.errors import CoverageError, DatasetNotFoundError, UsageError
from app.schema.rows import DatasetRow, science_of_virtual, virtual_id
from app.services.first_use import Missing
from app.services.links import LinkService
from app.services.signatures import FileSigner
from app.services.staleness import stale_reasons
from app.services.withdrawal import WithdrawalService
from app.uws.job import Phase
from app.workers.embedded import EmbeddedEngine
from tests.services.builds_fixture import Field, now, open_field
from tests.services.survey import Exposure, dataset_row, standard_exposures
from tests.waiting import wait_for

IN_I = [e.dataset_id for e in standard_exposures() if e.band == "i"]
FIRST, SCIENCE = standard_exposures()[0], standard_exposures()[4]


def promised(exposure: Exposure) -> str:
    """The identifier of the difference of an exposure."""
    return str(virtual_id(exposure.dataset_id))


def listed(field: Field) -> dict[str, str]:
    """Identifier -> build_state of everything with such a state."""
    query = "SELECT obs_publisher_did, build_state FROM obscore WHERE build_state IS NOT NULL"
    with field.stores.engine.connect() as connection:
        return {str(name): str(state) for name, state in connection.exec_driver_sql(query)}


def current(field: Field, exposure: Exposure) -> DatasetRow:
    """What the difference of an exposure is now."""
    return field.stores.datasets.get(promised(exposure))


def build(field: Field, exposure: Exposure = SCIENCE, **more: Any) -> str:
    """Build a difference; its identifier."""
    job = field.run("difference", ID=exposure.dataset_id, **more)
    assert job.phase is Phase.COMPLETED, job.error
    return str(job.results[0].dataset_id)


def change(field: Field, exposure: Exposure) -> None:
    """Ingest an exposure whose file was replaced."""
    field.add(replace(exposure, seed=exposure.seed + 7))


def withdraw(field: Field, *names: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Withdraw, and look at what can be built."""
    service = WithdrawalService(datasets=field.stores.datasets, on_change=field.listing.update)
    report = service.run(names)
    return report.withdrawn, report.stale


def test_a_collection_is_withdrawn_whole(field: Field) -> None:
    build(field)
    field.listing.update()
    (collection,) = field.stores.datasets.collections()
    service = WithdrawalService(datasets=field.stores.datasets, on_change=field.listing.update)
    with pytest.raises(UsageError, match=f"'no such'. Collections: {collection}"):
        service.run_collection("no such")
    assert service.run_collection(collection) == len(standard_exposures())
    assert field.stores.datasets.collections() == []
    assert set(listed(field).values()) == {"stale"}
    with pytest.raises(UsageError, match="Collections: none"):
        service.run_collection(collection)


@pytest.mark.parametrize(
    "exposure_id",
    ["ivo://a.b/demo?r/sim-1", "ivo://a.b/deep/er?x:y?z,1", "ivo://A.b/De~mo?x"],
)
def test_identifiers_lead_to_each_other(exposure_id: str) -> None:
    name = virtual_id(exposure_id)
    assert name is not None and name != exposure_id
    assert science_of_virtual(name) == exposure_id
    assert science_of_virtual(exposure_id) is None
    assert str(science_of_virtual(name.upper())).lower() == exposure_id.lower()


def test_what_has_a_template_is_listed_and_nothing_else(field: Field) -> None:
    field.listing.update()
    assert listed(field) == {str(virtual_id(name)): "buildable" for name in IN_I}
    row, science = current(field, SCIENCE), field.stores.datasets.get(SCIENCE.dataset_id)
    handed_down = ("s_region", "s_ra", "t_min", "t_max", "lsst_visit", "lsst_band", "em_min")
    assert all(row.columns[name] == science.columns[name] for name in handed_down)
    assert row.columns["dataproduct_subtype"] == "lsst.difference_image"
    assert row.columns["calib_level"] == 3
    assert field.listing.update() == 0


def test_exposures_make_templates_possible_for_their_neighbours(field: Field) -> None:
    others = [Exposure(visit=number, band="z", mjd=60009 + number) for number in (10, 11)]
    field.listing.update()
    field.add(others[0])
    assert field.listing.update() == 0
    field.add(others[1])
    assert field.listing.update() == 3
    assert sum(name.count("field:z/") for name in listed(field)) == 3
    withdraw(field, others[0].dataset_id)
    assert sum(name.count("field:z/") for name in listed(field)) == 0


def test_builds_that_would_be_too_large_are_not_listed(
    tmp_path: Path, engine: EmbeddedEngine
) -> None:
    with open_field(tmp_path, engine, max_pixels=3 * 200 * 200) as field:
        field.add(*standard_exposures()[:3])
        field.listing.update()
        assert len(listed(field)) == 3
        field.stores.datasets.withdraw(IN_I)
        field.add(*standard_exposures())
        field.listing.update()
        assert listed(field) == {}


@pytest.mark.parametrize("more", [{}, {"FWHM_FRACTION": "1"}])
def test_a_product_takes_the_place_of_its_promise(field: Field, more: dict[str, str]) -> None:
    """``FWHM_FRACTION=1`` gives the same recipe, since all of five exposures are used anyway."""
    field.listing.update()
    product = build(field, **more)
    states = listed(field)
    assert states[product] == "built" and promised(SCIENCE) not in states
    assert len(states) == len(IN_I)
    assert current(field, SCIENCE).dataset_id == product
    assert field.stores.datasets.get(promised(SCIENCE).upper()).dataset_id == product
    field.listing.update()
    assert listed(field) == states


def test_another_recipe_leaves_the_promise(field: Field) -> None:
    field.listing.update()
    product = build(field, MAX_INPUTS=2)
    assert listed(field)[product] == "built"
    assert current(field, SCIENCE).dataset_id == promised(SCIENCE)


def test_what_was_built_before_the_list_was_made_is_found(field: Field) -> None:
    product = build(field)
    with field.stores.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE obscore SET difference_of = NULL")
    field.listing.update()
    assert current(field, SCIENCE).dataset_id == product
    assert promised(SCIENCE) not in listed(field)


def test_a_new_exposure_leaves_what_was_built(field: Field) -> None:
    product = build(field)
    field.add(Exposure(visit=6, fwhm_px=2.5, mjd=60006))
    field.listing.update()
    assert current(field, SCIENCE).dataset_id == product
    assert listed(field)[str(virtual_id("ivo://test.local/field?i/6"))] == "buildable"


@pytest.mark.parametrize("changed", [FIRST, SCIENCE])
def test_a_changed_input_makes_a_product_stale(field: Field, changed: Exposure) -> None:
    product = build(field)
    change(field, changed)
    assert listed(field)[product] == "stale"
    assert stale_reasons(field.stores.datasets, product) == [
        f"the {'science' if changed is SCIENCE else 'template'} input {changed.dataset_id} "
        "was changed"
    ]
    field.listing.update()
    assert current(field, SCIENCE).dataset_id == promised(SCIENCE)
    found = field.first_use.find(promised(SCIENCE))
    assert isinstance(found, Missing)
    again = build(field)
    assert again != product and current(field, SCIENCE).dataset_id == again
    assert field.stores.datasets.get(product).is_stale
    assert len(listed(field)) == len(IN_I) + 1


def test_what_comes_back_as_it_was_is_not_stale(field: Field) -> None:
    product = build(field)
    withdraw(field, FIRST.dataset_id)
    assert listed(field)[product] == "stale"
    field.add(FIRST)
    field.listing.update()
    assert listed(field)[product] == "built"
    assert current(field, SCIENCE).dataset_id == product
    assert len(listed(field)) == len(IN_I)


def test_a_product_of_a_stale_one_is_stale(field: Field) -> None:
    job = field.run("template", ID=SCIENCE.dataset_id)
    template = str(job.results[0].dataset_id)
    product = build(field, TEMPLATE_IDS=template)
    change(field, FIRST)
    assert listed(field)[template] == listed(field)[product] == "stale"
    assert stale_reasons(field.stores.datasets, product) == [
        f"the template input {template} became stale"
    ]


def test_withdrawing_tells_what_is_stale(field: Field) -> None:
    product = build(field)
    assert withdraw(field, str(field.image(FIRST))) == ((FIRST.dataset_id,), (product,))
    with pytest.raises(DatasetNotFoundError):
        field.stores.datasets.get(FIRST.dataset_id)
    assert field.image(FIRST).exists()
    (reason,) = stale_reasons(field.stores.datasets, product)
    assert reason == f"the template input {FIRST.dataset_id} was withdrawn"
    with pytest.raises(UsageError, match="no dataset is of this file"):
        withdraw(field, str(field.image(FIRST)))
    with pytest.raises(DatasetNotFoundError):
        withdraw(field, SCIENCE.dataset_id, FIRST.dataset_id)
    assert field.stores.datasets.get(SCIENCE.dataset_id)


def test_the_difference_of_a_withdrawn_exposure_stays_and_says_so(field: Field) -> None:
    product = build(field)
    withdraw(field, SCIENCE.dataset_id)
    found = field.first_use.find(promised(SCIENCE))
    assert isinstance(found, DatasetRow) and found.dataset_id == product and found.is_stale
    signer = FileSigner(keys=lambda: [b"k" * 32], clock=now, lifetime_s=60)
    links = LinkService(datasets=field.stores.datasets, signer=signer)
    this = links.find_links([promised(SCIENCE)], "http://x").links[0]
    assert promised(SCIENCE) == this.ID
    assert f"STALE: the science input {SCIENCE.dataset_id} was withdrawn" in str(this.description)


def test_a_withdrawn_product_can_be_built_again(field: Field) -> None:
    product = build(field)
    withdraw(field, product)
    assert listed(field)[promised(SCIENCE)] == "buildable"
    with pytest.raises(UsageError, match="is not built"):
        withdraw(field, promised(SCIENCE))
    assert build(field) == product
    assert promised(SCIENCE) not in listed(field)


def test_a_product_whose_file_is_gone_can_be_built_again(field: Field) -> None:
    product = build(field)
    path = Path(field.stores.datasets.get(product).file_path)
    content = path.read_bytes()
    path.unlink()
    field.listing.check_files()
    assert listed(field)[product] == "buildable"
    assert isinstance(field.first_use.find(promised(SCIENCE)), Missing)
    path.write_bytes(content)
    field.listing.check_files()
    assert listed(field)[product] == "built"
    path.unlink()
    field.listing.check_files()
    assert build(field) == product
    assert listed(field)[product] == "built" and path.read_bytes() == content


def test_an_exposure_that_is_none_any_more_has_no_difference(field: Field) -> None:
    field.listing.update()
    row = dataset_row(field.image(SCIENCE), SCIENCE)
    raw = replace(row, columns={**row.columns, "calib_level": 1})
    field.stores.datasets.upsert([raw])
    assert promised(SCIENCE) not in listed(field)
    field.listing.update()
    assert len(listed(field)) == len(IN_I) - 1


def test_what_cannot_be_built_says_why(field: Field) -> None:
    lonely = standard_exposures()[5]
    with pytest.raises(CoverageError, match="No image of band z"):
        field.first_use.find(lonely.dataset_id)
    with pytest.raises(DatasetNotFoundError):
        field.first_use.find("ivo://no/such?one")


def test_what_failed_by_its_data_is_not_tried_again(field: Field) -> None:
    sparse = [Exposure(visit=n, band="y", stars=0, mjd=60200 + n) for n in range(20, 23)]
    field.add(*sparse)
    missing = field.first_use.find(sparse[0].dataset_id)
    assert isinstance(missing, Missing)
    failed = field.run("difference", ID=sparse[0].dataset_id, STATISTIC="meanclip")
    assert failed.phase is Phase.ERROR and failed.error is not None
    assert failed.parameters != missing.parameters
    again = field.first_use.start(missing, "")
    assert again.job_id == failed.job_id
    change(field, sparse[0])
    changed = field.first_use.find(sparse[0].dataset_id)
    assert isinstance(changed, Missing)
    assert field.first_use.start(changed, "").job_id != failed.job_id


def test_what_could_not_be_planned_is_tried_again(field: Field) -> None:
    missing = field.first_use.find(SCIENCE.dataset_id)
    assert isinstance(missing, Missing)
    templates = [name for name in IN_I if name != SCIENCE.dataset_id]
    field.stores.datasets.withdraw(templates)
    failed = field.ended(field.first_use.start(missing, "").job_id)
    assert failed.phase is Phase.ERROR
    field.add(*(each for each in standard_exposures() if each.dataset_id in templates))
    assert field.first_use.find(SCIENCE.dataset_id) == missing
    job = field.ended(field.first_use.start(missing, "").job_id)
    assert job.phase is Phase.COMPLETED, job.error


def test_all_who_wait_for_a_difference_share_a_job(field: Field) -> None:
    field.dispatcher.stop()
    missing = field.first_use.find(SCIENCE.dataset_id)
    assert isinstance(missing, Missing)
    queued = field.first_use.start(missing, "")
    assert queued.phase is Phase.QUEUED
    assert field.first_use.start(missing, "").job_id == queued.job_id
    field.dispatcher.start()
    assert field.ended(queued.job_id).phase is Phase.COMPLETED


@pytest.mark.parametrize("withdrawn", [FIRST, SCIENCE])
def test_an_input_may_be_withdrawn_while_a_product_is_made_of_it(
    field: Field, withdrawn: Exposure
) -> None:
    job_id = field.start("difference", ID=SCIENCE.dataset_id)
    wait_for(lambda: bool(field.engine.submitted))
    withdraw(field, withdrawn.dataset_id)
    job = field.ended(job_id)
    assert job.phase is Phase.COMPLETED, job.error
    assert listed(field)[str(job.results[0].dataset_id)] == "stale"
