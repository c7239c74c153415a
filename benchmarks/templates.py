"""Warps and coadds beside SWarp and reproject, on exposures that ``make_stack.py`` simulates.

usage: python -m benchmarks.templates [--tools DIR] [--runs 3] [--size 2048] [--long]

``--tools`` (or TEMPLATE_TOOLS, or shared/bench/diffim beside the checkout) is the folder of
make_stack.py and run_swarp.sh; data lie in the benchmarks' work folder between runs. SWarp is run
when it is installed, reproject in an environment of its own that is made beside the data. Every
round runs each tool once; medians are printed, and beside the times the fluxes of isolated stars
against the truth and the scatter of blank sky against the variance. ``--long`` adds a warp of four
times the pixels, the same coadd with SafeClip and compare-warp, and the times for 16, 64 and 256
exposures of a quarter of the pixels.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from app.pixels.background import sky_level
from app.pixels.bands import limit_threads, thread_count
from app.pixels.coadd import coadd
from app.pixels.grid import Grid
from app.pixels.image import MaskedImage
from app.pixels.mapping import map_pixels
from app.pixels.warp import warp, warp_window, widened
from app.pixels.warped import InMemory, in_memory
from app.recipes.photometry import NANOJANSKY_ZERO_POINT_MAG, flux_factor
from app.recipes.recipe import (
    BuildPlan,
    ImageRef,
    PlaneRef,
    Recipe,
    Statistic,
    TemplateOptions,
)
from app.stores.fits_layout import product_fits
from app.stores.images import ImageStore
from app.stores.warps import WarpStore
from app.workers.memory import WORKER_ENVIRONMENT
from app.workers.tasks import build
from app.workers.work import Limits
from benchmarks.figures import interleaved, machine, workspace
from benchmarks.pixels import tan_grid

Floats = NDArray[np.float64]
TOOLS = Path(__file__).resolve().parents[2] / "shared" / "bench" / "diffim"
REPROJECT = """
import sys, time, numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from reproject import reproject_interp
from reproject.mosaicking import reproject_and_coadd
task, data, out = sys.argv[1:4]
target = fits.Header.fromtextfile(data + '/target.hdr')
shape = target['NAXIS2'], target['NAXIS1']
names = [f'{data}/im_{n:02d}' for n in range(1 if task == 'warp' else int(sys.argv[4]))]
heads = [fits.getheader(name + '.fits') for name in names]
if task == 'warp':
    pair = fits.getdata(names[0] + '.fits').astype('f4'), WCS(heads[0])
    start = time.perf_counter()
    result, _ = reproject_interp(pair, WCS(target), shape, order='bicubic', roundtrip_coords=False)
else:
    start = time.perf_counter()
    pairs = [(fits.getdata(name + '.fits').astype('f4') * head['FLXSCALE'], WCS(head))
             for name, head in zip(names, heads)]
    weights = [fits.getdata(name + '.weight.fits') for name in names]
    result, _ = reproject_and_coadd(pairs, WCS(target), shape_out=shape, input_weights=weights,
                                    reproject_function=reproject_interp, combine_function='mean')
print(time.perf_counter() - start)
fits.writeto(out, result.astype('f4'), target, overwrite=True)
"""


@dataclass
class Row:
    """One tool at one task: seconds of each round, and what its result is worth."""

    task: str
    tool: str
    seconds: list[float] = field(default_factory=list)
    quality: str = ""


class Stack:
    """A folder of simulated exposures with its truth."""

    def __init__(self, folder: Path, tools: Path, count: int, size: int) -> None:
        self.folder, self.count = folder, count
        if not (folder / "truth.npz").exists():
            command = [sys.executable, str(tools / "make_stack.py"), str(folder)]
            subprocess.run([*command, "--n", str(count), "--size", str(size)], check=True)
        header = fits.Header.fromtextfile(folder / "target.hdr")
        self.grid = Grid.from_header(header, (header["NAXIS2"], header["NAXIS1"]))
        self.truth = np.load(folder / "truth.npz")

    def path(self, number: int) -> Path:
        """An exposure's file."""
        return self.folder / f"im_{number % self.count:02d}.fits"

    def ref(self, number: int) -> ImageRef:
        """An exposure as the input of a build."""
        path = self.path(number)
        header = fits.getheader(path)
        shape = (header["NAXIS2"], header["NAXIS1"])
        grid = Grid.from_header(header, shape)
        return ImageRef(
            dataset_id=f"ivo://bench/stack?{number}",
            planes=(
                PlaneRef(path=str(path), hdu=0, role="image"),
                PlaneRef(path=str(path.with_suffix(".weight.fits")), hdu=0, role="weight"),
            ),
            grid=grid.to_text(),
            band="r",
            fwhm_arcsec=header["FWHM"] * grid.pixel_scale_arcsec,
            zero_point_mag=NANOJANSKY_ZERO_POINT_MAG - 2.5 * math.log10(header["FLXSCALE"]),
            checksum=str(number),
        )

    def image(self, number: int) -> MaskedImage:
        """An exposure as it is stored."""
        return ImageStore(data_dir=Path("/")).read(self.ref(number))

    def score(self, flux: Floats, variance: Floats | None = None, scale: float = 1.0) -> str:
        """Bias of isolated stars' fluxes in an aperture and the scatter of blank sky.

        The truth in the same aperture is that of a noiseless Moffat star, so tools are compared
        with each other: the median over stars of flux / truth, and its error.
        """
        ratios = np.array([self._ratio(flux, index) for index in self._isolated()]) * scale
        good = ratios[np.isfinite(ratios)]
        bias, error = np.median(good), 1.2533 * good.std() / math.sqrt(len(good))
        text = f"flux {bias:.4f} +- {error:.4f} ({len(good)} stars)"
        blank = self._blank(flux.shape) & np.isfinite(flux)
        if variance is not None:
            pull = flux[blank] / np.sqrt(variance[blank])
            text += f", sky scatter / sqrt(variance) {_robust(pull):.3f}"
            text += f", in 8 px boxes {_box_ratio(flux, variance, blank):.3f}"
            return text
        return text + f", sky scatter {_robust(flux[blank]) * scale:.2f}"

    def _isolated(self) -> NDArray[np.intp]:
        x, y, total = (self.truth[name] for name in ("xs", "ys", "fs"))
        n = int(self.truth["n"])
        inside = (np.minimum(x, y) > 60) & (np.maximum(x, y) < n - 60)
        chosen = np.flatnonzero(inside & (total > 2e4) & (total < 3e5))
        apart = [
            index
            for index in chosen
            if (total[np.hypot(x - x[index], y - y[index]) < 30].sum() < 1.003 * total[index])
        ]
        return np.array(apart, dtype=np.intp)

    def _ratio(self, flux: Floats, index: int) -> float:
        x, y, total = (float(self.truth[name][index]) for name in ("xs", "ys", "fs"))
        column, row, reach = round(x), round(y), 20
        part = flux[row - reach : row + reach + 1, column - reach : column + reach + 1]
        v, u = np.mgrid[-reach : reach + 1, -reach : reach + 1]
        distance = np.hypot(u + column - x, v + row - y)
        sky = np.nanmedian(part[distance > 16])
        return float((part[distance < 14] - sky).sum() / total)

    def _blank(self, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        blank = np.ones(shape, dtype=np.bool_)
        blank[:100], blank[-100:], blank[:, :100], blank[:, -100:] = False, False, False, False
        for x, y, total in zip(*(self.truth[name] for name in ("xs", "ys", "fs")), strict=True):
            reach = int(10 + 6 * max(0.0, math.log10(total / 500.0)) ** 2)
            rows = slice(max(0, int(y) - reach), max(0, int(y) + reach + 1))
            blank[rows, max(0, int(x) - reach) : max(0, int(x) + reach + 1)] = False
        return blank


def _robust(values: Floats) -> float:
    low, high = np.percentile(values, [25, 75])
    return float(0.7413 * (high - low))


def _box_ratio(flux: Floats, variance: Floats, blank: NDArray[np.bool_], side: int = 8) -> float:
    """Scatter of sums over blank boxes in units of the root of the summed variances."""
    ny, nx = (size // side * side for size in flux.shape)

    def boxes(plane: NDArray[Any]) -> NDArray[Any]:
        return plane[:ny, :nx].reshape(ny // side, side, nx // side, side).swapaxes(1, 2)

    whole = boxes(blank).all(axis=(2, 3))
    sums, noise = boxes(flux)[whole].sum(axis=(1, 2)), boxes(variance)[whole].sum(axis=(1, 2))
    return _robust(sums / np.sqrt(noise))


def _clocked(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def build_template(stack: Stack, count: int, out: Path, statistic: Statistic = "meanclip") -> Path:
    """A coadd by the very task that a worker runs, without any cache."""
    refs = tuple(stack.ref(number) for number in range(count))
    recipe = Recipe(
        kind="template",
        band="r",
        template=TemplateOptions(statistic=statistic),
        grid=stack.grid.to_text(),
        inputs=tuple((ref.dataset_id, ref.checksum) for ref in refs),
    )
    path = out / "template.fits"
    plan = BuildPlan(recipe=recipe, dataset_id="ivo://bench/t", output_path=str(path), inputs=refs)
    build(
        plan,
        lambda: False,
        lambda *_: None,
        ImageStore(data_dir=Path("/")),
        WarpStore(folder=out / "warps", max_bytes=0),
        Limits(),
    )
    return path


def stack_pixels(stack: Stack, count: int, out: Path) -> Path:
    """What the peers do and no more: images and weights read, sky off, warped, clipped, written
    with variance and mask. No PSF, no input map, no warp kept."""
    images = ImageStore(data_dir=out)

    def warped(number: int) -> InMemory:
        ref = stack.ref(number)
        image = replace(images.read(ref), zero_point_mag=NANOJANSKY_ZERO_POINT_MAG)
        sky, scale = sky_level(image).mean, flux_factor(ref, NANOJANSKY_ZERO_POINT_MAG)
        with limit_threads(1):
            window = warp_window(image, Grid.from_text(ref.grid), stack.grid, sky=sky, scale=scale)
        assert window is not None
        return InMemory.of(widened(window, stack.grid.shape), window.bounds)

    with ThreadPoolExecutor(thread_count()) as pool:
        combined = coadd(list(pool.map(warped, range(count))))
    path = out / "pixels.fits"
    images.write(str(path), product_fits(combined.image, stack.grid, [], [{"inputs": count}]))
    return path


class Peers:
    """The other tools, where they are installed."""

    def __init__(self, tools: Path, folder: Path) -> None:
        self._tools = tools
        self._folder = folder
        self.swarp = shutil.which("SWarp") is not None
        self._python = folder / "reproject-venv" / "bin" / "python"
        self.reproject = self._has_reproject()

    def run_swarp(self, stack: Stack, count: int, combine: str) -> tuple[float, Path]:
        """Seconds, start and files included, and the result."""
        out = self._folder / f"swarp_{combine}.fits"
        script = ["sh", str(self._tools / "run_swarp.sh"), str(stack.folder), str(out)]
        command = [*script, str(count), combine, "2"]
        return _clocked(lambda: subprocess.run(command, check=True)), out

    def run_reproject(self, stack: Stack, task: str, count: int) -> tuple[float, Path]:
        """Seconds without start and, of a warp, without files; and the result."""
        out = self._folder / f"reproject_{task}.fits"
        command = [str(self._python), "-c", REPROJECT, task, str(stack.folder), str(out)]
        done = subprocess.run(
            [*command, str(count)], check=True, capture_output=True, text=True, env=_clean()
        )
        return float(done.stdout.split()[-1]), out

    def _has_reproject(self) -> bool:
        if not self._python.exists():
            subprocess.run([sys.executable, "-m", "venv", self._python.parents[1]], check=True)
        install = [str(self._python), "-m", "pip", "install", "-q", "reproject"]
        return subprocess.run(install, check=False, env=_clean()).returncode == 0


def _clean() -> dict[str, str]:
    ours = ("PYTHONPATH", "NUMBA_CACHE_LOCATOR_CLASSES")
    return {name: value for name, value in os.environ.items() if name not in ours}


def time_warps(stack: Stack, peers: Peers, runs: int) -> list[Row]:
    """One exposure onto a grid turned by some 20 degrees."""
    image, source = stack.image(0), Grid.from_text(stack.ref(0).grid)
    scale = float(fits.getheader(stack.path(0))["FLXSCALE"])
    ours, swarp, other = Row("warp", "Skyloom"), Row("warp", "SWarp"), Row("warp", "reproject")
    warped = warp(image, source, stack.grid)
    ours.quality = stack.score(warped.flux * scale, warped.variance * scale**2)
    for _ in range(runs):
        ours.seconds.append(_clocked(lambda: warp(image, source, stack.grid)))
        if peers.swarp:
            swarp.seconds.append(peers.run_swarp(stack, 1, "N")[0])
        if peers.reproject:
            seconds, result = peers.run_reproject(stack, "warp", 1)
            other.seconds.append(seconds)
    if peers.reproject:
        other.quality = stack.score(fits.getdata(result).astype(np.float64), scale=scale)
    return [ours, swarp, other]


def time_coadds(stack: Stack, peers: Peers, runs: int, out: Path) -> list[Row]:
    """All exposures, clipped, from files to a file: their pixels, and all that a product has."""
    task = f"coadd of {stack.count}"
    ours, product = Row(task, "Skyloom, pixels alone"), Row(task, "Skyloom, the whole product")
    swarp, other = Row(task, "SWarp CLIPPED"), Row(task, "reproject_and_coadd mean")
    stack_pixels(stack, stack.count, out)
    build_template(stack, stack.count, out)
    for number in range(runs):
        ours.seconds.append(_clocked(lambda: stack_pixels(stack, stack.count, out)))
        product.seconds.append(_clocked(lambda: build_template(stack, stack.count, out)))
        if peers.swarp:
            seconds, clipped = peers.run_swarp(stack, stack.count, "CLIPPED")
            swarp.seconds.append(seconds)
        if peers.reproject and number == 0:  # minutes
            seconds, mean = peers.run_reproject(stack, "coadd", stack.count)
            other.seconds.append(seconds)
    for row, name in ((ours, "pixels.fits"), (product, "template.fits")):
        with fits.open(out / name) as hdus:
            row.quality = stack.score(
                hdus["IMAGE"].data.astype(np.float64), hdus["VARIANCE"].data.astype(np.float64)
            )
    if peers.swarp:
        weight = fits.getdata(clipped.with_suffix(".weight.fits")).astype(np.float64)
        with np.errstate(divide="ignore"):
            swarp.quality = stack.score(fits.getdata(clipped).astype(np.float64), 1.0 / weight)
    if peers.reproject:
        other.quality = stack.score(fits.getdata(mean).astype(np.float64))
    return [ours, product, swarp, other]


def time_stack_step(stack: Stack, runs: int) -> str:
    """The clipped mean alone, of warps in memory."""
    images = []
    for number in range(stack.count):
        source = Grid.from_text(stack.ref(number).grid)
        scale = float(fits.getheader(stack.path(number))["FLXSCALE"])
        one = warp(stack.image(number), source, stack.grid)
        images.append(
            MaskedImage(
                one.flux * np.float32(scale),
                one.variance * np.float32(scale**2),
                one.mask,
                fwhm_px=one.fwhm_px,
            )
        )
    inputs = in_memory(images)
    coadd(inputs)
    seconds = median(_clocked(lambda: coadd(inputs)) for _ in range(runs))
    megapixels = len(inputs) * images[0].flux.size / 1e6
    return f"stack step alone, clipped: {seconds:.3f} s, {megapixels / seconds:.0f} input-Mpix/s"


def time_large_warp(runs: int) -> str:
    """4096 x 4096 pixels with flux, variance and mask, turned by 20 degrees."""
    size = 4096
    source, target = tan_grid(size, 20.0), tan_grid(size, 0.0)
    flux = np.random.default_rng(1).normal(size=(size, size)).astype(np.float32)
    image = MaskedImage(flux, np.ones_like(flux), np.zeros((size, size), np.int32))
    warp(image, source, target)
    seconds = median(_clocked(lambda: warp(image, source, target)) for _ in range(3 * runs))
    return f"warp of {size} px, all planes: {seconds:.3f} s, {size**2 / 1e6 / seconds:.0f} Mpix/s"


def time_rejections(stack: Stack, runs: int, out: Path) -> str:
    """The whole product by each way to leave out what does not belong there, in turns."""
    ways: tuple[Statistic, ...] = ("meanclip", "safeclip", "comparewarp")
    calls = {way: partial(build_template, stack, stack.count, out, way) for way in ways}
    for call in calls.values():
        call()
    times = interleaved(runs, **calls)
    told = [f"{way} {times[way]:.2f} s ({times[way] / times[ways[0]]:.2f} x)" for way in ways]
    return f"coadd of {stack.count}, the whole product: {', '.join(told)}"


def position_error(stack: Stack) -> float:
    """Largest error (px) of interpolated source positions at random target pixels."""
    source = Grid.from_text(stack.ref(0).grid)
    pixel_map = map_pixels(source, stack.grid)
    assert pixel_map is not None
    rng = np.random.default_rng(1)
    ny, nx = pixel_map.shape
    x, y = rng.uniform(0, nx - 1, 20_000), rng.uniform(0, ny - 1, 20_000)
    sky = stack.grid.pixel_to_sky(x + pixel_map.x_start, y + pixel_map.y_start)
    worst = 0.0
    for nodes, truth in zip((pixel_map.x, pixel_map.y), source.sky_to_pixel(*sky), strict=True):
        i, j = (x / pixel_map.step_px).astype(int), (y / pixel_map.step_px).astype(int)
        a, b = x / pixel_map.step_px - i, y / pixel_map.step_px - j
        low = nodes[j, i] * (1 - a) + nodes[j, i + 1] * a
        high = nodes[j + 1, i] * (1 - a) + nodes[j + 1, i + 1] * a
        worst = max(worst, float(np.abs(low * (1 - b) + high * b - truth).max()))
    return worst


def in_a_process(stack: Stack, count: int, out: Path) -> dict[str, float]:
    """Seconds of a warm build and the peak memory (MB, imports included) of its process."""
    command = [sys.executable, "-m", "benchmarks.templates", "--one", str(stack.folder)]
    done = subprocess.run(
        [*command, str(count), str(out)], check=True, capture_output=True, text=True
    )
    figures: dict[str, float] = json.loads(done.stdout.split("\n")[-2])
    return figures


def one_process(folder: Path, count: int, out: Path) -> None:
    """Build once with a few exposures to compile, then in earnest; print the figures."""
    stack = Stack(folder, folder, len(list(folder.glob("im_??.fits"))), 0)
    build_template(stack, 2, out)
    seconds = _clocked(lambda: build_template(stack, count, out))
    status = Path("/proc/self/status").read_text()  # rusage would count the parent's memory too
    peak_kb = int(status.split("VmHWM:")[1].split()[0])
    print(json.dumps({"seconds": seconds, "peak_mb": peak_kb / 1024}))


def _as_a_worker() -> None:
    """Start anew with the environment that worker processes have, which is read at the start."""
    if WORKER_ENVIRONMENT.items() - os.environ.items():
        command = [sys.executable, "-m", "benchmarks.templates", *sys.argv[1:]]
        os.execve(sys.executable, command, {**os.environ, **WORKER_ENVIRONMENT})


def show(rows: list[Row]) -> None:
    """A table for RESULTS.md, with ratios to ours."""
    ours = median(rows[0].seconds)
    for row in rows:
        if not row.seconds:
            print(f"| {row.task} | {row.tool} | not run | | |")
            continue
        seconds = median(row.seconds)
        print(
            f"| {row.task} | {row.tool} | {seconds:.3f} s | {seconds / ours:.1f} | {row.quality} |"
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tools", type=Path, default=os.environ.get("TEMPLATE_TOOLS", TOOLS))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        one_process(Path(options.one[0]), int(options.one[1]), Path(options.one[2]))
        return
    tools = Path(options.tools)
    if not (tools / "make_stack.py").exists():
        parser.error(f"--tools (or TEMPLATE_TOOLS): there is no make_stack.py in {tools}")
    _as_a_worker()
    out = workspace() / "templates"
    out.mkdir(exist_ok=True)
    stack, peers = Stack(out / f"stack{options.size}", tools, 16, options.size), Peers(tools, out)
    print(machine())
    print(f"positions interpolated to {position_error(stack):.1e} px")
    print("| task | tool | median | over Skyloom | quality |\n|---|---|---|---|---|")
    show(time_warps(stack, peers, options.runs))
    show(time_coadds(stack, peers, options.runs, out))
    print(time_stack_step(stack, options.runs))
    if options.long:
        print(time_large_warp(options.runs))
        print(time_rejections(stack, options.runs, out))
    in_a_process(stack, 2, out)  # leaves compiled code on disk: compiling takes memory of its own
    counts = [(stack, 16), (stack, 64)]
    if options.long:
        small = Stack(out / f"stack{options.size // 2}", tools, 16, options.size // 2)
        counts += [(small, 16), (small, 64), (small, 256)]
    for each, count in counts:
        figures = in_a_process(each, count, out)
        print(
            f"{count} exposures of {each.grid.shape[0]} px: {figures['seconds']:.2f} s, "
            f"peak {figures['peak_mb']:.0f} MB"
        )


if __name__ == "__main__":
    main()
