"""Difference images of pairs that ``make_pair.py`` simulates, scored by ``score.py``.

usage: python -m benchmarks.diffim [--tools DIR] [--seeds N] [--runs 5] [--long] [--peers]

``--tools`` (or TEMPLATE_TOOLS, or shared/bench/diffim beside the checkout) is the folder of
make_pair.py and score.py; pairs lie in the benchmarks' work folder between runs. Our path is
match, subtract, decorrelate on images in memory, at spatial order 2. ``score.py`` judges the plain
difference (stars and transients, whose PSF it knows) and the whitened one (blank sky), and beside
them the difference that the simulator's own kernel gives, in which there is nothing but noise.
``--long``
adds a pair of 4096 x 4096; ``--peers`` sfft and properimage, in environments of their own.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any, Final

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray
from scipy.signal import fftconvolve

from app.pixels.bands import thread_count
from app.pixels.decorrelate import Whitened, whiten
from app.pixels.image import MaskedImage, bits
from app.pixels.matching import match
from app.pixels.subtract import Difference, subtract
from app.workers.memory import WORKER_ENVIRONMENT
from benchmarks.figures import machine, workspace
from benchmarks.templates import TOOLS

SEEDS: Final = tuple(range(20260101, 20260111))
SCIENCE_FWHM_PX: Final = 5.0
TEMPLATE_FWHM_PX: Final = 3.5
ORDER: Final = 2
BORDER_PX: Final = 60
"""Sky nearer to the edge is not looked at, as in score.py."""
METRICS: Final = ("star_pool_rms", "star_chi_med", "flux_bias", "pull_mad")


@dataclass(frozen=True, slots=True)
class Pair:
    """A folder with a simulated science image, its template and the truth."""

    folder: Path

    @classmethod
    def made(cls, folder: Path, tools: Path, size: int, seed: int) -> Pair:
        """The pair of this size and seed, simulated unless it is there."""
        if not (folder / "truth.npz").exists():
            command = [sys.executable, str(tools / "make_pair.py"), str(folder)]
            given = ["--size", str(size), "--seed", str(seed)]
            subprocess.run([*command, *given], check=True, stdout=subprocess.DEVNULL)
        return cls(folder)

    def images(self) -> tuple[MaskedImage, MaskedImage]:
        """Science image and template."""
        return self._read("sci", SCIENCE_FWHM_PX), self._read("ref", TEMPLATE_FWHM_PX)

    def _read(self, name: str, fwhm_px: float) -> MaskedImage:
        flux, variance = (
            fits.getdata(self.folder / f"{name}{plane}.fits").astype(np.float32)
            for plane in ("", ".var")
        )
        saturated = fits.getdata(self.folder / f"{name}.mask.fits") > 0
        mask = np.where(saturated, bits("SAT"), 0).astype(np.int32)
        return MaskedImage(flux, variance, mask, fwhm_px=fwhm_px)


def difference(science: MaskedImage, template: MaskedImage) -> tuple[Difference, Whitened]:
    """The path that is timed, without the rescaling that would hide a wrong variance."""
    found = match(science, template, spatial_order=ORDER)
    plain = subtract(science, template, found, rescale_variance=False)
    return plain, whiten(plain, science, template, found)


def score(pair: Pair, tools: Path) -> dict[str, float]:
    """What score.py and the neighbours of blank pixels say about one pair."""
    science, template = pair.images()
    plain, white = difference(science, template)
    fits.writeto(pair.folder / "al.fits", plain.image.flux, overwrite=True)
    fits.writeto(pair.folder / "ideal.fits", _ideal(pair, tools), overwrite=True)
    fits.writeto(pair.folder / "white.fits", white.image.flux, overwrite=True)
    al, ideal = (_run_score(pair, tools, "al", name) for name in ("al", "ideal"))
    decorrelated = _run_score(pair, tools, "decorr", "white")
    pulls = white.image.flux / np.sqrt(white.image.variance)
    blank = _blank(science, template) & np.isfinite(pulls)
    pull = np.where(blank, pulls, 0.0)
    found = {name: al[name] for name in METRICS}
    found |= {f"ideal_{name}": ideal[name] for name in METRICS}
    found |= {"blank_std": decorrelated["blank_std"], "own_std": float(pulls[blank].std())}
    for name, axis in (("lag_y", 0), ("lag_x", 1)):
        both = blank & np.roll(blank, 1, axis)
        found[name] = float((pull * np.roll(pull, 1, axis))[both].mean() / pulls[blank].var())
    return found


def _ideal(pair: Pair, tools: Path) -> NDArray[np.float32]:
    """The difference that the true kernel and background would give: what noise alone does to the
    scores. Stars are gone, transients and the noise of both images, the template's convolved, stay.
    """
    pixels = {
        name: fits.getdata(pair.folder / f"{name}.fits").astype(np.float64)
        for name in ("sci", "ref", "sci.var", "ref.var")
    }
    simulator, judge = (module_of(tools / f"{name}.py") for name in ("make_pair", "score"))
    sky, truth = simulator.SKY + simulator.RN**2, np.load(pair.folder / "truth.npz")
    size = int(truth["n"])
    line = np.linspace(-1.0, 1.0, size)
    science = pixels["sci"] - (pixels["sci.var"] - sky) - (5 * line - 3 * line[:, None])
    template = pixels["ref"] - (simulator.NCOADD * pixels["ref.var"] - sky)
    kernel = judge.ideal_kernel(size)
    science -= fftconvolve(template, kernel, mode="same")
    x, y, flux = (np.ascontiguousarray(truth[name]) for name in ("tx", "ty", "tf"))
    psfs = simulator.sci_psf_par(x, y, size)
    simulator.add_moffat(science, x, y, flux, *psfs, simulator.BETA, 0.02)
    return science.astype(np.float32)


def module_of(path: Path) -> ModuleType:
    """One of the tools as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _run_score(pair: Pair, tools: Path, mode: str, name: str) -> dict[str, Any]:
    image = pair.folder / f"{name}.fits"
    done = subprocess.run(
        [sys.executable, tools / "score.py", pair.folder, image, "--mode", mode, "--tag", name],
        check=True,
        capture_output=True,
        text=True,
    )
    return dict(json.loads(done.stdout.split(name, 1)[1]))


def _blank(science: MaskedImage, template: MaskedImage) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Pixels without a source, by their (noiseless) variances, away from the edge."""
    sky = [np.float32(np.percentile(image.variance, 5)) for image in (science, template)]
    blank = np.zeros(science.shape, dtype=np.bool_)
    inner = np.s_[BORDER_PX:-BORDER_PX, BORDER_PX:-BORDER_PX]
    blank[inner] = ((science.variance < sky[0] + 10) & (template.variance < sky[1] + 1.2))[inner]
    return blank


def _score_pairs(pairs: list[Pair], tools: Path) -> None:
    rows = [score(pair, tools) for pair in pairs]
    names = list(rows[0])
    print(f"{'pair':<14}" + "".join(f"{name:>15}" for name in names))
    for pair, row in zip(pairs, rows, strict=True):
        print(f"{pair.folder.name:<14}" + "".join(f"{row[name]:>15.4f}" for name in names))
    for label, number in (("mean", np.mean), ("worst", lambda v: v[np.argmax(np.abs(v))])):
        values = [float(number([row[name] for row in rows])) for name in names]
        print(f"{label:<14}" + "".join(f"{value:>15.4f}" for value in values))


def time_path(pair: Pair, runs: int) -> dict[str, float]:
    """Seconds of the first call in a process, on a corner of the pair, and of warm ones on all of
    it, wall and CPU; peak bytes for each pixel, which count both inputs and all results.

    To be run in a process of its own, which keeps freed memory as those of builds do.
    """
    corners = [_corner(image) for image in pair.images()]
    start = time.perf_counter()
    difference(*corners)
    first = time.perf_counter() - start
    base = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    images = pair.images()
    walls, cpus = [], []
    for _ in range(runs + 1):
        start, busy = time.perf_counter(), time.process_time()
        difference(*images)
        walls.append(time.perf_counter() - start)
        cpus.append(time.process_time() - busy)
    peak = (_resident("VmHWM") - base) / images[0].flux.size
    return {"first": first, "wall": median(walls[1:]), "cpu": median(cpus[1:]), "bytes": peak}


def _corner(image: MaskedImage, size: int = 512) -> MaskedImage:
    part = np.s_[:size, :size]
    return replace(
        image,
        flux=image.flux[part].copy(),
        variance=image.variance[part].copy(),
        mask=image.mask[part].copy(),
    )


def _resident(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name + ":"))


def _time_apart(pair: Pair, runs: int) -> None:
    command = [sys.executable, "-m", "benchmarks.diffim", "--only", str(pair.folder)]
    done = subprocess.run(
        [*command, "--runs", str(runs)],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | WORKER_ENVIRONMENT,
    )
    found = json.loads(done.stdout)
    print(
        f"{pair.folder.name}: warm {found['wall']:.3f} s wall, {found['cpu']:.3f} s CPU; "
        f"first call in a process {found['first']:.2f} s; peak {found['bytes']:.0f} bytes/px"
    )


PEERS: Final = {
    "sfft": ("run_sfft.py", ("sfft==1.7.3", "numpy<2.4"), ("--mode", "custom")),
    "properimage": (
        "run_properimage.py",
        ("setuptools<70", "wheel", "tinynpydb", "properimage==0.7.2", "numpy<2"),
        (),
    ),
}
"""Script of the tools folder, what it needs, and how it is run."""


def _run_peer(name: str, pair: Pair, tools: Path, folder: Path) -> None:
    """Install and run one peer on a pair; print its time, start included, and its scores."""
    script, needs, options = PEERS[name]
    python = folder / f"{name}-venv" / "bin" / "python"
    ours = ("PYTHONPATH", "NUMBA_CACHE_LOCATOR_CLASSES")
    clean = {key: value for key, value in os.environ.items() if key not in ours}
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", python.parents[1]], check=True)
        for need in needs:
            install = [str(python), "-m", "pip", "install", "-q", "--no-build-isolation"]
            if subprocess.run([*install, need, needs[-1]], check=False, env=clean).returncode:
                print(f"{name}: not installable here")
                return
    out = pair.folder / f"{name}.fits"
    start = time.perf_counter()
    command = [str(python), str(tools / script), str(pair.folder), str(out), *options]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=clean)
    seconds = time.perf_counter() - start
    if done.returncode:
        print(f"{name}: failed: {done.stderr.strip().splitlines()[-1]}")
        return
    calibrate = ["--calib"] if name == "properimage" else []
    scored = subprocess.run(
        [sys.executable, tools / "score.py", pair.folder, out, "--tag", name, *calibrate],
        check=True,
        capture_output=True,
        text=True,
    )
    values = json.loads(scored.stdout.split(name, 1)[1].split(".fits", 1)[-1])
    text = ", ".join(f"{key} {values[key]:.4f}" for key in ("blank_std", *METRICS))
    print(f"{name}: {seconds:.1f} s; {text}", flush=True)


def main() -> None:
    """Simulate, score, time; see the top of the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tools", type=Path, default=os.environ.get("TEMPLATE_TOOLS", TOOLS))
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="how many of the ten")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--long", action="store_true", help="4096 x 4096 too")
    parser.add_argument("--peers", action="store_true", help="sfft and properimage (minutes)")
    parser.add_argument("--only", type=Path, help="time the pair of this folder and print JSON")
    options = parser.parse_args()
    if options.only:
        print(json.dumps(time_path(Pair(options.only), options.runs)))
        return
    print(machine(), f"{thread_count()} threads", flush=True)
    folder, tools = workspace() / "diffim", Path(options.tools)
    pairs = [
        Pair.made(folder / f"p2k_{seed}", tools, 2048, seed) for seed in SEEDS[: options.seeds]
    ]
    timed = pairs[:1]
    if options.long:
        timed = [*timed, Pair.made(folder / "p4k", tools, 4096, SEEDS[0])]
    for pair in timed:
        _time_apart(pair, options.runs)
    _score_pairs(pairs + timed[1:], tools)
    if options.peers:
        for name in PEERS:
            _run_peer(name, pairs[0], tools, folder)


if __name__ == "__main__":
    main()
