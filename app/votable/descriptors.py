"""Service descriptors (DataLink 1.1, section 4): how a client calls a service for a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from app.votable.markup import attributes, escape_text


@dataclass(frozen=True, slots=True, kw_only=True)
class InputParameter:
    """A PARAM of the group ``inputParams``. Give ``ref`` (the ID of a FIELD) or ``value``."""

    name: str
    datatype: str = "char"
    arraysize: str | None = "*"
    value: str = ""
    ref: str | None = None
    unit: str | None = None
    ucd: str | None = None
    xtype: str | None = None
    description: str = ""
    minimum: str | None = None
    maximum: str | None = None
    options: tuple[str, ...] = ()


def number_input(
    name: str,
    description: str,
    unit: str | None = None,
    ucd: str | None = None,
    *,
    datatype: str = "double",
    limits: tuple[str | None, str | None] = (None, None),
) -> InputParameter:
    """At most one number: pyvo 1.9 fails on a scalar without a value."""
    return InputParameter(
        name=name,
        datatype=datatype,
        arraysize="1*",
        unit=unit,
        ucd=ucd,
        description=description,
        minimum=limits[0],
        maximum=limits[1],
    )


def interval_input(
    name: str, description: str, unit: str | None, ucd: str | None
) -> InputParameter:
    """Two numbers, both ends included (DALI 1.1, section 3.3.4)."""
    return InputParameter(
        name=name,
        datatype="double",
        arraysize="2",
        xtype="interval",
        unit=unit,
        ucd=ucd,
        description=description,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceDescriptor:
    """A RESOURCE with utype ``adhoc:service``."""

    resource_id: str
    access_url: str
    name: str = ""
    description: str = ""
    standard_id: str | None = None
    content_type: str | None = None
    example_urls: tuple[str, ...] = ()
    inputs: tuple[InputParameter, ...] = ()


@lru_cache(maxsize=256)
def format_descriptor(descriptor: ServiceDescriptor) -> str:
    """The RESOURCE element."""
    head = attributes(
        {
            "type": "meta",
            "utype": "adhoc:service",
            "ID": descriptor.resource_id,
            "name": descriptor.name or None,
        }
    )
    lines = [f"<RESOURCE{head}>\n"]
    if descriptor.description:
        lines.append(f"<DESCRIPTION>{escape_text(descriptor.description)}</DESCRIPTION>\n")
    lines += [
        _text_param(name, value, description)
        for name, value, description in _service_params(descriptor)
    ]
    lines.append('<GROUP name="inputParams">\n')
    lines += [_input_param(parameter) for parameter in descriptor.inputs]
    lines.append("</GROUP>\n</RESOURCE>\n")
    return "".join(lines)


def _service_params(descriptor: ServiceDescriptor) -> Sequence[tuple[str, str, str]]:
    params = [("accessURL", descriptor.access_url, "")]
    if descriptor.standard_id is not None:
        params.append(("standardID", descriptor.standard_id, ""))
    if descriptor.content_type is not None:
        params.append(("contentType", descriptor.content_type, "what the service returns"))
    params += [("exampleURL", url, "a call that works") for url in descriptor.example_urls]
    return params


def _text_param(name: str, value: str, description: str) -> str:
    head = attributes({"name": name, "datatype": "char", "arraysize": "*", "value": value})
    if not description:
        return f"<PARAM{head}/>\n"
    return f"<PARAM{head}><DESCRIPTION>{escape_text(description)}</DESCRIPTION></PARAM>\n"


def _input_param(parameter: InputParameter) -> str:
    head = attributes(
        {
            "name": parameter.name,
            "datatype": parameter.datatype,
            "arraysize": parameter.arraysize,
            "xtype": parameter.xtype,
            "unit": parameter.unit,
            "ucd": parameter.ucd,
            "ref": parameter.ref,
            "value": "" if parameter.ref is not None else parameter.value,
        }
    )
    inner = ""
    if parameter.description:
        inner = f"<DESCRIPTION>{escape_text(parameter.description)}</DESCRIPTION>"
    inner += _values(parameter)
    return f"<PARAM{head}>{inner}</PARAM>\n" if inner else f"<PARAM{head}/>\n"


def _values(parameter: InputParameter) -> str:
    inner = ""
    if parameter.minimum is not None:
        inner += f"<MIN{attributes({'value': parameter.minimum})}/>"
    if parameter.maximum is not None:
        inner += f"<MAX{attributes({'value': parameter.maximum})}/>"
    inner += "".join(f"<OPTION{attributes({'value': option})}/>" for option in parameter.options)
    return f"<VALUES>{inner}</VALUES>" if inner else ""
