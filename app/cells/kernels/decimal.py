"""The shortest decimal that reads back as the same number, written as ``repr`` writes it.

The algorithm is Schubfach: R. Giulietti, "The Schubfach way to render doubles" (2020), section 9;
names of its variables are kept. Every intermediate value fits in 63 bits.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from app.cells.kernels.machine import (
    bits_of_double,
    bits_of_float,
    high_product,
    inlined,
    leading_zeros,
    load_8,
    store_8,
    store_16,
    store_64,
)

_LEAST_K: Final = -324
_MASK_63: Final = (1 << 63) - 1
_SMALLEST: Final = -(2**63)
# floor(e * log10(2)), floor(log10(3/4) + e * log10(2)) and floor(e * log2(10)) as one product and
# one shift, exact over the exponents that doubles have (paper, section 8.6).
_LOG10_2: Final = 661_971_961_083
_LOG10_3_4: Final = -274_743_187_321
_LOG2_10: Final = 913_124_641_741


def _floor_log2_of_power_of_ten(e: int) -> int:
    return (e * _LOG2_10) >> 38


def _powers() -> tuple[np.ndarray, np.ndarray]:
    """g = floor(10**-k * 2**-r) + 1 of 126 bits for every k, its upper and lower 63 bits."""
    upper, lower = [], []
    for k in range(_LEAST_K, 294):
        r = _floor_log2_of_power_of_ten(-k) - 125
        power, shift = (10**-k, -r) if k <= 0 else (1, -r)
        scaled = power << shift if shift >= 0 else power >> -shift
        g = (scaled if k <= 0 else scaled // 10**k) + 1
        upper.append(g >> 63)
        lower.append(g & _MASK_63)
    return np.array(upper, np.int64), np.array(lower, np.int64)


_G1, _G0 = _powers()
_TENS = np.array([10**n for n in range(19)], np.int64)
_PAIRS = np.array([ord(f"{n:02}"[0]) | ord(f"{n:02}"[1]) << 8 for n in range(100)], np.int64)
_ZEROS: Final = 0x3030303030303030


@inlined
def _round_to_odd(g1: int, g0: int, cp: int) -> int:
    x1 = high_product(g0, cp)
    y0 = g1 * cp
    y1 = high_product(g1, cp)
    z = ((y0 >> 1) & _MASK_63) + x1
    # The sum may carry into bit 63, which a signed number shows as its sign.
    w = y1 + (1 if z < 0 else 0)
    return w | (1 if z & _MASK_63 else 0)


@inlined
def shortest(c: int, q: int, narrow_below: bool) -> tuple[int, int]:
    """(f, k) with f * 10**k the shortest decimal that rounds to c * 2**q.

    ``narrow_below``: c is a power of two, so the next number below is only half as far away.
    """
    out = c & 1
    cb = c << 2
    cbr = cb + 2
    if narrow_below:
        cbl = cb - 1
        k = (q * _LOG10_2 + _LOG10_3_4) >> 41
    else:
        cbl = cb - 2
        k = (q * _LOG10_2) >> 41
    h = q + ((-k * _LOG2_10) >> 38) + 2
    g1 = _G1[k - _LEAST_K]
    g0 = _G0[k - _LEAST_K]
    vb = _round_to_odd(g1, g0, cb << h)
    vbl = _round_to_odd(g1, g0, cbl << h) + out
    vbr = _round_to_odd(g1, g0, cbr << h) - out
    s = vb >> 2
    if s >= 10:
        sp = s // 10
        below = vbl <= sp * 40
        above = (sp + 1) * 40 <= vbr
        if below != above:
            return (sp if below else sp + 1), k + 1
    below = vbl <= s << 2
    above = (s + 1) << 2 <= vbr
    if below != above:
        return (s if below else s + 1), k
    middle = vb - (2 * s + 1) * 2
    return (s if middle < 0 or (middle == 0 and s & 1 == 0) else s + 1), k


@inlined
def count_digits(value: int) -> int:
    """Decimal digits of a number that is not negative; 0 has one."""
    value |= 1
    guess = ((64 - leading_zeros(value)) * 1233) >> 12
    if guess > 18:
        return 19
    return guess + (1 if value >= _TENS[guess] else 0)


@inlined
def put_digits(at: int, value: int, n: int) -> None:
    """The last ``n`` digits of ``value``, with zeros before them."""
    while n >= 2:
        rest = value // 100
        n -= 2
        store_16(at + n, _PAIRS[value - rest * 100])
        value = rest
    if n:
        store_8(at, 48 + value % 10)


@inlined
def put_integer(at: int, value: int) -> int:
    """``value`` in decimal; the address after it."""
    if value < 0:
        store_8(at, 45)
        at += 1
        if value == _SMALLEST:
            store_8(at, 57)
            put_digits(at + 1, 223372036854775808, 18)
            return at + 19
        value = -value
    n = count_digits(value)
    put_digits(at, value, n)
    return at + n


@inlined
def _without_zeros(f: int, k: int) -> tuple[int, int]:
    if f % 100_000_000 == 0:
        f //= 100_000_000
        k += 8
    while f % 10 == 0:
        f //= 10
        k += 1
    return f, k


@inlined
def _put_decimal(at: int, f: int, k: int) -> int:
    """f * 10**k, f > 0 without zeros at its end, in the form of ``repr``."""
    n = count_digits(f)
    point = n + k
    if 0 < point <= 16:
        if k >= 0:
            put_digits(at, f, n)
            store_64(at + n, _ZEROS)
            store_64(at + n + 8, _ZEROS)
            store_16(at + point, 0x302E)
            return at + point + 2
        put_digits(at + 1, f, n)
        for i in range(point):
            store_8(at + i, load_8(at + i + 1))
        store_8(at + point, 46)
        return at + n + 1
    if -4 < point <= 0:
        store_64(at, 0x3030303030302E30)
        put_digits(at + 2 - point, f, n)
        return at + 2 - point + n
    return _put_exponent(at, f, n, point - 1)


@inlined
def _put_exponent(at: int, f: int, n: int, exponent: int) -> int:
    put_digits(at + 1, f, n)
    store_8(at, load_8(at + 1))
    if n > 1:
        store_8(at + 1, 46)
        at += n + 1
    else:
        at += 1
    store_8(at, 101)
    store_8(at + 1, 45 if exponent < 0 else 43)
    exponent = abs(exponent)
    digits = 3 if exponent >= 100 else 2
    put_digits(at + 2, exponent, digits)
    return at + 2 + digits


@inlined
def put_double(at: int, value: float) -> int:
    """A finite double; the address after it."""
    bits = bits_of_double(value)
    if bits < 0:
        store_8(at, 45)
        at += 1
        bits &= _MASK_63
    if bits == 0:
        store_16(at, 0x2E30)
        store_8(at + 2, 48)
        return at + 3
    biased = bits >> 52
    fraction = bits & ((1 << 52) - 1)
    return _put(at, biased, fraction, 52, 1075)


@inlined
def put_float(at: int, value: float) -> int:
    """The finite float nearest to ``value``; the address after it."""
    bits = bits_of_float(value)
    if bits >> 31:
        store_8(at, 45)
        at += 1
        bits &= (1 << 31) - 1
    if bits == 0:
        store_16(at, 0x2E30)
        store_8(at + 2, 48)
        return at + 3
    return _put(at, bits >> 23, bits & ((1 << 23) - 1), 23, 150)


@inlined
def _put(at: int, biased: int, fraction: int, width: int, bias: int) -> int:
    """(1.fraction) * 2**exponent of a format with ``width`` bits of fraction."""
    if biased == 0:
        f, k = shortest(fraction, 1 - bias, False)
    else:
        c = fraction | (1 << width)
        q = biased - bias
        if -width <= q <= 0 and (c >> -q) << -q == c:
            f, k = c >> -q, 0
        else:
            f, k = shortest(c, q, fraction == 0 and biased > 1)
    f, k = _without_zeros(f, k)
    return _put_decimal(at, f, k)
