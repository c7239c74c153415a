"""Short ways to write down columns: one constructor a kind of value."""

from __future__ import annotations

from typing import Literal

from app.schema.fields import Field


def text(
    name: str,
    description: str,
    *,
    ucd: str | None = None,
    utype: str | None = None,
    principal: bool = False,
    indexed: bool = False,
    std: bool = False,
    prefix_bind: str | None = None,
) -> Field:
    """A string of any length (VOTable ``char``, arraysize ``*``)."""
    return Field(
        name=name,
        kind="text",
        datatype="char",
        arraysize="*",
        ucd=ucd,
        utype=utype,
        description=description,
        principal=principal,
        indexed=indexed,
        std=std,
        prefix_bind=prefix_bind,
    )


def instant(
    name: str, description: str, *, ucd: str | None, utype: str | None, std: bool = False
) -> Field:
    """A UTC instant, stored and shown as ISO 8601 text (DALI 1.1 xtype ``timestamp``)."""
    return Field(
        name=name,
        kind="timestamp",
        datatype="char",
        arraysize="*",
        xtype="timestamp",
        ucd=ucd,
        utype=utype,
        description=description,
        std=std,
    )


def real(
    name: str,
    description: str,
    *,
    unit: str | None = None,
    ucd: str | None = None,
    utype: str | None = None,
    principal: bool = False,
    indexed: bool = False,
    std: bool = False,
) -> Field:
    """A double."""
    return Field(
        name=name,
        kind="real",
        datatype="double",
        unit=unit,
        ucd=ucd,
        utype=utype,
        description=description,
        principal=principal,
        indexed=indexed,
        std=std,
    )


def integer(
    name: str,
    description: str,
    *,
    datatype: Literal["int", "long"] = "long",
    unit: str | None = None,
    ucd: str | None = None,
    utype: str | None = None,
    principal: bool = False,
    indexed: bool = False,
    std: bool = False,
) -> Field:
    """A whole number."""
    return Field(
        name=name,
        kind="integer",
        datatype=datatype,
        unit=unit,
        ucd=ucd,
        utype=utype,
        description=description,
        principal=principal,
        indexed=indexed,
        std=std,
    )
