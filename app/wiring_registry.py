"""The record of the service for the VO's registry, from settings and from what is published."""

from __future__ import annotations

from app.config import Config
from app.errors import UsageError
from app.http import vosi
from app.http.registry import Curation, RecordCoverage, write_record
from app.http.tap import FEATURES
from app.http.vosi import TapLimits
from app.services.catalog_rows import CatalogRows
from app.services.coverage_request import CoverageRequest
from app.services.discovery import describe_discovery
from app.services.formats import FORMATS
from app.sky.moc import bounded, write_text
from app.wiring import Services, build_services
from app.wiring_database import now

_COARSE = 6
"""Order of the cells of the record's map (0.9 degrees): the exact one is at ``/moc``."""
_JOULE_METRES = 6.62607015e-34 * 299_792_458.0
"""Planck's constant times the speed of light: energy of a photon times its wavelength."""
_ENDS = "SELECT MIN(t_min), MAX(t_max), MIN(em_min), MAX(em_max) FROM ivoa.ObsCore"


def registry_record(config: Config) -> bytes:
    """The document. Raises UsageError naming the settings that are missing."""
    curation = _curation(config)
    services = build_services(config)
    try:
        url = str(config.base_url).rstrip("/")
        capabilities = (
            vosi.write_tap_capabilities(
                url,
                formats=FORMATS.formats,
                features=FEATURES,
                limits=_limits(config, services),
                has_examples=True,
            ),
            vosi.write_sia_capabilities(url, describe_discovery(url)),
            vosi.write_soda_capabilities(url),
        )
        catalog = services.queries.current_catalog()
        return write_record(
            url,
            curation=curation,
            coverage=_coverage(services),
            capabilities=capabilities,
            tableset=vosi.write_tableset(catalog, columns=True),
            now=now(),
        )
    finally:
        services.close()


def _curation(config: Config) -> Curation:
    needed = ("base_url", "registry_publisher", "registry_contact", "registry_email")
    missing = [name for name in (*needed, "registry_description") if not getattr(config, name)]
    if missing:
        names = ", ".join(f"SKYLOOM_{name.upper()}" for name in missing)
        raise UsageError(f"the record of a service needs the settings {names}")
    return Curation(
        identifier=f"ivo://{config.authority}/skyloom",
        title=config.title,
        short_name=(config.registry_short_name or config.title)[:16],
        publisher=config.registry_publisher,
        contact=config.registry_contact,
        email=config.registry_email,
        description=config.registry_description,
        subjects=config.registry_subjects,
        created=config.registry_created or now(),
    )


def _limits(config: Config, services: Services) -> TapLimits:
    """What anybody is granted."""
    most_rows = services.queries.most_rows(services.identities.anonymous)
    return TapLimits(
        default_rows=min(services.queries.default_rows, most_rows),
        max_rows=most_rows,
        time_limit_s=int(config.query_time_limit_s),
        retention_s=config.job_lifetime_s,
        upload_bytes=services.uploads.most_bytes(services.identities.anonymous),
    )


def _coverage(services: Services) -> RecordCoverage:
    rows = CatalogRows(tables=services.stores.tables, catalogs=services.stores.catalogs)
    ((first, last, shortest, longest),) = rows.select(_ENDS, what="rows")
    found = services.coverage.find(CoverageRequest(conditions=(), order=_COARSE))
    moc = bounded(found.moc, order=_COARSE)
    energies = None
    if shortest and longest:
        energies = (_JOULE_METRES / longest, _JOULE_METRES / shortest)
    return RecordCoverage(
        moc=None if moc.empty() else write_text(moc).strip(),
        times_mjd=None if first is None or last is None else (first, last),
        energies_j=energies,
    )
