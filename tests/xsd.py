"""The IVOA's XML Schemas, resolved offline from ``shared/conformance/xsd``.

Without that folder a test that validates a document is named as not run.
"""

from __future__ import annotations

import functools
import json

from lxml import etree

from tests.machine import SHARED, require

XSD = SHARED / "conformance" / "xsd"


@functools.cache
def _catalog() -> dict[str, list[str]]:
    """The files of each namespace, oldest first."""
    found: dict[str, list[str]] = json.loads((XSD / "catalog.json").read_text())
    return found


class _Offline(etree.Resolver):
    """Finds imported schemas by file name or by namespace."""

    def resolve(self, url: str | None, public: str | None, context: object) -> object:
        asked = url or ""
        name = asked.rsplit("/", 1)[-1]
        catalog = _catalog()
        files = {file for each in catalog.values() for file in each}
        # An import that gives the namespace as its location wants the newest file of it.
        namespace = next((ns for ns in catalog if asked.endswith(ns.split("//")[1])), None)
        found = name if name in files else catalog[namespace][-1] if namespace else None
        return self.resolve_filename(str(XSD / found), context) if found else None


@functools.cache
def _schema(*names: str) -> etree.XMLSchema:
    """One schema that knows the namespaces of several files."""
    imports = "".join(
        f'<xs:import namespace="{namespace}" schemaLocation="{XSD / name}"/>'
        for name in names
        for namespace, files in _catalog().items()
        if name in files
    )
    text = f'<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema">{imports}</xs:schema>'
    parser = etree.XMLParser()
    parser.resolvers.add(_Offline())
    return etree.XMLSchema(etree.fromstring(text, parser))


def _validated(document: bytes, *names: str) -> etree._Element:
    require("shared")
    root = etree.fromstring(document)
    _schema(*names).assertValid(root)
    return root


def assert_valid_votable(document: bytes) -> etree._Element:
    """Valid VOTable 1.4."""
    return _validated(document, "VOTable-1.4.xsd")


def assert_valid_uws(document: bytes) -> etree._Element:
    """Valid UWS 1.1."""
    return _validated(document, "UWS-v1.1.xsd")


def assert_valid_tables(document: bytes) -> etree._Element:
    """Valid VOSI 1.1 tables."""
    return _validated(document, "VOSITables-v1.1.xsd")


def assert_valid_availability(document: bytes) -> etree._Element:
    """Valid VOSI availability."""
    return _validated(document, "VOSIAvailability-v1.0.xsd")


def assert_valid_record(document: bytes) -> etree._Element:
    """Valid record of a registry: VOResource 1.1 with VODataService 1.2 and TAPRegExt."""
    names = (
        "RegistryInterface-v1.0.xsd",
        "VOResource-v1.1.xsd",
        "VODataService-v1.2.xsd",
        "TAPRegExt-v1.0-Erratum1.xsd",
    )
    return _validated(document, *names)


def assert_valid_capabilities(document: bytes) -> etree._Element:
    """Valid VOSI capabilities with TAPRegExt."""
    names = ("VOSICapabilities-v1.0.xsd", "TAPRegExt-v1.0-Erratum1.xsd", "VODataService-v1.1.xsd")
    return _validated(document, *names)
