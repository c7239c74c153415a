"""The HDU of a difference that lists its sources: the columns of ``skyloom.dia_source``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from astropy.io import fits

from app.schema.dia_source import DIA_SOURCE
from app.schema.fields import Field

Cell = str | int | float | bool | None

HDU: Final = "DIASOURCES"
_FORMS: Final = {"int": "J", "long": "K", "double": "D"}


def dia_sources_hdu(rows: Sequence[Mapping[str, Cell]]) -> fits.BinTableHDU:
    """A binary table with TUNIT, TUCD and TCOMM of each column; unknown numbers are NaN.

    Without sources it has the columns and no row.
    """
    fields = DIA_SOURCE.fields
    columns = [_column(field, [row[field.name] for row in rows]) for field in fields]
    hdu = fits.BinTableHDU.from_columns(columns, name=HDU)
    for number, field in enumerate(fields, start=1):
        hdu.header[f"TUCD{number}"] = field.ucd
        hdu.header[f"TCOMM{number}"] = field.description
    return hdu


def _column(field: Field, values: Sequence[Cell]) -> fits.Column:
    if field.kind == "text":
        texts = np.array([str(value) for value in values], dtype=np.str_)
        width = max((len(text) for text in texts.tolist()), default=1)
        return fits.Column(field.name, format=f"{width}A", array=texts)
    if field.kind == "integer":
        numbers = np.array(values, dtype=np.int64)
        return fits.Column(field.name, format=_FORMS[field.datatype], array=numbers)
    reals = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    return fits.Column(field.name, format=_FORMS[field.datatype], array=reals, unit=field.unit)
