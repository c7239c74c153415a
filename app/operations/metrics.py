"""The figures of this server in the words of Prometheus. Labels take few values each: routes as
they are declared, kinds, phases and stages; never what a client sent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, cast

import sqlalchemy as sa
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from app.errors import ServiceError
from app.operations.state import ServerState
from app.services.query_end import QueryEnd
from app.services.running import JobEnd
from app.stores.file_cache import FileCache
from app.stores.jobs import JobStore

_ROUTES: Final = (0.01, 0.05, 0.25, 1.0, 5.0, 30.0)
"""Few: each is a line for every route and method."""
_FAST: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)
_SLOW: Final = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0)

_tell_no_beginnings = cast(Callable[[], None], disable_created_metrics)
"""A line more for each series, of no use to anybody."""


@dataclass(slots=True)
class _Route:
    """The series of one route, method and status, looked up once."""

    count: Counter
    seconds: Histogram
    sent: Counter


class Metrics:
    """What is counted as it happens. ``watched`` adds what is looked up when somebody asks."""

    def __init__(self) -> None:
        _tell_no_beginnings()
        self.registry = CollectorRegistry()
        for process in (ProcessCollector, PlatformCollector, GCCollector):
            process(registry=self.registry)
        keep = self.registry
        labels = ("method", "route", "status")
        self._requests = Counter(
            "skyloom_http_requests", "Requests that ended.", labels, registry=keep
        )
        self._seconds = Histogram(
            "skyloom_http_request_seconds",
            "From a request to the last byte of its answer.",
            ("method", "route"),
            buckets=_ROUTES,
            registry=keep,
        )
        self._sent = Counter(
            "skyloom_http_sent_bytes", "Bytes of the bodies of answers.", ("route",), registry=keep
        )
        self._hung_up = Counter(
            "skyloom_http_hung_up", "Clients that left before the end.", ("route",), registry=keep
        )
        self._rows = Counter("skyloom_query_rows", "Rows that queries answered.", registry=keep)
        self._queries = Histogram(
            "skyloom_query_seconds",
            "From a query to its last row.",
            ("outcome",),
            buckets=_FAST,
            registry=keep,
        )
        self._jobs = Histogram(
            "skyloom_job_seconds",
            "Jobs run here.",
            ("kind", "outcome"),
            buckets=_SLOW,
            registry=keep,
        )
        self._stages = Histogram(
            "skyloom_job_stage_seconds",
            "Stages of jobs, as they were seen to begin and end.",
            ("kind", "stage"),
            buckets=_SLOW,
            registry=keep,
        )
        self._routes: dict[tuple[str, str, int], _Route] = {}

    def request_ended(
        self, method: str, route: str, status: int, seconds: float, sent: int, *, whole: bool
    ) -> None:
        """Count one request. ``route`` is a template, ``method`` one of those known."""
        series = self._routes.get((method, route, status))
        if series is None:
            series = _Route(
                self._requests.labels(method, route, str(status)),
                self._seconds.labels(method, route),
                self._sent.labels(route),
            )
            self._routes[method, route, status] = series
        series.count.inc()
        series.seconds.observe(seconds)
        series.sent.inc(sent)
        if not whole:
            self._hung_up.labels(route).inc()

    def query_ended(self, end: QueryEnd) -> None:
        """Count one query."""
        self._rows.inc(end.rows)
        self._queries.labels(end.fault or "answered").observe(end.seconds)

    def job_ended(self, end: JobEnd) -> None:
        """Count one job that ran here."""
        self._jobs.labels(end.kind, end.outcome).observe(end.seconds)
        for stage, seconds in end.stages.items():
            self._stages.labels(end.kind, stage).observe(seconds)

    def text(self) -> bytes:
        """All figures as Prometheus reads them."""
        return generate_latest(self.registry)


class LookedUp(Collector):
    """Figures that others keep, read when they are asked for."""

    def __init__(
        self,
        *,
        jobs: JobStore,
        pools: Mapping[str, sa.Engine],
        caches: Mapping[str, FileCache],
        state: ServerState,
    ) -> None:
        self._jobs = jobs
        self._pools = pools
        self._caches = caches
        self._state = state

    def collect(self) -> Iterable[Metric]:
        """See :class:`prometheus_client.registry.Collector`."""
        up = GaugeMetricFamily("skyloom_http_in_flight", "Requests that are being answered.")
        up.add_metric((), self._state.in_flight)
        yield up
        yield self._database()
        yield self._connections()
        yield from self._cache_use()

    def _database(self) -> Metric:
        """Jobs by kind and phase; none while the database does not answer, which ``/ready``
        tells."""
        queue = GaugeMetricFamily("skyloom_jobs", "Jobs on record.", labels=("kind", "phase"))
        try:
            counts = self._jobs.counts()
        except ServiceError:
            return queue
        for (kind, phase), number in sorted(counts.items()):
            queue.add_metric((kind, phase), number)
        return queue

    def _connections(self) -> Metric:
        found = GaugeMetricFamily(
            "skyloom_database_connections", "Connections of a pool.", labels=("pool", "state")
        )
        for name, engine in self._pools.items():
            pool = engine.pool
            if isinstance(pool, sa.pool.QueuePool):
                found.add_metric((name, "used"), pool.checkedout())
                found.add_metric((name, "idle"), pool.checkedin())
        return found

    def _cache_use(self) -> Iterable[Metric]:
        asked = CounterMetricFamily(
            "skyloom_cache_requests", "What caches were asked for.", labels=("cache", "outcome")
        )
        for name, cache in self._caches.items():
            asked.add_metric((name, "hit"), cache.hits)
            asked.add_metric((name, "miss"), cache.misses)
        yield asked
