"""What watches over the service, constructed before it and connected to it afterwards."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from app import logs, traces
from app.config import Config
from app.errors import UsageError
from app.operations.checks import Checks, Migrated, answers, at_work, reachable, writable
from app.operations.metrics import LookedUp, Metrics
from app.operations.overview import OverviewService
from app.operations.recent import RecentFaults, SlowQueries
from app.operations.state import Announcements, ServerState
from app.services.dispatcher import Dispatcher
from app.services.query_end import QueryEnd
from app.stores.file_cache import FileCache
from app.stores.metadata import MetadataStores
from app.wiring_database import now
from app.workers.engine import Engine

log = logging.getLogger(__name__)

CHANGEABLE: Final = frozenset({"log_format", "log_level", "slow_query_s"})
"""Settings that a server takes up while it runs. Keys and tokens need none of this: they are looked
at whenever they are used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operations:
    """State and figures of one server."""

    state: ServerState
    metrics: Metrics
    slow_queries: SlowQueries
    faults: RecentFaults
    announcements: Announcements

    def query_ended(self, end: QueryEnd) -> None:
        """Count a query, and remember a slow one."""
        self.metrics.query_ended(end)
        traces.past("query", end.seconds, skyloom_rows=end.rows, error_type=end.fault)
        self.slow_queries.note(end)

    def start(self) -> None:
        """Listen to the log."""
        logging.getLogger().addHandler(self.faults)

    def close(self) -> None:
        """Listen no longer."""
        logging.getLogger().removeHandler(self.faults)


def make_operations(config: Config) -> Operations:
    """All at zero."""
    return Operations(
        state=ServerState(clock=now),
        metrics=Metrics(),
        slow_queries=SlowQueries(slow_s=config.slow_query_s),
        faults=RecentFaults(),
        announcements=Announcements(data_dir=config.data_dir),
    )


def watch_stores(
    operations: Operations, stores: MetadataStores, caches: Mapping[str, FileCache]
) -> None:
    """Have the figures tell of jobs, connections and caches too."""
    pools = {"own": stores.engine, "queries": stores.reader}
    operations.metrics.registry.register(
        LookedUp(jobs=stores.jobs, pools=pools, caches=caches, state=operations.state)
    )


def make_checks(
    config: Config,
    stores: MetadataStores,
    dispatcher: Dispatcher,
    engine: Engine,
) -> Checks:
    """What a server needs for its work. Without the scheduler it still answers all but builds."""
    return Checks(
        {
            "database": answers(stores.tables),
            "tables": Migrated(stores.engine),
            "data folder": writable(config.data_dir.absolute()),
            "jobs": at_work(dispatcher.is_alive),
            "engine": reachable(config.dask_scheduler, engine.describe),
        },
        advisory=frozenset({"engine"}),
    )


def make_overview(
    config: Config, stores: MetadataStores, operations: Operations, checks: Checks
) -> OverviewService:
    """What the operator's page shows."""
    return OverviewService(
        checks=checks,
        jobs=stores.jobs,
        state=operations.state,
        slow_queries=operations.slow_queries,
        faults=operations.faults,
        data_dir=config.data_dir.absolute(),
        clock=now,
    )


class Reload:
    """Takes up changed settings in a server that runs; ``read`` reads them anew."""

    def __init__(self, config: Config, read: Callable[[], Config], operations: Operations) -> None:
        self._config = config
        self._read = read
        self._operations = operations

    def run(self) -> None:
        """Take up those that can change, and name those that cannot. A wrong one changes
        nothing."""
        try:
            found = self._read()
        except UsageError as fault:
            log.error("settings are as they were: %s", fault)
            return
        changed = {
            name
            for name in type(found).model_fields
            if getattr(found, name) != getattr(self._config, name)
        }
        taken = {name: getattr(found, name) for name in sorted(changed & CHANGEABLE)}
        self._config = self._config.model_copy(update=taken)
        logs.configure(self._config.log_format, self._config.log_level)
        logging.getLogger().addHandler(self._operations.faults)
        self._operations.slow_queries.slow_s = self._config.slow_query_s
        told = ", ".join(f"{name} = {value}" for name, value in taken.items()) or "nothing changed"
        log.warning("settings were read again: %s", told)
        for name in sorted(changed - CHANGEABLE):
            log.warning("setting %s changed: it counts from the next start", name)
