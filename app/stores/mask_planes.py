"""Masks from files, given the bits this service uses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.pixels.image import MASK_PLANES, bits

Mask = NDArray[np.int32]


def remap_bits(stored: NDArray[Any], planes: Sequence[tuple[str, int]]) -> Mask:
    """Bits of a file's mask, given by plane name, moved to where :data:`MASK_PLANES` has them.

    Planes with other names are dropped. One name may stand for several bits. Where nothing has to
    move the mask is ``stored`` itself.
    """
    values = _as_bits(stored)
    present = int(np.bitwise_or.reduce(values, axis=None)) if values.size else 0
    moves = [
        (bit, MASK_PLANES[name])
        for name, bit in planes
        if name in MASK_PLANES and present >> bit & 1
    ]
    same = sum(1 << bit for bit, ours in moves if bit == ours)
    if present == same and values.dtype == np.int32:
        return values
    result: Mask = (values & same).astype(np.int32, copy=False)
    for bit, ours in moves:
        if bit != ours:
            result |= ((values >> bit & 1) << ours).astype(np.int32)
    return result


def remap_codes(stored: NDArray[Any], codes: Sequence[tuple[int, str]]) -> Mask:
    """Whole values of a file's mask, each naming one defect; 0 is good, an unknown value BAD."""
    result: Mask = np.zeros(stored.shape, dtype=np.int32)
    known = dict(codes)
    for code in np.unique(stored).tolist():
        if code != 0:
            result[stored == code] = bits(known.get(int(code), "BAD"))
    return result


def remap_good_bad(stored: NDArray[Any]) -> Mask:
    """0 is good, all else BAD."""
    result: Mask = np.multiply(stored != 0, np.int32(bits("BAD")), dtype=np.int32)
    return result


def _as_bits(stored: NDArray[Any]) -> NDArray[np.signedinteger[Any]]:
    whole = np.nan_to_num(stored) if stored.dtype.kind == "f" else stored
    narrow = np.can_cast(whole.dtype, np.int32)
    return np.asarray(whole, dtype=np.int32 if narrow else np.int64)
