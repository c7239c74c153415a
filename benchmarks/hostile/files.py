"""Mutated FITS files and VOTables: each is read as ingest, cutouts and uploads read it, and ends in
pixels, in a table, or in an error that is told."""

from __future__ import annotations

import gzip
import random
import re
import resource
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Final

import numpy as np
from astropy.io import fits

from app.errors import ServiceError
from app.http.faults import fault_of
from app.recipes.recipe import ImageRef
from app.services.ingest.files import FoundFile
from app.services.ingest.profile_reader import parse_profile
from app.services.ingest.read_file import FileReader
from app.services.parameters import ParameterSet
from app.services.uploads import FormFile, UploadLimits, UploadService
from app.stores.downloads import Downloads
from app.stores.image_files import ImageFiles
from app.stores.images import ImageStore
from app.stores.results import ResultStore
from tests.services.survey import Exposure, exposure_header

BLOCK: Final = 2880
_CARD: Final = re.compile(rb"[A-Z][A-Z0-9_-]{1,7} *= .{70}")
_CARD_VALUES: Final = (
    *("99999999999999999999", "2147483647", "-1", "0", "1", "NaN", "1E400", "T", "'x'", "' '"),
    *("999", "7", "64", "-64", "'RA---XXX'", "'../../etc/passwd'", "'1PB(999999999)'", "'1QB(1)'"),
    *("'GZIP_9'", "'\\xff'", "1E-320", "'& '", "360.0", "-91.0", "90.0", "'RA---TPV'", "65536"),
)
_BOMB_BYTES: Final = 200 * 2**20
LONGEST_S: Final = 30.0
_XML_CELLS: Final = (
    *("", " ", "NaN", "1e999", "x" * 100_000, "&#0;", "&amp;" * 50, "<TD>" * 100, "]]>", "\u0663"),
    *("&a;", "-9223372036854775809", "1 2 3", "\x00", "<!-- -- -->", "<![CDATA[", "'; DROP TABLE"),
)
_ATTRIBUTES: Final = (
    *('arraysize="99999999999x99999999999"', 'arraysize="*x*"', 'arraysize="-1"', 'datatype="x"'),
    *('datatype="unicodeChar" arraysize="*"', 'xtype="polygon"', 'precision="99999999"', 'name=""'),
    *('datatype="double" arraysize="1000000000"', 'name="../../x"', 'xtype="timestamp"', 'ID="a"'),
)


class Endless(BaseException):
    """Work went on and on. No handler of errors may take it for one of a file."""


def _stop(*_: object) -> None:
    raise Endless


@dataclass
class Report:
    """What happened, counted; ``faults`` holds an example of everything that must not."""

    outcomes: Counter[str] = field(default_factory=Counter)
    faults: dict[str, str] = field(default_factory=dict)
    slowest: tuple[float, str] = (0.0, "")

    def __post_init__(self) -> None:
        signal.signal(signal.SIGPROF, _stop)

    def attempt(self, name: str, work: Callable[[], str]) -> None:
        """Do ``work``, for LONGEST_S of processor time at most, and remember how it ended."""
        start_s = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, LONGEST_S)
        try:
            outcome = work()
        except ServiceError as error:
            outcome = f"refused ({type(error).__name__})"
            if fault_of(type(error)).status >= 500:
                self.faults.setdefault(repr(error)[:200], name)
        except (Exception, Endless) as error:
            outcome = "FAULT"
            self.faults.setdefault(repr(error)[:200], name)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0.0)
        self.outcomes[outcome] += 1
        took_s = time.process_time() - start_s
        self.slowest = max(self.slowest, (took_s, name))
        if self.outcomes.total() % 200 == 0:
            print("\n".join(self.lines()), flush=True)

    def lines(self) -> Iterator[str]:
        """The report for people."""
        yield ", ".join(f"{outcome}: {count}" for outcome, count in self.outcomes.most_common())
        yield f"slowest: {self.slowest[0]:.2f} s of processor time ({self.slowest[1]})"
        peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        yield f"memory (RSS) at most: {peak_mib:.0f} MiB"
        yield from (f"FAULT {what}: {example}" for what, example in self.faults.items())


# -- images -------------------------------------------------------------------------------------


def sound_images() -> list[bytes]:
    """Files as they should be: planes in extensions, and tiles compressed by Rice's method."""
    header = exposure_header(Exposure(visit=1))
    header["MJD-OBS"], header["EXPTIME"], header["FILTER"], header["BUNIT"] = 6e4, 30.0, "i", "nJy"
    pixels = np.random.default_rng(1).normal(100, 5, (64, 64)).astype(np.float32)
    ones = np.ones_like(pixels)
    units = (
        [fits.PrimaryHDU(pixels, header)],
        [
            fits.PrimaryHDU(),
            fits.ImageHDU(pixels, header, name="IMAGE"),
            fits.ImageHDU(ones.astype(np.int32), name="MASK"),
            fits.ImageHDU(ones, name="VARIANCE"),
        ],
        [fits.PrimaryHDU(), fits.CompImageHDU(pixels, header, name="IMAGE", tile_shape=(8, 64))],
    )
    found = []
    for hdus in units:
        made = BytesIO()
        fits.HDUList(hdus).writeto(made)
        found.append(made.getvalue())
    return found


def mutated_image(rng: random.Random, sound: bytes) -> bytes:
    """The file with a few things wrong."""
    content = bytearray(sound)
    for _ in range(rng.choice((1, 1, 2, 4))):
        rng.choice((_card, _card, _card, _card, _bytes, _cut, _block, _added, _twice))(rng, content)
    return bytes(content)


def _card(rng: random.Random, content: bytearray) -> None:
    cards = [found for found in _CARD.finditer(content) if found.start() % 80 == 0]
    if cards:
        place = rng.choice(cards).start()
        text = rng.choice(_CARD_VALUES).encode("latin-1").rjust(20)
        content[place + 10 : place + 80] = text.ljust(70)


def _bytes(rng: random.Random, content: bytearray) -> None:
    for _ in range(rng.choice((1, 30)) if content else 0):
        content[rng.randrange(len(content))] = rng.randrange(256)


def _cut(rng: random.Random, content: bytearray) -> None:
    del content[rng.randrange(80, max(len(content), 81)) :]
    content.extend(b"SIMPLE  =" if not content else b"")


def _block(rng: random.Random, content: bytearray) -> None:
    start = BLOCK * rng.randrange(len(content) // BLOCK + 1)
    size = BLOCK * rng.choice((1, 2))
    content[start : start + size] = rng.choice((b"", bytes(size), b"\xff" * size, b" " * size))


def _added(rng: random.Random, content: bytearray) -> None:
    """A card before the first END: lines that go on for ever, names that lead elsewhere."""
    end = content.find(b"END" + b" " * 77)
    card = rng.choice(
        (
            b"CONTINUE  'x&'", b"LONGSTRN= 'x&'", b"EXTNAME = '../../etc/passwd'", b"NAXIS   = 2",
            b"INHERIT = T", b"CPDIS1  = 'LOOKUP'", b"A_ORDER = 99999999", b"PV1_9999= 1E300",
            b"HIERARCH a b c = NaN", b"XTENSION= 'IMAGE'", b"ZIMAGE  = T", b"\xff\x00",
        )
    )  # fmt: skip
    content[max(end, 0) : max(end, 0)] = card.ljust(80) * rng.choice((1, 36, 3600))


def _twice(rng: random.Random, content: bytearray) -> None:
    if len(content) < 2**20:
        content.extend(content[BLOCK * rng.randrange(3) :])


def read_images(report: Report, folder: Path, *, count: int, seed: int) -> None:
    """Ingest ``count`` mutated files, and read the pixels of what is taken."""
    rng, sound = random.Random(seed), sound_images()
    reader = FileReader(parse_profile(""), "test.org", "night", ImageFiles(folder))
    store = ImageStore(data_dir=folder)
    bomb = gzip.compress(sound[0][:BLOCK] + bytes(_BOMB_BYTES), 1)
    for number in range(count):
        content = mutated_image(rng, rng.choice(sound))
        end = ".fits.gz" if rng.random() < 0.1 else ".fits"
        if end == ".fits.gz":
            content = gzip.compress(content, 1)[: rng.choice((None, None, 200))]
        path = folder / f"{number}{end}"
        path.write_bytes(bomb if number % 500 == 499 else content)
        report.attempt(f"image {number} of seed {seed}", partial(_read, reader, store, path))
        path.unlink()


def _read(reader: FileReader, store: ImageStore, path: Path) -> str:
    facts = path.stat()
    found = reader.read(FoundFile(str(path), path.name, facts.st_size, facts.st_mtime_ns))
    for row in found.rows:
        store.read(ImageRef.from_text(row.image_ref), (0, 8, 0, 8))
        store.read_light(ImageRef.from_text(row.image_ref))
    return "images read" if found.rows else "images refused"


# -- tables -------------------------------------------------------------------------------------

_TABLE: Final = """<?xml version="1.0"?><VOTABLE version="1.4"><RESOURCE><TABLE>
<FIELD name="ra" datatype="double" unit="deg"/><FIELD name="n" datatype="int"/>
<FIELD name="s" datatype="char" arraysize="*"/><DATA><TABLEDATA>{rows}</TABLEDATA></DATA></TABLE>
</RESOURCE></VOTABLE>"""
_ENTITIES: Final = "<!DOCTYPE a [<!ENTITY a 'aaaaaaaaaa'>{more}]>"


def mutated_table(rng: random.Random) -> bytes:
    """A VOTable with a few things wrong."""
    row = "<TR><TD>1.5</TD><TD>2</TD><TD>three</TD></TR>"
    text = _TABLE.replace("{rows}", row * rng.choice((1, 3, 3, 3, 5000)))
    for _ in range(rng.choice((1, 2, 3))):
        at = rng.randrange(len(text) + 1)
        kind = rng.randrange(7)
        if kind == 0:
            text = text.replace("1.5", rng.choice(_XML_CELLS), 2)
        elif kind == 1:
            text = text.replace('datatype="int"', rng.choice(_ATTRIBUTES), 1)
        elif kind == 2:
            text = (
                text[:at] + rng.choice(("<A>" * 5000, "<", "</TABLE>", "&x;", "\x01")) + text[at:]
            )
        elif kind == 3:
            more = "".join(f"<!ENTITY b{n} '{'&a;' * 10}'>" for n in range(10))
            told = rng.choice((more, "<!ENTITY % x SYSTEM 'file:///etc/passwd'>%x;"))
            text = text.replace("<VOTABLE", _ENTITIES.replace("{more}", told) + "<VOTABLE", 1)
        elif kind == 4:
            text = text[:at]
        elif kind == 5:
            start = text.find("<TABLEDATA>")
            stream = rng.choice(("////", "A" * 10_000, "=", "gAAAAAAA", "\u00e9"))
            href = rng.choice(("", ' href="file:///etc/passwd"', ' encoding="base64"'))
            form = rng.choice(("BINARY", "BINARY2"))
            text = f"{text[:start]}<{form}><STREAM{href}>{stream}</STREAM></{form}></DATA></TABLE>"
            text += "</RESOURCE></VOTABLE>"
        else:
            text = text.replace("1.0", rng.choice(("9", "1.0' encoding='utf-7", "1.0?>")), 1)
    return text.encode(rng.choice(("utf-8",) * 5 + ("utf-16", "utf-32")), "replace")


def read_tables(report: Report, folder: Path, *, count: int, seed: int) -> None:
    """Load ``count`` mutated tables as uploads."""
    rng = random.Random(seed)
    limits = UploadLimits(max_bytes=2_000_000, max_rows=10_000, max_columns=50, max_tables=2)
    downloads = Downloads(max_bytes=1, time_limit_s=1)
    service = UploadService(
        limits=limits, downloads=downloads, results=ResultStore(data_dir=folder)
    )
    asked = ParameterSet([("UPLOAD", "t,param:f")])

    def load(content: bytes) -> str:
        service.load(asked, [FormFile("f", content)])
        return "tables read"

    for number in range(count):
        content = mutated_table(rng)
        report.attempt(f"table {number} of seed {seed}", partial(load, content))
