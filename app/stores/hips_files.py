"""Progressive surveys on disk (HiPS 1.0): where tiles lie, how they are written and read."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray
from PIL import Image

from app.errors import ImageFormatError
from app.pixels.healpix_grid import HealpixGrid
from app.stores.files_atomic import write_atomically

Plane = NDArray[np.float32]

PROPERTIES: Final = "properties"
MOC_FILE: Final = "Moc.fits"
SERVED: Final = re.compile(
    r"properties|Moc\.fits|Norder\d{1,2}/(Allsky|Dir\d{1,10}/Npix\d{1,10})\.(fits|png)"
)
"""Paths of the files that make a survey. All others in its folder are our own notes."""
_NOTES: Final = ".skyloom"
_DIR_TILES: Final = 10_000
PNG_LEVEL: Final = 3


@dataclass(frozen=True, slots=True)
class Tile:
    """A tile by its order and number."""

    order: int
    number: int

    @property
    def parent(self) -> Tile:
        """The tile of an order less that it is a quarter of."""
        return Tile(self.order - 1, self.number >> 2)


class HipsFolder:
    """The files of one survey."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def tile_path(self, tile: Tile, suffix: str) -> Path:
        """HiPS 1.0, section 4.1."""
        folder = _DIR_TILES * (tile.number // _DIR_TILES)
        name = f"Npix{tile.number}.{suffix}"
        return self.path / f"Norder{tile.order}" / f"Dir{folder}" / name

    def write_tile(self, tile: Tile, pixels: Plane, unit: str) -> None:
        """As FITS, with its WCS."""
        header = HealpixGrid(tile.order, tile.number, len(pixels)).fits_header()
        header["ORDER"], header["NPIX"] = tile.order, tile.number
        header["BUNIT"] = unit
        write_atomically(self.tile_path(tile, "fits"), _fits(pixels, header))

    def read_tile(self, tile: Tile) -> Plane | None:
        """The pixels, None where there is no such tile. Raises ImageFormatError for a file that
        is none."""
        path = self.tile_path(tile, "fits")
        try:
            with warnings.catch_warnings(), fits.open(path, memmap=False) as opened:
                warnings.simplefilter("ignore")
                return np.asarray(opened[0].data, np.float32)
        except FileNotFoundError:
            return None
        except (OSError, TypeError, ValueError) as fault:
            raise ImageFormatError(str(path), str(fault)) from None

    def remove(self, tiles: Iterable[Tile]) -> None:
        """Tiles that are none any more."""
        for tile in tiles:
            for suffix in ("fits", "png"):
                self.tile_path(tile, suffix).unlink(missing_ok=True)

    def write_picture(self, tile: Tile, picture: bytes) -> None:
        """The PNG of a tile."""
        write_atomically(self.tile_path(tile, "png"), picture)

    def has_picture(self, tile: Tile) -> bool:
        """Whether there is a PNG that is not older than the pixels."""
        picture, pixels = self.tile_path(tile, "png"), self.tile_path(tile, "fits")
        return picture.exists() and picture.stat().st_mtime_ns >= pixels.stat().st_mtime_ns

    def write_allsky(self, order: int, pixels: Plane, picture: bytes) -> None:
        """The preview of all tiles of an order."""
        folder = self.path / f"Norder{order}"
        write_atomically(folder / "Allsky.fits", _fits(pixels, fits.Header()))
        write_atomically(folder / "Allsky.png", picture)

    def write_file(self, name: str, content: bytes) -> None:
        """Another file of the survey."""
        write_atomically(self.path / name, content)

    def properties(self) -> dict[str, str]:
        """What the survey says of itself; nothing before it is whole."""
        try:
            text = (self.path / PROPERTIES).read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            return {}
        pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
        return {key.strip(): value.strip() for key, _, value in pairs if key[:1] != "#"}

    def write_properties(self, values: Mapping[str, str]) -> None:
        """HiPS 1.0, section 4.4.1. From now on the survey is whole."""
        lines = [f"{key:<22}= {_one_line(value)}\n" for key, value in values.items()]
        self.write_file(PROPERTIES, "".join(lines).encode())

    def begin(self) -> bool:
        """Make this the folder of a survey; False, and nothing is done, when it holds something
        that is none of ours."""
        notes = self.path / _NOTES
        if not notes.is_dir() and self.path.exists() and _holds(self.path):
            return False
        notes.mkdir(parents=True, exist_ok=True)
        return True

    def tiles(self) -> Iterator[Tile]:
        """Every tile that has pixels."""
        for path in self.path.glob("Norder*/Dir*/Npix*.fits"):
            order = path.parent.parent.name.removeprefix("Norder")
            number = path.stem.removeprefix("Npix")
            if order.isdigit() and number.isdigit():
                yield Tile(int(order), int(number))

    def note(self, block: Tile) -> str | None:
        """What a finished block was made of."""
        try:
            return self._note_path(block).read_text()
        except FileNotFoundError:
            return None

    def write_note(self, block: Tile, digest: str) -> None:
        """A block is finished."""
        write_atomically(self._note_path(block), digest.encode())

    def forget(self, block: Tile) -> None:
        """A block is not finished, or none any more."""
        self._note_path(block).unlink(missing_ok=True)

    def noted(self) -> Iterator[Tile]:
        """Every finished block."""
        for path in sorted((self.path / _NOTES).glob("block-*-*")):
            _, order, number = path.name.split("-")
            yield Tile(int(order), int(number))

    def _note_path(self, block: Tile) -> Path:
        return self.path / _NOTES / f"block-{block.order}-{block.number}"


def _holds(path: Path) -> bool:
    """Whether anything is in a folder, or it is none."""
    return not path.is_dir() or any(path.iterdir())


def _one_line(value: str) -> str:
    return " ".join(value.split())


def _fits(pixels: Plane, header: fits.Header) -> bytes:
    whole = io.BytesIO()
    fits.PrimaryHDU(np.ascontiguousarray(pixels, np.float32), header).writeto(whole)
    return whole.getvalue()


def grey_png(grey: NDArray[np.uint8], known: NDArray[np.bool_]) -> bytes:
    """PNG of grey levels, rows as in FITS; transparent where nothing is known."""
    both = np.stack([grey, np.where(known, np.uint8(255), np.uint8(0))], axis=-1)
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(both[::-1]), "LA").save(
        out, format="PNG", compress_level=PNG_LEVEL
    )
    return out.getvalue()
