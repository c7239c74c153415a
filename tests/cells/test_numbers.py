"""Numbers as text: the shortest that reads back the same, as ``repr`` writes it."""

from __future__ import annotations

import base64
import random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cells.base64 import SLACK, Base64
from app.cells.codes import TSV
from app.cells.text import Marks, TextRows
from app.schema.fields import Datatype, Field, Kind
from tests.cells.tables import same_real

MARKS = Marks(
    style=TSV,
    cells="\t",
    rows="\n",
    after="",
    not_a_number="nan",
    infinity="inf",
    minus_infinity="-inf",
)


def _texts(column: pa.Array, kind: Kind, datatype: Datatype) -> list[str]:
    rows = TextRows((Field(name="x", kind=kind, datatype=datatype),), MARKS)
    return rows.encode(pa.RecordBatch.from_arrays([column], names=["x"])).decode().split("\n")


def _hard_doubles() -> np.ndarray:
    rng = np.random.default_rng(7)
    parts = [
        rng.integers(0, 2**64, 100_000, dtype=np.uint64).view(np.float64),
        np.arange(1, 5_000, dtype=np.uint64).view(np.float64),  # the smallest there are
        2.0 ** np.arange(-1074, 1024),  # the next below is nearer than the next above
        np.array([float(f"1e{e}") for e in range(-323, 309)]),
        np.nextafter([float(f"1e{e}") for e in range(-323, 309)], 0),
        np.round(rng.random(50_000) * 360, 8),
        rng.integers(-(2**60), 2**60, 20_000).astype(float),
        np.array([0.0, -0.0, 1e16, 1e15, 2.0**53 + 2, 0.0001, 0.00001, 5e-324, 1.8e308]),
    ]
    return np.concatenate(parts)


def test_doubles_are_written_as_repr_does() -> None:
    values = _hard_doubles()
    texts = _texts(pa.array(values, from_pandas=False), "real", "double")
    assert texts == [repr(value) for value in values.tolist()]


def test_floats_are_the_shortest_that_read_back() -> None:
    rng = np.random.default_rng(8)
    bits = [rng.integers(0, 2**32, 50_000), np.arange(1, 3_000), 2 ** np.arange(0, 31)]
    values = np.concatenate(bits).astype(np.uint32).view(np.float32)
    values = values[np.isfinite(values)]
    texts = _texts(pa.array(values.astype(np.float64)), "real", "float")
    for text, value in zip(texts, values, strict=True):
        assert np.float32(text) == value
        digits = text.lstrip("-").split("e")[0].replace(".", "").strip("0")
        shortest = np.format_float_scientific(value, unique=True, trim="-").lstrip("-")
        assert len(digits) == len(shortest.split("e")[0].replace(".", "").strip("0"))


def test_integers() -> None:
    edges = [0, 1, -1, 2**63 - 1, -(2**63), -(2**63) + 1]
    edges += [sign * (10**n + d) for n in range(19) for d in (-1, 0, 1) for sign in (1, -1)]
    assert _texts(pa.array(edges, pa.int64()), "integer", "long") == [str(n) for n in edges]


@given(st.floats(width=64))
def test_a_double_too_large_for_a_float_is_infinite(value: float) -> None:
    (text,) = _texts(pa.array([value]), "real", "float")
    with np.errstate(over="ignore"):
        assert same_real(float(text), float(np.float32(value)), single=True)


@pytest.mark.parametrize("sizes", [(0, 1, 2, 3), (1, 1, 1, 1), (5, 7, 11, 13), (1000, 1, 2, 997)])
def test_base64_of_pieces(sizes: tuple[int, ...]) -> None:
    encoder = Base64()
    data = [random.Random(size).randbytes(size) for size in sizes]
    text = b""
    for piece in data:
        whole = encoder.held + piece
        text += encoder.encode(np.frombuffer(whole + bytes(SLACK), np.uint8), len(whole))
    text += encoder.finish()
    assert base64.b64decode(text.replace(b"\n", b""), validate=True) == b"".join(data)
