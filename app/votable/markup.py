"""XML pieces of a VOTable: escaping, FIELD, PARAM, INFO."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from app.schema.fields import Field

HEAD: Final = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"'
    ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">\n'
)
TAIL: Final = "</VOTABLE>\n"

FORBIDDEN: Final = "[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]"
"""Characters XML 1.0 cannot hold in any form (section 2.2); they become U+FFFD."""

_FORBIDDEN = re.compile(FORBIDDEN)
_SURROGATES = re.compile("[\ud800-\udfff]")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*\Z")


@dataclass(frozen=True, slots=True)
class Info:
    """An INFO element: ``text`` is its content."""

    name: str
    value: str
    text: str = ""


def escape_text(text: str) -> str:
    """``text`` as element content."""
    clean = _SURROGATES.sub("\ufffd", _FORBIDDEN.sub("\ufffd", text))
    escaped = clean.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return escaped.replace("\r", "&#13;")


def escape_attribute(text: str) -> str:
    """``text`` as the value of an attribute in double quotes."""
    escaped = escape_text(text).replace('"', "&quot;")
    return escaped.replace("\n", "&#10;").replace("\t", "&#9;")


def attributes(values: Mapping[str, str | None]) -> str:
    """`` name="value"`` of every value that is not None."""
    return "".join(
        f' {name}="{escape_attribute(value)}"'
        for name, value in values.items()
        if value is not None
    )


def format_info(info: Info) -> str:
    """An INFO element on a line of its own."""
    head = f"<INFO{attributes({'name': info.name, 'value': info.value})}"
    return f"{head}>{escape_text(info.text)}</INFO>\n" if info.text else f"{head}/>\n"


def format_field(
    field: Field,
    *,
    field_id: str | None = None,
    null: int | None = None,
    datatype: str | None = None,
    ref: str | None = None,
) -> str:
    """A FIELD element; ``null`` is the value that stands for NULL (VOTable 1.4, section 4.7) and
    ``ref`` the ID of its coordinate system."""
    head = attributes(
        {
            "ID": field_id,
            "name": field.name,
            "datatype": datatype or field.datatype,
            "arraysize": field.arraysize,
            "xtype": field.xtype,
            "unit": field.unit,
            "ucd": field.ucd,
            "utype": field.utype,
            "ref": ref,
        }
    )
    inner = ""
    if field.description:
        inner += f"<DESCRIPTION>{escape_text(field.description)}</DESCRIPTION>"
    if null is not None:
        inner += f'<VALUES null="{null}"/>'
    return f"<FIELD{head}>{inner}</FIELD>\n" if inner else f"<FIELD{head}/>\n"


def is_xml_id(text: str) -> bool:
    """True if ``text`` may be an ID attribute."""
    return bool(_NAME.match(text))
