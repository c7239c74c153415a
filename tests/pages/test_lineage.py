"""Where an image comes from, in steps."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import quote

import pytest

from app.pages.image_view import Relation, view_image
from app.pages.lineage import MAX_SHOWN, Step, trace
from app.stores.metadata import open_stores
from tests.pages.conftest import Site


def relation(name: str, role: str, rejected: str | None = None) -> Relation:
    return Relation(
        dataset_id=f"ivo://x/y?{name}",
        role=role,
        weight="",
        scale="",
        rejected=rejected,
        known=True,
    )


EXPOSURES = [relation(f"e{number}", "template") for number in range(8)]
SCIENCE = relation("science", "science")


def traced(site: Site, inputs: list[Relation], products: list[Relation]) -> list[Step]:
    stores = open_stores(site.config.effective_database_url)
    row = stores.datasets.get(site.image_id)
    stores.close()
    image = replace(view_image(row, service_url=""), title="this one")
    return trace(image, inputs, products)


def test_science_less_template_is_the_difference(site: Site) -> None:
    left_out = relation("bad", "template", "too blurred")
    steps = traced(site, [SCIENCE, *EXPOSURES, left_out], [])
    assert [(step.sign, step.title) for step in steps] == [
        ("", "Science image"),
        ("−", "Template of 8 exposures"),
        ("=", "this one"),
    ]
    assert steps[0].shown == [SCIENCE] and steps[1].shown == EXPOSURES[:MAX_SHOWN]
    assert steps[1].more == 8 - MAX_SHOWN


@pytest.mark.parametrize("count", [1, 3])
def test_exposures_make_a_template_that_goes_into_others(site: Site, count: int) -> None:
    product = relation("difference", "template")
    steps = traced(site, EXPOSURES[:count], [product, relation("no", "template", "left out")])
    title = "One exposure" if count == 1 else "3 exposures"
    assert [(step.sign, step.title) for step in steps] == [
        ("", title), ("→", "this one"), ("→", "Used in"),
    ]  # fmt: skip
    assert steps[2].shown == [product]


def test_an_image_that_stands_alone_has_no_steps(site: Site) -> None:
    assert traced(site, [], []) == []
    page = site.client.get(f"/images?ID={quote(site.image_id, safe='')}")
    assert 'class="lineage"' not in page.text
