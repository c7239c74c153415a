"""Pieces of FITS bytes are those that astropy writes."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from app.stores.fits_pieces import PIECE_BYTES, encode_checksum, plane_of_cards, plane_pieces


def astropys(name: str, plane: Any, header: fits.Header) -> bytes:
    unit = fits.ImageHDU(plane.astype(plane.dtype.newbyteorder(">")), header=header, name=name)
    unit.add_checksum(when="as written")
    primary, buffer = fits.PrimaryHDU(), io.BytesIO()
    fits.HDUList([primary, unit]).writeto(buffer)
    return buffer.getvalue()[len(primary.header.tostring()) :]


@pytest.mark.parametrize("kind", ["f4", "i4", "i2"])
@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (41, 33), (700, 1001)])
def test_a_plane_is_written_as_astropy_writes_it(kind: str, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(shape[0])
    wide = (rng.normal(size=(shape[0] + 2, shape[1] + 3)) * 1000).astype(kind)
    plane = wide[1:-1, 2:-1]  # part of a larger one, as the inside of a difference is
    header = fits.Header({"CRPIX1": 12.25, "BUNIT": "nJy"})
    pieces = list(plane_pieces("IMAGE", plane, header))
    assert b"".join(pieces) == astropys("IMAGE", plane, header)
    assert max(len(piece) for piece in pieces) <= PIECE_BYTES


@pytest.mark.parametrize("kind", ["f4", "i4"])
@pytest.mark.parametrize("shape", [(1, 1), (41, 33), (700, 1001)])
def test_a_plane_with_cards_of_others_reads_as_one_of_its_own(
    kind: str, shape: tuple[int, int]
) -> None:
    rng = np.random.default_rng(shape[1])
    plane = (rng.normal(size=(shape[0], shape[1] + 3)) * 1000).astype(kind)[:, 3:]
    header = fits.Header({"CRPIX1": 12.25, "BUNIT": "nJy", "EXTVER": 7, "WORDS": "long " * 30})
    cards = header.tostring(endcard=False, padding=False).encode()
    content = fits.PrimaryHDU().header.tostring().encode()
    content += b"".join(plane_of_cards("SCIENCE_VARIANCE", plane, cards))
    with fits.open(io.BytesIO(content)) as found:
        unit = found["SCIENCE_VARIANCE", 7]
        assert (unit.verify_checksum(), unit.verify_datasum()) == (1, 1)
        assert all(unit.header[name] == value for name, value in header.items())
        np.testing.assert_array_equal(unit.data, plane)
        found.verify("exception")
    assert len(content) % 2880 == 0


@pytest.mark.parametrize("value", [0, 1, 0xFFFFFFFF, 868229149, 0x3A3B3C3D, 0x5B5C5D5E, 0x60402010])
def test_a_checksum_is_letters_and_digits_that_add_up_to_it(value: int) -> None:
    text = encode_checksum(value)
    assert len(text) == 16 and text.isascii() and text.isalnum()
    words = np.frombuffer((text[1:] + text[:1]).encode(), dtype=">u4").astype(object)
    assert sum(words) - 4 * 0x30303030 == value


def test_the_checksum_of_the_standards_example() -> None:
    total = 868229149  # FITS 4.0, appendix J.3
    assert encode_checksum(0xFFFFFFFF - total) == "hcHjjc9ghcEghc9g"
