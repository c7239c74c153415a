"""SQLite and PostgreSQL give identical tables for every query of the flows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import pyvo
from astropy.table import Table

from tests.flows.queries import QUERIES
from tests.flows.service import Service


def fetch(service: Service, query: str) -> Table:
    """The answer as a table, links without the address of the service."""
    table = pyvo.dal.TAPService(f"{service.url}/tap").search(query, maxrec=100_000).to_table()
    if "access_url" in table.colnames:
        table["access_url"] = [str(v).replace(service.url, "") for v in table["access_url"]]
    return table


def values(column: Any) -> list[Any]:
    """Plain values with None for null, so that masks are compared too.

    Numbers are compared to 13 digits: the two engines sum and take logarithms in their own order.
    """
    plain = (None if np.ma.is_masked(v) else v for v in column)
    return [float(f"{v:.13g}") if isinstance(v, np.floating) else v for v in plain]


@pytest.mark.parametrize("name", QUERIES)
def test_both_engines_give_one_table(
    name: str, sqlite_service: Service, postgres_service: Service, truth: dict[str, Any]
) -> None:
    target = truth["transients"][0]
    query = QUERIES[name].format(ra=target["ra_deg"], dec=target["dec_deg"])
    ours, theirs = fetch(sqlite_service, query), fetch(postgres_service, query)
    assert ours.colnames == theirs.colnames
    assert [c.dtype.kind for c in ours.columns.values()] == [
        c.dtype.kind for c in theirs.columns.values()
    ]
    for column in ours.colnames:
        assert values(ours[column]) == values(theirs[column]), column
    if name != "provenance":
        assert len(ours) > 0, "a query that finds nothing proves nothing"
