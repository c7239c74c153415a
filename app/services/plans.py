"""Queries that were compiled already."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from app.adql.compiled import CompiledQuery
from app.adql.tree import Query
from app.schema.fields import Catalog

CAPACITY: Final = 512
MAX_TEXT: Final = 10_000
"""Longer queries, and trees with longer statements, are compiled each time."""

PlanKey = tuple[str | Query, int, str]
"""Text or tree, rows at most and the address of the service."""


class PlanCache:
    """The statements of the queries asked last. A new catalog makes all of them old."""

    def __init__(self, *, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._lock = threading.Lock()
        self._plans: OrderedDict[PlanKey, CompiledQuery] = OrderedDict()
        self._catalog: Catalog | None = None

    def get(
        self, key: PlanKey, catalog: Catalog, make: Callable[[], CompiledQuery]
    ) -> CompiledQuery:
        """The statement of ``key`` on ``catalog``, made if need be."""
        with self._lock:
            if self._catalog is not catalog:
                self._plans.clear()
                self._catalog = catalog
            known = self._plans.get(key)
            if known is not None:
                self._plans.move_to_end(key)
                return known
        plan = make()
        text = key[0] if isinstance(key[0], str) else plan.sql
        if len(text) <= MAX_TEXT:
            self._keep(key, catalog, plan)
        return plan

    def _keep(self, key: PlanKey, catalog: Catalog, plan: CompiledQuery) -> None:
        with self._lock:
            if self._catalog is catalog:
                self._plans[key] = plan
                if len(self._plans) > self._capacity:
                    self._plans.popitem(last=False)
