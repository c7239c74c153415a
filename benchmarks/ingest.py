"""Images per second of ``skyloom ingest`` on the demo survey.

The peer is the least that any ingest must do with the same files in one astropy loop: read the
header and the pixels, ask the WCS for its footprint, and take the checksum of the file.
"""

from __future__ import annotations

import hashlib
import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from benchmarks.figures import Figure, interleaved, workspace
from tests.flows.service import Service


def demo_survey() -> Path:
    """The demo survey, made once."""
    folder = workspace() / "demo"
    if not (folder / "survey" / "truth.json").exists():
        Service(data_dir=folder).run("demo", "--no-serve", "--data-dir", str(folder))
    return folder


def astropy_loop(files: list[Path]) -> None:
    """Footprint, valid pixels and checksum of each file."""
    for path in files:
        hashlib.sha256(path.read_bytes()).hexdigest()
        with fits.open(path) as hdus:
            np.isfinite(hdus["IMAGE"].data).all()
            WCS(hdus["IMAGE"].header).calc_footprint()


def figures() -> Iterator[Figure]:
    """Ours, with process start, database and index writes, beside the bare loop."""
    survey = demo_survey() / "survey"
    files = sorted(survey.rglob("*.fits*"))
    numbers = itertools.count()

    def ingest() -> None:
        folder = workspace() / f"ingest-{next(numbers)}"
        shutil.rmtree(folder, ignore_errors=True)
        Service(data_dir=folder).run("ingest", str(survey), "--collection", "demo")
        shutil.rmtree(folder)

    seconds = interleaved(3, ours=ingest, peer=lambda: astropy_loop(files))
    yield Figure(
        name=f"ingest of {len(files)} three-plane images",
        ours=len(files) / seconds["ours"],
        unit="images/s",
        peer_name="astropy loop",
        peer=len(files) / seconds["peer"],
        larger_is_better=True,
    )
