"""The application: settings in, an ASGI app out. Nothing is made at import time."""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from anyio import to_thread
from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from app import __version__, traces
from app.config import Config
from app.errors import ServiceError
from app.http import (
    builds,
    datalink,
    differences,
    files,
    hips,
    identity,
    lightcurve,
    moc,
    operations,
    psf,
    sia,
    skymap,
    soda,
    stamps,
    tap,
)
from app.http.availability import Availability
from app.http.description import complete
from app.http.faults import answer_error, explain, headers_of, install_fault_handlers
from app.http.identity import IdentityMiddleware
from app.http.lanes import QueryLanes
from app.http.parameters import read_parameters
from app.http.rates import RequestRates
from app.http.tracing import Traced
from app.http.watching import Watch
from app.operations.checks import writable
from app.pages.document import PageWriter
from app.pages.operator_view import operator_router
from app.pages.router import pages_router
from app.pages.tile_view import TileService
from app.pages.verdict_page import verdict_page
from app.schema.access import identity_in
from app.services.hips.shelf import SHELF, HipsShelf
from app.wiring import Services, build_services
from app.wiring_operations import make_checks, make_overview

EXPOSED = [
    "Accept-Ranges",
    "Content-Disposition",
    "Content-Length",
    "Content-Range",
    "Location",
    "Retry-After",
    "WWW-Authenticate",
    "X-Skyloom-Build-State",
    "X-Skyloom-Dataset",
    "X-Skyloom-Missing",
]
"""Headers that programs in a page of another site (Aladin Lite …) may read; everything here is
public, so every site may ask."""


class Application(FastAPI):
    """The application with its services; every request passes the watch first and last."""

    def __init__(self, services: Services, *, access_log: bool, **options: Any) -> None:
        super().__init__(**options)
        self.services = services
        self._access_log = access_log

    def build_middleware_stack(self) -> ASGIApp:
        """Around all the rest, even where an error has left every handler."""
        inner = super().build_middleware_stack()
        return Watch(
            Traced(inner) if traces.is_on() else inner,
            metrics=self.services.operations.metrics,
            state=self.services.operations.state,
            access_log=self._access_log,
        )

    def openapi(self) -> dict[str, Any]:
        """The description. FastAPI gives one name to a route, whatever methods it takes, and warns
        of what it did; ours are told by :func:`complete`."""
        if self.openapi_schema is None:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Duplicate Operation ID", UserWarning)
                complete(super().openapi())
        return super().openapi()


def create_app(config: Config) -> Application:
    """Construct the services and mount every room that speaks HTTP."""
    services = build_services(config)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        services.start()
        try:
            yield
        finally:
            await to_thread.run_sync(services.close)

    # FastAPI's own pages about the interface are blank without the scripts of another site.
    app = Application(
        services,
        access_log=config.access_log,
        title=config.title,
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    writer = PageWriter(title=config.title, address=services.address.of)
    install_fault_handlers(app, error_page=writer.write_error)
    app.add_middleware(
        IdentityMiddleware,
        identities=services.identities,
        answer_error=partial(answer_error, error_page=writer.write_error),
        rates=RequestRates(allowances=services.allowances),
    )
    app.add_middleware(
        CORSMiddleware,
        allow_origins=["*"],
        allow_methods=["GET", "HEAD", "POST", "PUT", "DELETE"],
        allow_headers=["*"],
        expose_headers=EXPOSED,
    )
    mount(app, services, config, writer)
    return app


def told_to_people(error: ServiceError) -> tuple[int, str, Mapping[str, str]]:
    """How the pages tell an error: with the status, words and headers of every other answer."""
    fault, text = explain(error)
    return fault.status, text, headers_of(error)


def mount(app: FastAPI, services: Services, config: Config, writer: PageWriter) -> None:
    """Every router, each with just the services it calls."""
    surveys = HipsShelf(folder=config.data_dir.absolute() / SHELF)
    availability = Availability(
        services.queries.ping,
        writes=writable(config.data_dir.absolute()),
        state=services.operations.state,
        announcements=services.operations.announcements,
    )
    _mount_tables(app, services, config, writer, availability)
    _mount_builds(app, services, config)
    app.include_router(identity.router(address=services.address))
    _mount_images(app, services, config, availability)
    _mount_operations(app, services, config, availability, writer)
    app.include_router(hips.router(shelf=surveys, address=services.address))
    app.include_router(
        pages_router(
            queries=services.queries,
            skymap=services.skymap,
            light_curves=services.light_curves,
            stamps=services.stamps,
            stamp_builder=services.stamp_builder,
            links=services.links,
            jobs=services.jobs,
            datasets=services.stores.datasets,
            images=services.images,
            previews=services.previews,
            surveys=surveys,
            tiles=TileService(
                images=services.images, cache=services.tiles, limits=services.tile_limits
            ),
            coverage=services.coverage,
            writer=writer,
            parameters=read_parameters,
            explain=told_to_people,
        )
    )


def _mount_operations(
    app: FastAPI,
    services: Services,
    config: Config,
    availability: Availability,
    writer: PageWriter,
) -> None:
    """What looks after the service."""
    checks = make_checks(config, services.stores, services.dispatcher, services.engine)
    app.include_router(
        operations.router(
            checks=checks,
            metrics=services.operations.metrics,
            state=services.operations.state,
            availability=availability,
            metrics_for=config.metrics,
        )
    )
    app.include_router(
        operator_router(
            writer=writer,
            overview=make_overview(config, services.stores, services.operations, checks),
            audience=config.operator_page,
            is_operator=lambda request: identity_in(request.state).sees_all,
        )
    )


def _mount_tables(
    app: FastAPI,
    services: Services,
    config: Config,
    writer: PageWriter,
    availability: Availability,
) -> None:
    """What answers with tables."""
    lanes = QueryLanes()
    app.include_router(
        tap.router(
            queries=services.queries,
            jobs=services.jobs,
            results=services.results,
            links=services.links,
            uploads=services.uploads,
            address=services.address,
            retention_s=config.job_lifetime_s,
            has_examples=True,
            verdict_page=verdict_page(writer),
            lanes=lanes,
            availability=availability,
        )
    )
    app.include_router(
        sia.router(
            queries=services.queries,
            uploads=services.uploads,
            address=services.address,
            lanes=lanes,
            availability=availability,
        )
    )
    app.include_router(datalink.router(links=services.links, address=services.address))
    app.include_router(moc.router(coverage=services.coverage))


def _mount_builds(app: FastAPI, services: Services, config: Config) -> None:
    """What makes images."""
    app.include_router(
        builds.router(
            builds=services.builds,
            jobs=services.jobs,
            results=services.results,
            links=services.links,
            address=services.address,
            forecasts=services.forecasts,
            sync_limit_s=config.sync_time_limit_s,
        )
    )
    app.include_router(
        differences.router(
            first_use=services.first_use,
            jobs=services.jobs,
            links=services.links,
            address=services.address,
            wait_s=config.first_use_wait_s,
        )
    )
    app.include_router(
        skymap.router(skymap=services.skymap, links=services.links, address=services.address)
    )


def _mount_images(
    app: FastAPI, services: Services, config: Config, availability: Availability
) -> None:
    """What sends images, their parts and what is measured on them."""
    app.include_router(files.router(links=services.links))
    app.include_router(psf.router(psfs=services.psfs))
    app.include_router(
        soda.router(
            cutouts=services.cutouts.service,
            writer=services.cutouts.writer,
            pictures=services.cutouts.pictures,
            queries=services.queries,
            jobs=services.jobs,
            results=services.results,
            links=services.links,
            address=services.address,
            availability=availability,
        )
    )
    app.include_router(
        lightcurve.router(
            light_curves=services.light_curves,
            uploads=services.uploads,
            address=services.address,
        )
    )
    app.include_router(
        stamps.router(
            stamps=services.stamps,
            builder=services.stamp_builder,
            jobs=services.jobs,
            uploads=services.uploads,
            address=services.address,
            wait_s=config.first_use_wait_s,
        )
    )
