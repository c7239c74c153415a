"""Short ways to write down columns: one constructor a kind of value."""

from __future__ import annotations

from typing import Literal, TypedDict, Unpack

from app.schema.fields import Field


class Facts(TypedDict, total=False):
    """What may be said of any column (see :class:`app.schema.fields.Field`)."""

    unit: str | None
    ucd: str | None
    utype: str | None
    principal: bool
    indexed: bool
    std: bool
    prefix_bind: str | None


def text(name: str, description: str, **facts: Unpack[Facts]) -> Field:
    """A string of any length (VOTable ``char``, arraysize ``*``)."""
    return Field(
        name=name, description=description, kind="text", datatype="char", arraysize="*", **facts
    )


def instant(name: str, description: str, **facts: Unpack[Facts]) -> Field:
    """A UTC instant, stored and shown as ISO 8601 text (DALI 1.1 xtype ``timestamp``)."""
    return Field(
        name=name,
        description=description,
        kind="timestamp",
        datatype="char",
        arraysize="*",
        xtype="timestamp",
        **facts,
    )


def real(name: str, description: str, **facts: Unpack[Facts]) -> Field:
    """A double."""
    return Field(name=name, description=description, kind="real", datatype="double", **facts)


def boolean(name: str, description: str, **facts: Unpack[Facts]) -> Field:
    """True or false."""
    return Field(name=name, description=description, kind="boolean", datatype="boolean", **facts)


def integer(
    name: str,
    description: str,
    *,
    datatype: Literal["int", "long"] = "long",
    **facts: Unpack[Facts],
) -> Field:
    """A whole number."""
    return Field(name=name, description=description, kind="integer", datatype=datatype, **facts)
