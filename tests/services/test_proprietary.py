"""Products of images that are not public: who may build, see and use them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from astropy.io import fits

from app.errors import AuthenticationError, ForbiddenError
from app.schema.access import (
    ANYBODY,
    OPERATOR,
    UNRESTRICTED,
    Identity,
    Rights,
    may_read,
    rights_of,
    strictest,
)
from app.schema.rows import virtual_id
from app.services.links import LinkService
from app.services.signatures import FileSigner
from app.uws.job import Phase
from app.workers.embedded import EmbeddedEngine
from tests.services.builds_fixture import Field, now, open_field
from tests.services.survey import Exposure, standard_exposures
from tests.services.test_builds import select

NOW = datetime(2026, 5, 1, tzinfo=UTC)
GRANTED = Identity(name="ada", collections=frozenset({"deep"}))
STRANGER = Identity(name="bob", collections=frozenset({"wide"}))
HELD = {"obs_collection": "deep", "data_rights": "proprietary"}


@pytest.mark.parametrize(
    ("columns", "anybody", "stranger", "granted"),
    [
        ({}, True, True, True),
        ({"data_rights": "public"}, True, True, True),
        ({"data_rights": "secure"}, False, True, True),
        ({"data_rights": "proprietary"}, False, False, True),
        ({"data_rights": "whatever"}, False, False, True),
        ({"data_rights": "proprietary", "obs_release_date": "2026-05-01"}, True, True, True),
        ({"data_rights": "proprietary", "obs_release_date": "2026-05-02"}, False, False, True),
        ({"obs_release_date": "2026-05-01T00:00:01"}, False, False, True),
        ({"obs_release_date": "some day"}, False, False, True),
    ],
)
def test_who_may_have_pixels(
    columns: dict[str, str], anybody: bool, stranger: bool, granted: bool
) -> None:
    rights = rights_of({"obs_collection": "deep", **columns})
    found = [may_read(who, rights, NOW) for who in (ANYBODY, STRANGER, GRANTED, OPERATOR)]
    assert found == [anybody, stranger, granted, True]


def test_what_is_made_of_several_images_is_as_restricted_as_each() -> None:
    soon, late = NOW + timedelta(days=1), NOW + timedelta(days=9)
    past = Rights("proprietary", NOW, ("old",))
    a = Rights("proprietary", soon, ("a",))
    b = Rights("proprietary", late, ("b",))
    secure = Rights("secure", None, ("s",))
    assert strictest([UNRESTRICTED, past], NOW) == UNRESTRICTED
    assert strictest([a, b, past], NOW) == Rights("proprietary", late, ("a", "b"))
    both = strictest([a, secure], NOW)
    assert both == Rights("proprietary", None, ("a",))
    assert not may_read(
        Identity(name="x", collections=frozenset({"a"})), strictest([a, b], NOW), NOW
    )
    assert may_read(Identity(name="x", collections=frozenset({"*"})), strictest([a, b], NOW), NOW)


def held(field: Field, exposure: Exposure, **columns: str) -> str:
    """Publish an exposure that is not for everybody."""
    field.add(exposure)
    row = field.stores.datasets.get(exposure.dataset_id)
    field.stores.datasets.upsert([replace(row, columns={**row.columns, **HELD, **columns})])
    return exposure.dataset_id


def kinds_of_links(field: Field, dataset_id: str) -> set[str | None]:
    """What an operator is offered of a dataset."""
    signer = FileSigner(keys=lambda: [b"k" * 32], clock=now, lifetime_s=60)
    links = LinkService(datasets=field.stores.datasets, signer=signer)
    found = links.find_links([dataset_id], "http://x", OPERATOR)
    return {each.local_semantics for each in found.links}


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory, engine: EmbeddedEngine) -> Iterator[Field]:
    """Four public exposures; one that is sharper and one with the transient, which are not."""
    with open_field(tmp_path_factory.mktemp("held"), engine) as opened:
        opened.add(*standard_exposures()[:4])
        held(opened, standard_exposures()[4])
        held(opened, Exposure(visit=6, fwhm_px=2.5, mjd=60006))
        opened.listing.update()
        yield opened


SCIENCE = standard_exposures()[4].dataset_id
SHARP = Exposure(visit=6).dataset_id
PUBLIC = standard_exposures()[0].dataset_id


def test_what_is_chosen_for_a_public_image_is_public_whoever_asks(field: Field) -> None:
    asked = (("ID", PUBLIC),)
    keys = set()
    for who in (ANYBODY, STRANGER, GRANTED, OPERATOR):
        recipe, plan = field.builds.prepare("difference", asked, who)
        keys.add(recipe.key())
        assert not {SCIENCE, SHARP} & {ref.dataset_id for ref in plan.inputs}
    assert len(keys) == 1


def test_what_is_chosen_for_a_held_image_may_be_held_in_the_same_way(field: Field) -> None:
    recipe, plan = field.builds.prepare("difference", (("ID", SCIENCE),), GRANTED)
    assert SHARP in {ref.dataset_id for ref in plan.inputs}
    assert recipe.key() == field.builds.prepare("difference", (("ID", SCIENCE),), OPERATOR)[0].key()


def test_images_that_are_named_must_be_for_the_one_who_names_them(field: Field) -> None:
    for asked in (
        (("ID", SCIENCE),),
        (("ID", PUBLIC), ("TEMPLATE_IDS", f"{SHARP} {standard_exposures()[1].dataset_id}")),
    ):
        with pytest.raises(AuthenticationError, match="proprietary"):
            field.builds.prepare("difference", asked, ANYBODY)
        with pytest.raises(ForbiddenError, match="bob has no grant for deep"):
            field.builds.prepare("difference", asked, STRANGER)


def test_a_product_is_as_restricted_as_its_inputs_until_their_release(field: Field) -> None:
    promised = field.stores.datasets.get(str(virtual_id(SCIENCE)))
    assert promised.is_buildable and promised.rights.collections == ("deep",)
    job = field.jobs.create("difference", (("ID", SCIENCE),), identity=OPERATOR)
    field.jobs.start(job.job_id)
    done = field.ended(job.job_id)
    assert done.phase is Phase.COMPLETED, done.error
    row = field.stores.datasets.get(str(done.results[0].dataset_id))
    assert row.columns["obs_collection"] == "products"
    assert (row.columns["data_rights"], row.restricted_by) == ("proprietary", ("deep",))
    assert [may_read(who, row.rights, NOW) for who in (ANYBODY, STRANGER, GRANTED)] == [
        False,
        False,
        True,
    ]
    with fits.open(row.file_path) as hdus:
        count = len(hdus["DIASOURCES"].data)
    asked = "SELECT COUNT(*) AS n FROM skyloom.dia_source"
    assert count > 0 and select(field, asked) == [{"n": 0}]
    assert "dia-sources" not in kinds_of_links(field, row.dataset_id)
    columns = {**row.columns, "obs_release_date": "2026-05-01"}
    field.stores.datasets.upsert([replace(row, columns=columns)])
    assert "dia-sources" in kinds_of_links(field, row.dataset_id)


def test_a_job_runs_with_what_its_owner_may_see(field: Field) -> None:
    job = field.jobs.create("difference", (("ID", SCIENCE),))
    field.jobs.start(job.job_id)
    done = field.ended(job.job_id)
    assert done.error is not None and done.error.fault == "AuthenticationError"
