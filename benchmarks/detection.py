"""Sources found on difference images of pairs that ``make_pair.py`` simulates, against the truth.

usage: python -m benchmarks.detection [--tools DIR] [--size 2048] [--seeds N] [--runs 5]

Beside the pair's own transients each pair gets faint ones, whose true flux is 6 times the error of
a PSF flux there, and stars that stand elsewhere on the template, both far from other sources. Told
are how many of them are found, how many dipoles are flagged, what else was found that is trusted
(reliability of at least 0.5) or not, and pulls of fluxes and places; then what is found beyond
several thresholds, beside what the best of searches would find and how many peaks noise alone has;
and the time of detection and of all with measurement. ``sep``, where it is installed, finds sources
on the same difference with a Gaussian filter.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from app.pixels.background import sky_level
from app.pixels.decorrelate import filtered_psf
from app.pixels.dia_images import DiaImages, Layer
from app.pixels.dia_measure import MILD_FLAGS
from app.pixels.dia_score import Noise, noise_of, score_image
from app.pixels.dia_sources import DiaSource, find_dia_sources
from app.pixels.image import MaskedImage
from app.pixels.psf import measure_psf_field
from app.pixels.psf_coadd import CoaddPsf
from benchmarks.diffim import SEEDS, Pair, difference, module_of
from benchmarks.figures import machine, workspace
from benchmarks.templates import TOOLS

Floats = NDArray[np.float64]

FAINT: Final = 120
FAINT_SIGMA: Final = 6.0
MOVED: Final = 20
MOVED_FLUX: Final = (1e4, 1e5)
MOVED_PX: Final = (0.7, 5.0)
CLEAR_PX: Final = 40.0
FOUND_WITHIN_PX: Final = 2.5
TRUSTED: Final = 0.5
TRANSPARENCY: Final = 0.95
FALSE: Final = ("false", "doubted", "faultless")
"""Sources where nothing is: those that are trusted, those that are not, and those of both that have
no fault but, if any, their height."""
THRESHOLDS: Final = (4.2, 4.4, 4.6, 4.8, 5.0, 5.2, 5.5)


@dataclass(frozen=True, slots=True)
class Truth:
    """What changed: ``transients`` of the pair and ``faint`` ones (x, y, flux), and ``moved`` stars
    (x, y in the middle between both places, flux)."""

    transients: Floats
    faint: Floats
    moved: Floats


def injected(
    pair: Pair, simulator: ModuleType, seed: int
) -> tuple[MaskedImage, MaskedImage, Truth]:
    """The images of a pair with more that changes, by the simulator's own PSFs."""
    science, template = pair.images()
    known = np.load(pair.folder / "truth.npz")
    rng, size = np.random.default_rng(seed), int(known["n"])
    scale = (size / 2048) ** 2
    stars = np.stack([known["xs"], known["ys"]], axis=1)
    transients = np.stack([known["tx"], known["ty"], known["tf"]], axis=1)
    places = _clear(
        rng, size, round((FAINT + MOVED) * scale), np.vstack([stars, transients[:, :2]])
    )
    x, y = places[: round(FAINT * scale)].T
    fwhm, *_ = simulator.sci_psf_par(x, y, size)
    noise = np.sqrt(np.median(science.variance) + np.median(template.variance))
    flux = FAINT_SIGMA * noise * np.sqrt(_moffat_area(fwhm))
    science = _add(science, simulator, simulator.sci_psf_par, x, y, flux, rng)
    faint = np.stack([x, y, flux], axis=1)
    x, y = places[round(FAINT * scale) :].T
    flux = np.exp(rng.uniform(*np.log(MOVED_FLUX), len(x)))
    step, angle = rng.uniform(*MOVED_PX, len(x)), rng.uniform(0, 2 * np.pi, len(x))
    dx, dy = 0.5 * step * np.cos(angle), 0.5 * step * np.sin(angle)
    now, before = (simulator.sci_psf_par, simulator.ref_psf_par)
    science = _add(science, simulator, now, x + dx, y + dy, TRANSPARENCY * flux, rng)
    template = _add(template, simulator, before, x - dx, y - dy, flux, rng, simulator.NCOADD)
    return science, template, Truth(transients, faint, np.stack([x, y, flux], axis=1))


def _clear(rng: np.random.Generator, size: int, count: int, others: Floats) -> Floats:
    """Places far from others and from one another."""
    taken = others
    while len(taken) < len(others) + count:
        place = rng.uniform(60, size - 61, 2)
        if np.hypot(*(taken - place).T).min() > CLEAR_PX:
            taken = np.vstack([taken, place])
    return taken[len(others) :]


def _moffat_area(fwhm_px: Floats, beta: float = 3.5) -> Floats:
    """Noise-equivalent area of a Moffat profile (px²)."""
    alpha = fwhm_px / (2 * np.sqrt(2 ** (1 / beta) - 1))
    area: Floats = np.pi * alpha**2 * (2 * beta - 1) / (beta - 1) ** 2
    return area


def _add(
    image: MaskedImage,
    simulator: ModuleType,
    psf: Callable[..., tuple[Floats, Floats, Floats]],
    x: Floats,
    y: Floats,
    flux: Floats,
    rng: np.random.Generator,
    visits: int = 1,
) -> MaskedImage:
    """``image`` with Moffat stars and their photon noise."""
    new = np.zeros(image.shape)
    fwhm, e1, e2 = psf(x, y, image.shape[0])
    simulator.add_moffat.py_func(new, x, y, flux, fwhm, e1, e2, simulator.BETA, 0.02)
    noisy = rng.poisson(visits * new) / visits
    return replace(
        image,
        flux=(image.flux + noisy).astype(np.float32),
        variance=(image.variance + new / visits).astype(np.float32),
    )


def layers_of(science: MaskedImage, template: MaskedImage) -> DiaImages:
    """The difference as a build makes it, with the PSF that the stars show."""
    field = measure_psf_field(science)
    assert field is not None
    every = round(1.0 / field.sampling)
    first = field.stamps.shape[1] // 2 % every
    at_pixels = replace(field, stamps=field.stamps[:, first::every, first::every], sampling=1.0)
    psf = CoaddPsf.of_one(at_pixels, science.shape)
    plain, white = difference(science, template)
    return DiaImages(
        Layer(white.image, filtered_psf(psf, white.psi, (0.0, 0.0))),
        Layer(science, psf, sky_level(science).mean),
        Layer(plain.matched_template, psf),
    )


def judge(sources: tuple[DiaSource, ...], truth: Truth) -> dict[str, float]:
    """Completeness, dipoles flagged, false sources and pulls of one pair."""
    at = np.array([(s.fit.x, s.fit.y) for s in sources])
    found: dict[str, float] = {}
    used: set[int] = set()
    pulls: list[tuple[float, float, float]] = []
    for name in ("transients", "faint"):
        rows = getattr(truth, name)
        hits = [_nearest(at, row[:2]) for row in rows]
        used.update(hit for hit in hits if hit is not None)
        found[name] = float(np.mean([hit is not None for hit in hits]))
        for row, hit in zip(rows, hits, strict=True):
            if hit is not None and name == "transients":
                fit = sources[hit].fit
                pulls.append(
                    (
                        (fit.x - row[0]) / fit.x_err,
                        (fit.y - row[1]) / fit.y_err,
                        (fit.flux - row[2]) / fit.flux_err,
                    )
                )
    hits = [_nearest(at, row[:2], 6.0) for row in truth.moved]
    used.update(int(n) for row in truth.moved for n in np.flatnonzero(_apart(at, row[:2]) < 10))
    found["dipoles"] = float(np.mean([h is not None and bool(sources[h].dipole) for h in hits]))
    rest = [s for n, s in enumerate(sources) if n not in used]
    found["false"] = sum(s.reliability >= TRUSTED for s in rest)
    found["doubted"] = len(rest) - found["false"]
    found["faultless"] = sum(_is_faultless(each) for each in rest)
    low, middle, high = np.percentile(pulls, [16, 50, 84], axis=0)
    for n, name in enumerate(("x", "y", "flux")):
        found[f"pull_{name}"] = float(0.5 * (high - low)[n])
        found[f"bias_{name}"] = float(middle[n])
    return found


def _is_faultless(source: DiaSource) -> bool:
    """Whether nothing but its height speaks against a source."""
    told = not source.flags - MILD_FLAGS and source.dipole is None
    return told and source.fit.reduced_chi2 * TRUSTED < 1.0


def curve(sources: tuple[DiaSource, ...], truth: Truth) -> Floats:
    """For each of THRESHOLDS: shares found of the pair's transients and of the faint ones, by
    anything and by what is trusted, and how many false sources are trusted, not, and faultless."""
    rows = []
    for threshold in THRESHOLDS:
        found = tuple(each for each in sources if abs(each.score) >= threshold)
        trusted = tuple(each for each in found if each.reliability >= TRUSTED)
        all_of, of_trusted = judge(found, truth), judge(trusted, truth)
        shares = [each[name] for name in ("transients", "faint") for each in (all_of, of_trusted)]
        rows.append([*shares, *(all_of[name] for name in FALSE)])
    return np.array(rows)


def _print_curve(curves: list[Floats], noise: Noise, pixels: int) -> None:
    names = ("transients", "trusted", "6 sigma", "trusted", *FALSE)
    ideal = ("ideal", "noise")
    print(f"{'beyond':<8}" + "".join(f"{name:>12}" for name in (*names, *ideal)))
    for threshold, row in zip(THRESHOLDS, np.mean(curves, axis=0), strict=True):
        best = float(ndtr(np.hypot(FAINT_SIGMA, np.sqrt(2.0)) - threshold))
        chance = pixels * noise.peaks(threshold)
        told = "".join(f"{value:>12.3f}" for value in (*row, best, chance))
        print(f"{threshold:<8.1f}{told}")


def _apart(at: Floats, place: Floats) -> Floats:
    distance: Floats = np.hypot(*(at - place).T)
    return distance


def _nearest(at: Floats, place: Floats, within_px: float = FOUND_WITHIN_PX) -> int | None:
    distance = _apart(at, place)
    return int(distance.argmin()) if distance.min() < within_px else None


def _time(layers: DiaImages, runs: int) -> None:
    def timed(task: Callable[[], object]) -> tuple[float, float]:
        walls, cpus = [], []
        for _ in range(runs):
            start, busy = time.perf_counter(), time.process_time()
            task()
            walls.append(time.perf_counter() - start)
            cpus.append(time.process_time() - busy)
        return median(walls), median(cpus)

    tasks: dict[str, Callable[[], Any]] = {
        "score image": lambda: score_image(layers.difference),
        "found and measured": lambda: find_dia_sources(layers),
    }
    try:
        tasks["sep, Gaussian matched filter"] = _sep(layers)
    except ImportError:
        print("[sep: not on this machine]")
    for name, task in tasks.items():
        wall, cpu = timed(task)
        print(f"{name:<32} {wall:.3f} s wall, {cpu:.3f} s CPU")
    print(f"sources: {len(find_dia_sources(layers).sources)}")


def _sep(layers: DiaImages) -> Callable[[], Any]:
    import sep

    image = layers.difference.image
    flux = np.ascontiguousarray(np.nan_to_num(image.flux))
    error = np.sqrt(np.nan_to_num(image.variance, nan=1e12))
    u = np.arange(-7, 8)
    line = np.exp(-0.5 * (u / layers.difference.sigma_px) ** 2)
    kernel = np.outer(line, line).astype(np.float32)
    return lambda: sep.extract(
        flux, 5.0, err=error, filter_kernel=kernel, filter_type="matched", minarea=1
    )


def main() -> None:
    """Judge the pairs, then time on the last."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tools", type=Path, default=TOOLS)
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--seeds", type=int, default=len(SEEDS))
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    print(machine())
    simulator, rows, curves = module_of(given.tools / "make_pair.py"), [], []
    for seed in SEEDS[: given.seeds]:
        name = f"pair-{given.size}-{seed}"
        pair = Pair.made(workspace() / name, given.tools, given.size, seed)
        science, template, truth = injected(pair, simulator, seed)
        layers = layers_of(science, template)
        rows.append(judge(find_dia_sources(layers).sources, truth))
        curves.append(curve(find_dia_sources(layers, threshold=THRESHOLDS[0]).sources, truth))
        if len(rows) == 1:
            print(f"{'pair':<20}" + "".join(f"{key:>11}" for key in rows[0]))
        print(f"{name:<20}" + "".join(f"{value:>11.3f}" for value in rows[-1].values()), flush=True)
    print(f"{'mean':<20}" + "".join(f"{np.mean([r[k] for r in rows]):>11.3f}" for k in rows[0]))
    _print_curve(curves, noise_of(layers.difference, 1.0), layers.difference.image.flux.size)
    _time(layers, given.runs)


if __name__ == "__main__":
    main()
