"""VOSI 1.1 documents: tables, capabilities, availability; TAPRegExt 1.0 for TAP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from app.schema.fields import Catalog, Field, ForeignKey, Schema, Table
from app.schema.tap_schema import published_name
from app.tabular.registry import OutputFormat
from app.votable.descriptors import ServiceDescriptor
from app.votable.markup import attributes, escape_text

MEDIA_TYPE: Final = "text/xml"

_PROLOG: Final = '<?xml version="1.0" encoding="UTF-8"?>\n'
_XSI: Final = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
_VS: Final = 'xmlns:vs="http://www.ivoa.net/xml/VODataService/v1.1"'
_VR: Final = 'xmlns:vr="http://www.ivoa.net/xml/VOResource/v1.0"'
_TABLES: Final = 'xmlns:vosi="http://www.ivoa.net/xml/VOSITables/v1.0"'
_FEATURES: Final = "ivo://ivoa.net/std/TAPRegExt#features-"
_UPLOADS: Final = "ivo://ivoa.net/std/TAPRegExt#upload-"
UPLOAD_METHODS: Final = ("inline", "http", "https")
_OWN_RESOURCES: Final = {
    "skymap": "application/x-votable+xml",
    "lightcurve": "application/x-votable+xml",
    "stamps": "application/x-votable+xml",
    "moc": "application/fits",
}
"""Path -> what it answers unless another format is asked for."""
_OWN_STANDARD: Final = "ivo://skyloom/std#"
"""No standard of the IVOA; a capability without any identifier stops STILTS 3.4.7."""
_ADQL_VERSIONS: Final = (
    ("2.0", "ivo://ivoa.net/std/ADQL#v2.0"),
    ("2.1", "ivo://ivoa.net/std/ADQL#v2.1"),
)


@dataclass(frozen=True, slots=True)
class LanguageFeature:
    """``group`` is the end of the feature type (``adqlgeo``, ``adql-string``, ``udf`` …)."""

    group: str
    form: str
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TapLimits:
    """What a TAP service grants: rows per answer, seconds per query, seconds a job is kept, bytes
    of uploaded tables."""

    default_rows: int
    max_rows: int
    time_limit_s: int
    retention_s: int
    upload_bytes: int


# -- tables -----------------------------------------------------------------------------------


def write_tableset(catalog: Catalog, *, columns: bool) -> bytes:
    """All schemas; without ``columns`` only names and descriptions (``detail=min``)."""
    body = "".join(_schema(schema, columns=columns) for schema in catalog.schemas)
    text = f"{_PROLOG}<vosi:tableset {_TABLES} {_VS} {_XSI}>\n{body}</vosi:tableset>\n"
    return text.encode()


def write_table(table: Table) -> bytes:
    """One table with its columns."""
    inner = _table_content(table, columns=True)
    return f"{_PROLOG}<vosi:table {_TABLES} {_VS} {_XSI}>\n{inner}</vosi:table>\n".encode()


def _schema(schema: Schema, *, columns: bool) -> str:
    tables = "".join(
        f"<table>\n{_table_content(table, columns=columns)}</table>\n" for table in schema.tables
    )
    head = _named(schema.name, schema.description, schema.utype)
    return f"<schema>\n{head}{tables}</schema>\n"


def _table_content(table: Table, *, columns: bool) -> str:
    head = _named(table.name, table.description, table.utype)
    if not columns:
        return head
    described = "".join(_column(field) for field in table.fields)
    return head + described + "".join(_foreign_key(key) for key in table.foreign_keys)


def _named(name: str, description: str, utype: str | None) -> str:
    return _element("name", name) + _element("description", description) + _element("utype", utype)


def _column(field: Field) -> str:
    flags = "".join(
        _element("flag", name)
        for name, is_set in (("indexed", field.indexed), ("principal", field.principal))
        if is_set
    )
    type_attributes = attributes(
        {
            "xsi:type": "vs:VOTableType",
            "arraysize": field.arraysize,
            "extendedType": field.xtype,
        }
    )
    return "".join(
        (
            f'<column std="{"true" if field.std else "false"}">',
            _element("name", published_name(field.name)),
            _element("description", field.description),
            _element("unit", field.unit),
            _element("ucd", field.ucd),
            _element("utype", field.utype),
            f"<dataType{type_attributes}>{field.datatype}</dataType>",
            flags,
            "</column>\n",
        )
    )


def _foreign_key(key: ForeignKey) -> str:
    pairs = "".join(
        f"<fkColumn>{_element('fromColumn', own)}{_element('targetColumn', target)}</fkColumn>"
        for own, target in key.columns
    )
    target = _element("targetTable", key.target)
    return f"<foreignKey>{target}{pairs}{_element('description', key.description)}</foreignKey>\n"


def _element(name: str, text: str | None) -> str:
    return f"<{name}>{escape_text(text)}</{name}>" if text else ""


# -- availability -----------------------------------------------------------------------------


def write_availability(
    *,
    available: bool,
    notes: Sequence[str],
    up_since: datetime | None = None,
    down_at: datetime | None = None,
    back_at: datetime | None = None,
) -> bytes:
    """Whether the service works now, and why not; since when, and when it will be stopped (UTC)."""
    moments = {"upSince": up_since, "downAt": down_at, "backAt": back_at}
    text = (
        f"{_PROLOG}<vosi:availability "
        'xmlns:vosi="http://www.ivoa.net/xml/VOSIAvailability/v1.0">\n'
        f"<vosi:available>{'true' if available else 'false'}</vosi:available>\n"
        + "".join(
            f"<vosi:{name}>{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}</vosi:{name}>\n"
            for name, moment in moments.items()
            if moment is not None
        )
        + "".join(f"<vosi:note>{escape_text(note)}</vosi:note>\n" for note in notes)
        + "</vosi:availability>\n"
    )
    return text.encode()


# -- capabilities -----------------------------------------------------------------------------


def write_tap_capabilities(
    service_url: str,
    *,
    formats: Sequence[OutputFormat],
    features: Sequence[LanguageFeature],
    limits: TapLimits,
    has_examples: bool,
) -> bytes:
    """What stands at ``{service_url}/tap/capabilities``."""
    tap_url = f"{service_url}/tap"
    return _capabilities(
        _tap_capability(tap_url, formats, features, limits),
        _capability("ivo://ivoa.net/std/VOSI#capabilities", f"{tap_url}/capabilities"),
        _capability("ivo://ivoa.net/std/VOSI#availability", f"{tap_url}/availability"),
        _capability("ivo://ivoa.net/std/VOSI#tables-1.1", f"{tap_url}/tables", version="1.1"),
        _examples(f"{tap_url}/examples") if has_examples else "",
        _links_capability(service_url),
        *(
            _capability(
                _OWN_STANDARD + name,
                f"{service_url}/{name}",
                use="base",
                result_type=result_type,
            )
            for name, result_type in _OWN_RESOURCES.items()
        ),
    )


def write_sia_capabilities(service_url: str, descriptor: ServiceDescriptor) -> bytes:
    """What stands at ``{service_url}/sia/capabilities`` (SIA 2.0, section 2.3). The parameters
    stand in every answer (``descriptor``), not here: pyvo 1.9 warns of each that it finds."""
    sia_url = f"{service_url}/sia"
    return _capabilities(
        _capability(
            descriptor.standard_id or "",
            descriptor.access_url,
            version="2.0",
            use="base",
            result_type=descriptor.content_type,
        ),
        _capability("ivo://ivoa.net/std/VOSI#capabilities", f"{sia_url}/capabilities"),
        _capability("ivo://ivoa.net/std/VOSI#availability", f"{sia_url}/availability"),
        _links_capability(service_url),
    )


def _capabilities(*parts: str) -> bytes:
    head = (
        '<vosi:capabilities xmlns:vosi="http://www.ivoa.net/xml/VOSICapabilities/v1.0" '
        f'{_VR} {_VS} xmlns:tr="http://www.ivoa.net/xml/TAPRegExt/v1.0" {_XSI}>\n'
    )
    return f"{_PROLOG}{head}{''.join(parts)}</vosi:capabilities>\n".encode()


def _links_capability(service_url: str) -> str:
    return _capability(
        "ivo://ivoa.net/std/DataLink#links-1.1",
        f"{service_url}/datalink/links",
        version="1.1",
        use="base",
        result_type="application/x-votable+xml;content=datalink",
    )


def _capability(
    standard_id: str,
    url: str,
    *,
    version: str | None = None,
    use: str = "full",
    result_type: str | None = None,
) -> str:
    interface = attributes({"xsi:type": "vs:ParamHTTP", "role": "std", "version": version})
    query = "<queryType>GET</queryType>" if result_type else ""
    return (
        f"<capability{attributes({'standardID': standard_id})}>\n"
        f'<interface{interface}><accessURL use="{use}">{escape_text(url)}</accessURL>'
        f"{query}{_element('resultType', result_type)}</interface>\n</capability>\n"
    )


def write_soda_capabilities(service_url: str) -> bytes:
    """What stands at ``{service_url}/soda/capabilities``."""
    soda_url = f"{service_url}/soda"
    parts = (
        _capability(
            "ivo://ivoa.net/std/SODA#sync-1.0",
            f"{soda_url}/sync",
            version="1.0",
            result_type="application/fits",
        ),
        _capability("ivo://ivoa.net/std/SODA#async-1.0", f"{soda_url}/async", version="1.0"),
        _capability("ivo://ivoa.net/std/VOSI#capabilities", f"{soda_url}/capabilities"),
        _capability("ivo://ivoa.net/std/VOSI#availability", f"{soda_url}/availability"),
    )
    head = (
        '<vosi:capabilities xmlns:vosi="http://www.ivoa.net/xml/VOSICapabilities/v1.0" '
        f"{_VR} {_VS} {_XSI}>\n"
    )
    return f"{_PROLOG}{head}{''.join(parts)}</vosi:capabilities>\n".encode()


def _examples(url: str) -> str:
    return (
        '<capability standardID="ivo://ivoa.net/std/DALI#examples">\n'
        f'<interface xsi:type="vr:WebBrowser"><accessURL use="full">{escape_text(url)}</accessURL>'
        "</interface>\n</capability>\n"
    )


def _tap_capability(
    tap_url: str,
    formats: Sequence[OutputFormat],
    features: Sequence[LanguageFeature],
    limits: TapLimits,
) -> str:
    return "".join(
        (
            '<capability standardID="ivo://ivoa.net/std/TAP" xsi:type="tr:TableAccess">\n',
            '<interface xsi:type="vs:ParamHTTP" role="std" version="1.1">',
            f'<accessURL use="base">{escape_text(tap_url)}</accessURL></interface>\n',
            '<dataModel ivo-id="ivo://ivoa.net/std/ObsCore#core-1.1">ObsCore-1.1</dataModel>\n',
            _language(features),
            *(_output_format(output) for output in formats),
            *(f'<uploadMethod ivo-id="{_UPLOADS}{way}"/>\n' for way in UPLOAD_METHODS),
            _limits(limits),
            "</capability>\n",
        )
    )


def _language(features: Sequence[LanguageFeature]) -> str:
    versions = "".join(
        f'<version ivo-id="{ivo_id}">{version}</version>' for version, ivo_id in _ADQL_VERSIONS
    )
    groups = "".join(
        f'<languageFeatures type="{_FEATURES}{group}">\n'
        + "".join(_feature(each) for each in features if each.group == group)
        + "</languageFeatures>\n"
        for group in dict.fromkeys(each.group for each in features)
    )
    description = "<description>Astronomical Data Query Language</description>"
    return f"<language>\n<name>ADQL</name>{versions}{description}\n{groups}</language>\n"


def _feature(feature: LanguageFeature) -> str:
    description = _element("description", feature.description)
    return f"<feature>{_element('form', feature.form)}{description}</feature>\n"


def _output_format(output: OutputFormat) -> str:
    others = (*output.names, *output.media_types[1:])
    aliases = "".join(_element("alias", name) for name in others)
    head = attributes({"ivo-id": output.ivo_id})
    return f"<outputFormat{head}>{_element('mime', output.media_type)}{aliases}</outputFormat>\n"


def _limits(limits: TapLimits) -> str:
    def pair(name: str, default: int, hard: int, unit: str = "") -> str:
        return f"<{name}><default{unit}>{default}</default><hard{unit}>{hard}</hard></{name}>\n"

    return (
        pair("retentionPeriod", limits.retention_s, limits.retention_s)
        + pair("executionDuration", limits.time_limit_s, limits.time_limit_s)
        + pair("outputLimit", limits.default_rows, limits.max_rows, ' unit="row"')
        + pair("uploadLimit", limits.upload_bytes, limits.upload_bytes, ' unit="byte"')
    )
