"""The grammar against the collected queries of other suites."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from app.adql.compile import compile_query
from app.adql.parse import parse
from app.errors import AdqlError
from app.schema.catalog import CATALOG
from app.stores.metadata import MetadataStores
from tests.adql.conftest import ask
from tests.adql.test_differential import differs
from tests.machine import SHARED

FOLDER = SHARED / "conformance/adql"

TAKEN_ON_PURPOSE = (
    "SELECT article, dealer, price FROM world.shop s"
    " WHERE price=(SELECT MAX(price) FROM universe.shop);"
)
"""ADQL's grammar has no subquery as a value; this service offers it."""

pytestmark = pytest.mark.needs("shared")


def _load(name: str) -> list[dict[str, Any]]:
    """The cases of a file; a single empty one, which is not run, where the folder is absent."""
    return list(json.loads((FOLDER / name).read_text())) if FOLDER.exists() else [{}]


def _is_accepted(text: str) -> bool:
    try:
        parse(text)
    except AdqlError:
        return False
    return True


def test_valid_and_invalid(record_property: pytest.RecordProperty) -> None:
    """Every verdict of the three suites is right but one, of a query that is taken on purpose."""
    cases = _load("valid_and_invalid.json")
    wrong = [case["adql"] for case in cases if _is_accepted(case["adql"]) != case["valid"]]
    score = f"{len(cases) - len(wrong)}/{len(cases)}"
    record_property("score", score)
    print(f"ADQL conformance: {score} right verdicts")
    assert wrong == [TAKEN_ON_PURPOSE]
    assert len(cases) > 400


@pytest.mark.parametrize("target", ["sqlite", "postgres"])
@pytest.mark.parametrize(
    "case", _load("obscore_queries.json"), ids=lambda c: c.get("adql", "")[-40:]
)
def test_obscore_queries_compile(case: dict[str, Any], target: Any) -> None:
    query = compile_query(case["adql"], catalog=CATALOG, target=target, maxrec=10)
    assert query.fields


def test_mutants_never_break_the_compiler() -> None:
    """A word dropped, doubled or swapped: an answer or an AdqlError, nothing else."""
    accepted = 0
    for case in _load("obscore_queries.json"):
        words = case["adql"].split(" ")
        for i in range(len(words)):
            mutants = (
                words[:i] + words[i + 1 :],
                words[: i + 1] + words[i:],
                words[:i] + words[i : i + 2][::-1] + words[i + 2 :],
            )
            mutant = " ".join(mutants[i % 3])
            try:
                compile_query(mutant, catalog=CATALOG, target="sqlite", maxrec=1)
                accepted += 1
            except AdqlError as error:
                assert error.line >= 1
                assert error.column >= 1
    assert accepted > 0


@pytest.mark.needs("postgresql")
@pytest.mark.parametrize(
    "case", _load("obscore_queries.json"), ids=lambda c: c.get("adql", "")[-40:]
)
def test_obscore_queries_run_alike(
    case: dict[str, Any],
    sqlite_stores: MetadataStores,
    postgres_stores: MetadataStores,
) -> None:
    here, there = (ask(stores, case["adql"]) for stores in (sqlite_stores, postgres_stores))
    assert len(here) == len(there)
    if re.search(r"\btop\b", case["adql"], re.IGNORECASE) is None:
        assert not differs(here, there)
