"""Rice codes and dithered numbers of compressed tiles (FITS 4.0, sections 10.2.1 and 10.4.1),
compiled."""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

RANDOM: Final = 10_000
_MULTIPLIER: Final = 16807
_MODULUS: Final = 2**31 - 1
_EXACT_ZERO: Final = -2147483646
"""What stands for 0 with SUBTRACTIVE_DITHER_2."""
SPLIT_BITS: Final = {1: 3, 2: 4, 4: 5}
"""Bytes of a number -> bits that tell how the numbers of a block are split."""


@njit(cache=True, nogil=True)
def decode_rice(
    code: NDArray[np.uint8], size: int, split_bits: int, block: int, values: NDArray[np.int64]
) -> bool:
    """The first numbers of a tile, of ``size`` bytes each, as many as ``values`` takes.

    False where the code ends early.
    """
    raw_bits, raw_split = 8 * size, (1 << split_bits) - (7 if size == 4 else 2)
    at, bits, held = _fill(code, 0, np.uint64(0), 0, raw_bits)
    value, bits, held = int(bits), np.uint64(0), 0
    for first in range(0, len(values), block):
        at, bits, held = _fill(code, at, bits, held, split_bits)
        held -= split_bits
        split, bits = int(bits >> np.uint64(held)) - 1, _lowest(bits, held)
        low_bits = raw_bits if split == raw_split else split
        for place in range(first, min(first + block, len(values))):
            difference = 0
            if split >= 0:
                if split < raw_split:
                    difference, at, bits, held = _count_zeros(code, at, bits, held)
                at, bits, held = _fill(code, at, bits, held, low_bits)
                held -= low_bits
                difference = difference << low_bits | int(bits >> np.uint64(held))
                bits = _lowest(bits, held)
            value += difference >> 1 if difference & 1 == 0 else ~(difference >> 1)
            values[place] = value
        if at > len(code):
            return False
    return True


@njit(cache=True, nogil=True)
def _fill(
    code: NDArray[np.uint8], at: int, bits: np.uint64, held: int, needed: int
) -> tuple[int, np.uint64, int]:
    """Take bytes until ``needed`` bits are held. Beyond the end of the code are zeros."""
    while held < needed:
        byte = np.uint64(code[at]) if at < len(code) else np.uint64(0)
        bits, held, at = bits << np.uint64(8) | byte, held + 8, at + 1
    return at, bits, held


@njit(cache=True, nogil=True)
def _lowest(bits: np.uint64, count: int) -> np.uint64:
    return bits & ((np.uint64(1) << np.uint64(count)) - np.uint64(1))


@njit(cache=True, nogil=True)
def _count_zeros(
    code: NDArray[np.uint8], at: int, bits: np.uint64, held: int
) -> tuple[int, int, np.uint64, int]:
    """How many zeros stand before the next one, which is taken too."""
    zeros = 0
    while bits == np.uint64(0) and at <= len(code):
        zeros += held
        at, bits, held = _fill(code, at, np.uint64(0), 0, 8)
    while held > 1 and bits >> np.uint64(held - 1) == np.uint64(0):
        held -= 1
        zeros += 1
    held -= 1
    return zeros, at, _lowest(bits, held), held


@cache
def random_numbers() -> NDArray[np.float32]:
    """The standard's own sequence (appendix I)."""
    numbers, seed = np.empty(RANDOM, dtype=np.float32), 1
    for place in range(RANDOM):
        seed = seed * _MULTIPLIER % _MODULUS
        numbers[place] = seed / _MODULUS
    return numbers


@njit(cache=True, nogil=True)
def restore(
    whole: NDArray[np.int64],
    scale: float,
    zero: float,
    tile: int,
    dither: int,
    random: NDArray[np.float32],
    values: NDArray[np.float64],
) -> None:
    """Real numbers of whole ones. ``dither``: 0 without any, 1 or 2 as the standard numbers its
    methods; ``tile``: the row of the table, from 0, plus ZDITHER0 less 1."""
    turn = tile % RANDOM
    place = int(random[turn] * 500)
    for at in range(len(whole)):
        if dither == 0:
            values[at] = whole[at] * scale + zero
            continue
        if dither == 2 and whole[at] == _EXACT_ZERO:
            values[at] = 0.0
        else:
            values[at] = (whole[at] - np.float64(random[place]) + 0.5) * scale + zero
        place += 1
        if place == RANDOM:
            turn = (turn + 1) % RANDOM
            place = int(random[turn] * 500)
