"""The record of the service for the VO's registry (VOResource 1.1, VODataService 1.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from app.votable.markup import escape_text

_HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<ri:Resource xmlns:ri="http://www.ivoa.net/xml/RegistryInterface/v1.0"
 xmlns:vr="http://www.ivoa.net/xml/VOResource/v1.0"
 xmlns:vs="http://www.ivoa.net/xml/VODataService/v1.1"
 xmlns:tr="http://www.ivoa.net/xml/TAPRegExt/v1.0"
 xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
 xsi:type="vs:CatalogService" status="active" created="{created}" updated="{updated}">
"""
_CAPABILITY_END = "</capability>\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Curation:
    """Who publishes the service, whom to ask, and what it is about."""

    identifier: str
    title: str
    short_name: str
    publisher: str
    contact: str
    email: str
    description: str
    subjects: Sequence[str]
    created: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordCoverage:
    """What the images cover: a MOC in ASCII (ICRS), days (MJD) and energies of photons (J); None:
    nobody knows."""

    moc: str | None
    times_mjd: tuple[float, float] | None
    energies_j: tuple[float, float] | None


def write_record(
    service_url: str,
    *,
    curation: Curation,
    coverage: RecordCoverage,
    capabilities: Sequence[bytes],
    tableset: bytes,
    now: datetime,
) -> bytes:
    """The record. ``capabilities`` and ``tableset`` are the documents that the service itself
    answers with, so that the registry and the service say the same."""
    parts = "".join(_inside(each) for each in capabilities).split(_CAPABILITY_END)
    told = "".join(f"{part}{_CAPABILITY_END}" for part in dict.fromkeys(parts) if part.strip())
    text = (
        _HEAD.format(created=_moment(curation.created), updated=_moment(now))
        + _element("title", curation.title)
        + _element("shortName", curation.short_name)
        + _element("identifier", curation.identifier)
        + _curation(curation)
        + _content(curation, service_url)
        + told
        + _coverage(coverage)
        + f"<tableset>\n{_inside(tableset)}</tableset>\n</ri:Resource>\n"
    )
    return text.encode()


def _inside(document: bytes) -> str:
    """What stands in the root element of a document of the service."""
    text = document.decode()
    start = text.index(">\n", text.index("<vosi:")) + 2
    return text[start : text.rindex("</vosi:")]


def _curation(curation: Curation) -> str:
    contact = _element("name", curation.contact) + _element("email", curation.email)
    return (
        f"<curation>\n{_element('publisher', curation.publisher)}"
        f"<contact>\n{contact}</contact>\n</curation>\n"
    )


def _content(curation: Curation, service_url: str) -> str:
    subjects = "".join(_element("subject", each) for each in curation.subjects)
    return (
        f"<content>\n{subjects}{_element('description', curation.description)}"
        f"{_element('referenceURL', f'{service_url}/')}"
        f"{_element('type', 'Archive')}{_element('contentLevel', 'Research')}</content>\n"
    )


def _coverage(coverage: RecordCoverage) -> str:
    """Spatial, temporal and spectral coverage (VODataService 1.2, section 3.2)."""
    inner = _element("spatial", coverage.moc)
    for name, ends in (("temporal", coverage.times_mjd), ("spectral", coverage.energies_j)):
        if ends is not None:
            inner += f"<{name}>{ends[0]!r} {ends[1]!r}</{name}>\n"
    return f"<coverage>\n{inner}</coverage>\n" if inner else ""


def _element(name: str, text: str | None) -> str:
    return f"<{name}>{escape_text(text)}</{name}>\n" if text else ""


def _moment(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
