"""Masks and clipping of a stack, made for many pixels at a time, beside the same rules pixel by
pixel in plain Python."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from app.pixels.blend import REJECTING, SAT_FRACTION
from app.pixels.clip import clip_rows
from app.pixels.coadd import Coadd, Statistic, coadd
from app.pixels.coadded import empty_planes
from app.pixels.image import MASK_PLANES, UNUSABLE, MaskedImage, bits
from app.pixels.networks import sorting_network
from app.pixels.placed import rows_of
from app.pixels.stack import centre_rows
from app.pixels.warped import in_memory

SHAPE = (40, 300)


def masked_images(count: int, share: float) -> list[MaskedImage]:
    rng = np.random.default_rng(int(100 * share) + count)
    images = []
    for n in range(count):
        mask = np.zeros(SHAPE, dtype=np.int32)
        for bit in MASK_PLANES.values():
            mask |= np.where(rng.random(SHAPE) < share, 1 << bit, 0).astype(np.int32)
        flux = rng.normal(size=SHAPE).astype(np.float32)
        flux[rng.random(SHAPE) < share] = np.nan
        images.append(MaskedImage(flux, np.full(SHAPE, 1.0 + n, np.float32), mask))
    return images


def blend(
    images: list[MaskedImage], weights: list[float], y: int, x: int, clipped: NDArray[np.bool_]
) -> int:
    """The mask of one pixel."""
    seen = lost = flags = 0
    with_data = saturated = np.float32(0.0)
    used = False
    for n, image in enumerate(images):
        here = int(image.mask[y, x])
        with_data += np.float32(0.0 if here & bits("NO_DATA") else weights[n])
        if here & UNUSABLE or not np.isfinite(image.flux[y, x]):
            lost |= here & ~bits("NO_DATA", "EDGE")
            saturated += np.float32(weights[n] if here & bits("SAT") else 0.0)
            flags |= bits("REJECTED") if here & REJECTING else 0
            flags |= bits("SENSOR_EDGE") if here & bits("EDGE") else 0
        elif clipped[n]:
            flags |= bits("CLIPPED")
        else:
            used, seen = True, seen | here
    flags |= bits("INEXACT_PSF") if flags else 0
    if not used:
        return lost | flags | bits("NO_DATA")
    return seen | flags | (bits("SAT") if float(saturated) > SAT_FRACTION * float(with_data) else 0)


def clip(
    values: NDArray[np.float64], noises: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Which of one pixel's good values are clipped, at three deviations in two iterations, where
    nothing shelters them."""
    units = weights * noises
    unit = (units.sum() - units.max()) / (len(units) - 1) if len(units) > 1 else units.sum()
    expected = np.sqrt(unit * (1 / weights + 1 / weights.sum()))
    middle = values.min() if len(values) == 2 else np.median(values)
    low, high = np.percentile(values, [25, 75])
    spread = 0.7413 * (high - low) if len(values) > 3 else 0.0
    clipped = np.zeros(len(values), dtype=np.bool_)
    for _ in range(2):
        now = np.abs(values - middle) > 3.0 * np.maximum(expected, spread)
        if now.all():
            return np.zeros_like(clipped)
        changed, clipped = bool((now != clipped).any()), now
        if not changed:
            break
        kept = ~clipped
        middle = np.average(values[kept], weights=weights[kept])
        spread = np.sqrt(np.average((values[kept] - middle) ** 2, weights=weights[kept]))
    return clipped


@pytest.mark.parametrize("statistic", ["mean", "median"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.3])
def test_masks_made_many_at_a_time_are_those_of_single_pixels(
    statistic: Statistic, share: float
) -> None:
    images = masked_images(7, share)
    made = coadd(in_memory(images), statistic=statistic)
    weights, nothing = relative_weights(made), np.zeros(len(images), dtype=np.bool_)
    single = [
        [blend(images, weights, y, x, nothing) for x in range(SHAPE[1])] for y in range(SHAPE[0])
    ]
    np.testing.assert_array_equal(made.image.mask, single)


@pytest.mark.parametrize("share", [0.0, 0.02])
@pytest.mark.parametrize("count", [2, 3, 7, 16])
def test_clipping_many_pixels_at_a_time_is_that_of_single_pixels(count: int, share: float) -> None:
    images = masked_images(count, share)
    rng = np.random.default_rng(count)
    for image in images:
        image.flux[...] *= np.sqrt(image.variance)
        hit = rng.random(SHAPE) < 0.1
        image.flux[hit] += rng.normal(scale=30.0, size=int(hit.sum())).astype(np.float32)
    weights = np.array([1.0 / (1.0 + n) for n in range(count)], dtype=np.float32)
    flux, mask, counts = clip_unsheltered(images, weights)
    expected = np.zeros(count, dtype=np.int64)
    for y, x in np.ndindex(SHAPE):
        values = np.array([image.flux[y, x] for image in images], dtype=np.float64)
        good = np.isfinite(values) & [not image.mask[y, x] & UNUSABLE for image in images]
        clipped = np.zeros(count, dtype=np.bool_)
        if good.any():
            noises = np.array([image.variance[y, x] for image in images], dtype=np.float64)
            clipped[good] = clip(values[good], noises[good], weights[good].astype(np.float64))
            kept = good & ~clipped
            mean = np.average(values[kept], weights=weights[kept])
            assert flux[y, x] == pytest.approx(mean, abs=2e-5)
        assert mask[y, x] == blend(images, list(weights), y, x, clipped)
        expected += clipped
    np.testing.assert_array_equal(counts, expected)
    assert expected.sum() > 0.05 * count * flux.size


def clip_unsheltered(
    images: list[MaskedImage], weights: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.int64]]:
    """Flux, mask and the number of clipped values of each input, by the kernels of a coadd."""
    rows, (ny, nx) = rows_of(images), SHAPE
    places = np.zeros(SHAPE, dtype=np.int32)
    suspects = np.zeros(ny, dtype=np.int64), places, np.zeros((ny, 4, nx), dtype=np.float32)
    bright = np.zeros(SHAPE, dtype=np.float32), np.zeros(SHAPE, dtype=np.float32)
    out, counts = empty_planes(SHAPE), np.zeros((ny, 2, len(images)), dtype=np.int64)
    network = sorting_network(len(images))
    centre_rows(0, ny, rows, weights, network, (0.0, 3.0), suspects, bright, out, counts)
    clipped = np.zeros(len(images), dtype=np.int64)
    clip_rows(0, ny, rows, weights, suspects, np.zeros_like(bright[0]), (3.0, 2), out[:3], clipped)
    return out[0], out[2], clipped


def relative_weights(made: Coadd) -> list[float]:
    return [weight / max(made.weights) for weight in made.weights]
