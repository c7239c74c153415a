"""Seconds from request to FITS of a template and of a difference on the demo survey, by REST.

The peer of the template is SWarp (Debian's ``swarp``) on the same exposures and the same target
grid, uncompressed beforehand: resampling with LANCZOS3 and a clipped weighted mean.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import httpx
import numpy as np
import pyvo
from astropy.io import fits

from benchmarks.figures import Figure
from benchmarks.ingest import demo_survey
from tests.flows.service import Service

REPEATS = 5


def ask(service: Service, kind: str, **parameters: str) -> tuple[float, bytes]:
    """Seconds and bytes of one synchronous build."""
    start = time.perf_counter()
    answer = httpx.get(f"{service.url}/builds/{kind}/sync", params=parameters, timeout=600)
    if answer.status_code != 200:
        raise RuntimeError(answer.text)
    return time.perf_counter() - start, answer.content


def exposures(service: Service) -> list[tuple[str, float, float]]:
    """Identifier and centre of exposures in the r band, well spread over the visits."""
    rows = pyvo.dal.TAPService(f"{service.url}/tap").search(
        "SELECT obs_publisher_did, s_ra, s_dec FROM ivoa.ObsCore "
        "WHERE calib_level = 2 AND lsst_band = 'r' ORDER BY lsst_detector, lsst_visit"
    )
    return [(str(r["obs_publisher_did"]), float(r["s_ra"]), float(r["s_dec"])) for r in rows]


def swarp_inputs(product: bytes, survey: Path, folder: Path) -> list[Path]:
    """The product's inputs as SWarp wants them: image and weight, uncompressed."""
    names = set()
    with fits.open(io.BytesIO(product)) as hdus:
        (folder / "out.head").write_text(hdus["IMAGE"].header.tostring(sep="\n"))
        table = hdus["INPUTS"].data
        column = next(c for c in table.names if c.lower() in {"dataset_id", "input_id", "id"})
        names = {str(v).rsplit("/", 1)[-1].rsplit("?", 1)[-1] for v in table[column]}
    paths = []
    for path in sorted(survey.rglob("*.fits")):
        if not any(path.stem.lower() in name.lower() for name in names):
            continue
        with fits.open(path) as hdus:
            header = fits.Header(hdus["IMAGE"].header)
            good = (hdus["MASK"].data & 0b11011) == 0
            weight = np.where(good, 1 / hdus["VARIANCE"].data, 0).astype(np.float32)
            plain = folder / path.name
            fits.writeto(plain, np.nan_to_num(hdus["IMAGE"].data), header)
            fits.writeto(folder / f"{path.stem}.weight.fits", weight, header)
        paths.append(plain)
    return paths


def swarp_seconds(product: bytes, survey: Path) -> float | None:
    """Median seconds of SWarp for the same template; None where it is not installed."""
    program = shutil.which("SWarp") or shutil.which("swarp")
    if program is None:
        return None
    folder = Path(tempfile.mkdtemp(prefix="skyloom-swarp-"))
    try:
        paths = swarp_inputs(product, survey, folder)
        command = [program, *map(str, paths), "-IMAGEOUT_NAME", str(folder / "out.fits")]
        command += ["-WEIGHTOUT_NAME", str(folder / "out.weight.fits"), "-WEIGHT_TYPE"]
        command += ["MAP_WEIGHT", "-COMBINE_TYPE", "CLIPPED", "-RESAMPLING_TYPE", "LANCZOS3"]
        command += ["-SUBTRACT_BACK", "N", "-RESAMPLE_DIR", str(folder), "-WRITE_XML", "N"]
        command += ["-VERBOSE_TYPE", "QUIET", "-NTHREADS", "2"]
        times = []
        for _ in range(3):
            start = time.perf_counter()
            subprocess.run(command, check=True, cwd=folder, capture_output=True)
            times.append(time.perf_counter() - start)
        return median(times)
    finally:
        shutil.rmtree(folder)


def figures() -> Iterator[Figure]:
    """A fresh copy of the demo, so that nothing is built yet; workers warmed up by one build."""
    folder = Path(tempfile.mkdtemp(prefix="skyloom-builds-"))
    shutil.copytree(demo_survey(), folder, dirs_exist_ok=True)
    survey = demo_survey() / "survey"
    service = Service(data_dir=folder).start()
    try:
        found = exposures(service)
        cold, _ = ask(service, "template", ID=found[0][0])
        yield Figure(name="template, first build of a fresh server", ours=cold, unit="s")
        chosen = found[1 : 1 + REPEATS]
        templates = [ask(service, "template", ID=i) for i, _, _ in chosen]
        yield Figure(
            name="template on the grid of an exposure (demo)",
            ours=median(seconds for seconds, _ in templates),
            unit="s",
            peer_name="SWarp CLIPPED",
            peer=swarp_seconds(templates[0][1], survey),
        )
        differences = [ask(service, "difference", ID=i)[0] for i, _, _ in chosen]
        yield Figure(name="difference (demo)", ours=median(differences), unit="s")
        again = [ask(service, "difference", ID=i)[0] for i, _, _ in chosen]
        yield Figure(name="the same difference asked again", ours=median(again), unit="s")
    finally:
        service.stop()
        shutil.rmtree(folder)
