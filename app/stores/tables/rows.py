"""DatasetRow and ProductInput <-> database rows."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Final, Literal

import sqlalchemy as sa

from app.errors import UsageError
from app.schema.catalogs import BUILD_QUALITY
from app.schema.fields import Field, Kind
from app.schema.obscore import OBSCORE, REQUIRED
from app.schema.rows import DatasetRow, Origin, ProductInput, ProductQuality, Value

_KINDS: Final[Mapping[str, Kind]] = {field.name: field.kind for field in OBSCORE.fields}
_ORIGINS: Final[Mapping[str, Origin]] = {
    "ingested": "ingested",
    "built": "built",
    "external": "external",
    "virtual": "virtual",
}
_ROLES: Final[Mapping[str, Literal["template", "science"]]] = {
    "template": "template",
    "science": "science",
}


def fold(identifier: str) -> str:
    """An identifier for comparison: ASCII lower case, as both engines' ``lower()`` give it."""
    return identifier.encode(errors="replace").lower().decode()


def to_record(row: DatasetRow) -> dict[str, Value]:
    """Every physical column but ``row_id`` -> value. Raises UsageError on values that no column
    takes (unknown name, wrong type, missing required one)."""
    unknown = set(row.columns) - set(_KINDS)
    if unknown:
        raise UsageError(f"{row.file_path}: ivoa.ObsCore has no column {min(unknown)!r}")
    record = {name: _value(row, name, kind) for name, kind in _KINDS.items()}
    missing = [name for name in REQUIRED if record[name] is None]
    if missing:
        raise UsageError(f"{row.file_path}: {missing[0]} must not be null")
    record |= {
        "file_path": _encodable(row, "file_path", row.file_path),
        "file_hdu": int(row.file_hdu),
        "file_size": int(row.file_size),
        "file_mtime_ns": int(row.file_mtime_ns),
        "file_checksum": row.file_checksum,
        "image_ref": _encodable(row, "image_ref", row.image_ref),
        "origin": row.origin,
        "recipe_key": row.recipe_key,
        "difference_of": None if row.difference_of is None else fold(row.difference_of),
        "restricted_by": json.dumps(row.restricted_by) if row.restricted_by else None,
    }
    return record


def _value(row: DatasetRow, name: str, kind: Kind) -> Value:
    """A value in the type of its column; what is not finite is unknown, so null."""
    value = row.columns.get(name)
    if value is None:
        return None
    try:
        if kind == "integer":
            return _whole(int(value))
        if kind == "real":
            number = float(value)
            return number if math.isfinite(number) else None
    except (TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"{row.file_path}: {name} = {value!r} is no {kind}") from error
    return _encodable(row, name, value)


def _whole(number: int) -> int:
    """An integer of 64 bits. Raises OverflowError for another."""
    if not -(2**63) <= number < 2**63:
        raise OverflowError
    return number


def _encodable(row: DatasetRow, name: str, value: Value) -> str:
    if not isinstance(value, str):
        raise UsageError(f"{row.file_path!r}: {name} = {value!r} is no text")
    if "\0" in value or not _is_unicode(value):
        raise UsageError(f"{row.file_path!r}: {name} holds characters that are not Unicode text")
    return str(value)


def _is_unicode(text: str) -> bool:
    """False for the surrogates that stand for undecodable bytes of a file name."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def from_record(record: sa.RowMapping) -> DatasetRow:
    """The DatasetRow of a database row."""
    return DatasetRow(
        columns={name: record[name] for name in _KINDS if record[name] is not None},
        file_path=record["file_path"],
        file_hdu=record["file_hdu"],
        file_size=record["file_size"],
        file_mtime_ns=record["file_mtime_ns"],
        file_checksum=record["file_checksum"],
        image_ref=record["image_ref"],
        origin=_ORIGINS[record["origin"]],
        recipe_key=record["recipe_key"],
        difference_of=record["difference_of"],
        restricted_by=tuple(json.loads(record["restricted_by"] or "[]")),
    )


def input_record(product: ProductInput) -> dict[str, Value]:
    """Columns of ``skyloom.product_input`` -> value."""
    return {
        "product_id": product.product_id,
        "input_id": product.input_id,
        "role": product.role,
        "weight": _finite(product.weight),
        "scale": _finite(product.scale),
        "rejected": product.rejected,
        "input_checksum": product.input_checksum,
    }


def quality_record(quality: ProductQuality) -> dict[str, Value]:
    """Columns of ``skyloom.build_quality`` -> value."""
    return {
        field.name: _quality_value(quality, field)
        for field in BUILD_QUALITY.fields
        if field.name != "obs_publisher_did"
    } | {"obs_publisher_did": quality.product_id}


def _quality_value(quality: ProductQuality, field: Field) -> Value:
    if field.kind == "text":
        return quality.words.get(field.name)
    number = _finite(quality.numbers.get(field.name))
    return int(number) if number is not None and field.kind == "integer" else number


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def input_from_record(record: sa.RowMapping) -> ProductInput:
    """The ProductInput of a database row."""
    return ProductInput(
        product_id=record["product_id"],
        input_id=record["input_id"],
        role=_ROLES[record["role"]],
        weight=record["weight"],
        scale=record["scale"],
        rejected=record["rejected"],
        input_checksum=record["input_checksum"] or "",
    )
