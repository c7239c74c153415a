"""What stands in texts (UTF-8), and how texts are written where a format cannot hold all of it."""

from __future__ import annotations

from typing import Final

import numpy as np

from app.cells.codes import BEYOND_ASCII, CSV, SPECIAL, TSV, XML
from app.cells.kernels.machine import (
    BLOCK,
    compiled,
    copy,
    inlined,
    load_8,
    store_8,
    store_16,
    store_64,
    store_big_16,
    which,
    which_beyond_ascii,
)

_PAGE: Final = 4096
"""No page of memory is smaller."""

# U+FFFE and U+FFFF, which XML cannot hold, begin with 0xEF.
_xml_specials = which((38, 60, 62, 127, 0xEF), below=32)
_csv_specials = which((34, 44, 10, 13))
_tsv_specials = which((9, 10, 13))
_json_specials = which((34, 92), below=32)


@inlined
def _specials(at: int, style: int) -> int:
    """Bits of the bytes of a block that a style cannot hold as they are."""
    if style == XML:
        return _xml_specials(at)
    if style == CSV:
        return _csv_specials(at)
    if style == TSV:
        return _tsv_specials(at)
    return _json_specials(at)


@inlined
def _scan_short(at: int, n: int, style: int) -> tuple[int, int]:
    """Fewer than BLOCK bytes. A page of memory is readable whole: the block begins or ends with
    them, so that it touches no page but theirs."""
    if at & (_PAGE - 1) <= _PAGE - BLOCK:
        mask = (1 << n) - 1
    else:
        mask = ((1 << n) - 1) << (BLOCK - n)
        at += n - BLOCK
    return _specials(at, style) & mask, which_beyond_ascii(at) & mask


@compiled("int64(int64, int64, int64)")
def scan(at: int, n: int, style: int) -> int:
    """Which of SPECIAL and BEYOND_ASCII occur."""
    special = 0
    wide = 0
    if n < BLOCK:
        special, wide = _scan_short(at, n, style)
    else:
        last = at + n - BLOCK
        while at < last:
            special |= _specials(at, style)
            wide |= which_beyond_ascii(at)
            at += BLOCK
        special |= _specials(last, style)
        wide |= which_beyond_ascii(last)
    return (SPECIAL if special else 0) + (BEYOND_ASCII if wide else 0)


@inlined
def _put_short(at: int, packed: int, n: int) -> int:
    """``n`` of eight characters packed into one number."""
    store_64(at, packed)
    return at + n


def _packed(text: str) -> int:
    return int.from_bytes(text.encode().ljust(8, b"\0"), "little")


_AMP: Final = _packed("&amp;")
_LESS: Final = _packed("&lt;")
_MORE: Final = _packed("&gt;")
_RETURN: Final = _packed("&#13;")
_REPLACEMENT: Final = _packed("\ufffd")
_UNICODE: Final = _packed("\\u00")
_JSON_LETTER = np.zeros(32, np.int64)
for _code, _letter in ((8, "b"), (9, "t"), (10, "n"), (12, "f"), (13, "r")):
    _JSON_LETTER[_code] = ord(_letter)


@inlined
def put_xml(at: int, source: int, n: int) -> int:
    """As character data (XML 1.0, sections 2.2 and 2.4); what XML cannot hold becomes U+FFFD."""
    i = 0
    while i < n:
        byte = load_8(source + i)
        i += 1
        if byte == 38:
            at = _put_short(at, _AMP, 5)
        elif byte == 60:
            at = _put_short(at, _LESS, 4)
        elif byte == 62:
            at = _put_short(at, _MORE, 4)
        elif byte == 13:
            at = _put_short(at, _RETURN, 5)
        elif byte < 32 and byte not in (9, 10):
            at = _put_short(at, _REPLACEMENT, 3)
        elif byte == 0xEF and load_8(source + i) == 0xBF and load_8(source + i + 1) >= 0xBE:
            at = _put_short(at, _REPLACEMENT, 3)
            i += 2
        else:
            store_8(at, byte)
            at += 1
    return at


@inlined
def put_csv(at: int, source: int, n: int, clean: bool) -> int:
    """As a CSV field (RFC 4180, section 2), quoted where a reader would take it for another."""
    if n == 0:
        store_16(at, 0x2222)
        return at + 2
    quoted = not clean and scan(source, n, CSV) & SPECIAL != 0
    quoted |= (load_8(source) == 32) | (load_8(source + n - 1) == 32)
    if not quoted:
        copy(at, source, n)
        return at + n
    store_8(at, 34)
    at += 1
    for i in range(n):
        byte = load_8(source + i)
        store_8(at, byte)
        at += 1
        if byte == 34:
            store_8(at, 34)
            at += 1
    store_8(at, 34)
    return at + 1


@inlined
def put_tsv(at: int, source: int, n: int) -> int:
    """With blanks for tabs and line ends, which the format cannot hold."""
    for i in range(n):
        byte = load_8(source + i)
        store_8(at + i, 32 if byte in (9, 10, 13) else byte)
    return at + n


@inlined
def put_json(at: int, source: int, n: int) -> int:
    """As the inside of a JSON string (RFC 8259, section 7)."""
    for i in range(n):
        byte = load_8(source + i)
        if byte in (34, 92):
            store_8(at, 92)
            store_8(at + 1, byte)
            at += 2
        elif byte >= 32:
            store_8(at, byte)
            at += 1
        elif _JSON_LETTER[byte]:
            store_8(at, 92)
            store_8(at + 1, _JSON_LETTER[byte])
            at += 2
        else:
            store_64(at, _UNICODE)
            store_8(at + 4, 48 + (byte >> 4))
            low = byte & 15
            store_8(at + 5, low + (48 if low < 10 else 87))
            at += 6
    return at


@inlined
def put_ascii(at: int, source: int, n: int, most: int, printable: bool) -> int:
    """At most ``most`` characters, ``?`` for those outside ASCII; with ``printable`` blanks for
    tabs and line ends and ``?`` for other control characters."""
    end = at + most
    for i in range(n):
        byte = load_8(source + i)
        if byte & 0xC0 == 0x80:
            continue
        if at == end:
            break
        if byte >= 128 or (printable and (byte < 32 or byte == 127)):
            byte = 32 if byte in (9, 10, 13) else 63
        store_8(at, byte)
        at += 1
    return at


@inlined
def put_utf16(at: int, source: int, n: int, most: int) -> int:
    """UTF-16, big-endian, of at most ``most`` bytes; never half a pair."""
    end = at + most
    i = 0
    while i < n and at < end:
        byte = load_8(source + i)
        if byte < 0x80:
            store_big_16(at, byte)
            i += 1
        elif byte < 0xE0:
            store_big_16(at, (byte & 31) << 6 | load_8(source + i + 1) & 63)
            i += 2
        elif byte < 0xF0:
            low = (load_8(source + i + 1) & 63) << 6 | load_8(source + i + 2) & 63
            store_big_16(at, (byte & 15) << 12 | low)
            i += 3
        else:
            if at + 4 > end:
                break
            high = (byte & 7) << 18 | (load_8(source + i + 1) & 63) << 12
            low = (load_8(source + i + 2) & 63) << 6 | load_8(source + i + 3) & 63
            code = (high | low) - 0x10000
            store_big_16(at, 0xD800 | code >> 10)
            store_big_16(at + 2, 0xDC00 | code & 1023)
            at += 2
            i += 4
        at += 2
    return at
