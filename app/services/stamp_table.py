"""Triplets as rows of a table: which images each is made of, and why one is not there."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, Final

import pyarrow as pa

from app.schema.batches import arrow_schema
from app.schema.columns import integer, real, text
from app.schema.obscore import OBSCORE
from app.services.stamp_epochs import StampEpoch

_SHARED: Final = {field.name: field for field in OBSCORE.fields}
_OF_SCIENCE: Final = ("lsst_band", "t_min", "t_max", "t_exptime")
ROWS_AT_ONCE: Final = 500

FIELDS: Final = (
    integer("position", "Number of the position asked for, from 1", datatype="int", ucd="meta.id"),
    real("ra", "The position, ICRS", unit="deg", ucd="pos.eq.ra;meta.main"),
    real("dec", "The position, ICRS", unit="deg", ucd="pos.eq.dec;meta.main"),
    integer(
        "epoch",
        "Number of the triplet in this answer, from 1: EXTVER of its HDUs",
        datatype="int",
        ucd="meta.number",
        principal=True,
    ),
    real("mjd", "Middle of the exposure, MJD (UTC)", unit="d", ucd="time.epoch", principal=True),
    *(_SHARED[name] for name in _OF_SCIENCE),
    text("science_did", "obs_publisher_did of the science image", ucd="meta.id", principal=True),
    text("difference_did", "That of its difference", ucd="meta.id", principal=True),
    text(
        "template_did",
        "That of the template; null where it is science less difference",
        ucd="meta.id",
    ),
    text(
        "template_origin",
        "matched: the template as it was subtracted, a product of its own; alike: the same "
        "where the difference has the science image convolved instead; subtracted: science less "
        "difference; coadd: a template of the place, resampled, where nothing was subtracted",
        ucd="meta.code",
        principal=True,
    ),
    text("note", "What is missing and why", ucd="meta.note", principal=True),
)


def table_row(epoch: StampEpoch, number: int) -> dict[str, Any]:
    """Column -> value of the triplet with a number."""
    columns = epoch.science.columns
    mjd = epoch.mid_mjd
    return {
        "position": epoch.position,
        "ra": epoch.point.lon_deg,
        "dec": epoch.point.lat_deg,
        "epoch": number,
        "mjd": mjd if math.isfinite(mjd) else None,
        **{name: columns.get(name) for name in _OF_SCIENCE},
        "science_did": epoch.science.dataset_id,
        "difference_did": None if epoch.difference is None else epoch.difference.dataset_id,
        "template_did": None if epoch.template is None else epoch.template.dataset_id,
        "template_origin": epoch.template_origin,
        "note": remarks(epoch) or None,
    }


def remarks(epoch: StampEpoch) -> str:
    """What is missing and why, in one line."""
    told = [f"{role}: {reason}" for role, reason in epoch.missing.items()]
    return "; ".join([*told, *([epoch.note] if epoch.note else [])])


def batches(epochs: Iterable[StampEpoch]) -> Iterator[pa.RecordBatch]:
    """Batches of :data:`FIELDS`."""
    rows = [table_row(epoch, number) for number, epoch in enumerate(epochs, 1)]
    schema = arrow_schema(FIELDS)
    for start in range(0, len(rows), ROWS_AT_ONCE):
        yield pa.RecordBatch.from_pylist(rows[start : start + ROWS_AT_ONCE], schema=schema)
