"""A coadd's PSF as few stamps and many numbers: what is kept in files.

All polynomial stamps of all inputs are sums of a few orthonormal ones, found by Gram–Schmidt with
pivoting (the largest remainder next): deterministic, and within a tolerance that is a share of the
peak of a PSF.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.pixels.kernels import polynomial_powers
from app.pixels.psf_coadd import CoaddPsf, Component
from app.pixels.psf_field import PsfField

Floats = NDArray[np.float64]

TOLERANCE: Final = 2e-4
"""Norm of what is left of a stamp, as a share of the peak of the sharpest PSF."""
MOST_STAMPS: Final = 80


@dataclass(frozen=True, slots=True)
class PackedPsf:
    """``basis`` (M, odd, odd) float32; for N inputs with T polynomial terms of ``degree``:

    ``coefficients`` (N, T, M) float32, ``zero`` and ``scale`` (N, 2), ``regions`` (N, K, 2),
    ``weights`` (N,), ``stars`` (N,) and ``names``. Regions with fewer corners repeat their last.
    """

    basis: NDArray[np.float32]
    coefficients: NDArray[np.float32]
    zero: Floats
    scale: Floats
    regions: Floats
    weights: Floats
    stars: NDArray[np.int64]
    names: tuple[str, ...]
    degree: int
    sampling: float
    shape: tuple[int, int]


def pack_psf(psf: CoaddPsf) -> PackedPsf:
    """Find the basis and the coefficients of every component."""
    parts = psf.components
    degree = max(part.field.degree for part in parts)
    half = max(part.field.stamps.shape[1] // 2 for part in parts)
    stamps = np.stack([_spread(part.field, degree, half) for part in parts])
    count, terms, size, _ = stamps.shape
    rows = stamps.reshape(count * terms, size * size)
    basis = _basis(rows, TOLERANCE * float(stamps[:, 0].max())).astype(np.float32)
    coefficients = np.einsum("rp,mp->rm", rows, basis.astype(np.float64))
    corners = max(len(part.region) for part in parts)
    return PackedPsf(
        basis=basis.reshape(-1, size, size),
        coefficients=coefficients.reshape(count, terms, -1).astype(np.float32),
        zero=np.array([part.field.zero for part in parts]),
        scale=np.array([part.field.scale for part in parts]),
        regions=np.stack(
            [np.pad(p.region, ((0, corners - len(p.region)), (0, 0)), mode="edge") for p in parts]
        ),
        weights=np.array([part.weight for part in parts]),
        stars=np.array([part.field.stars for part in parts], dtype=np.int64),
        names=tuple(part.name for part in parts),
        degree=degree,
        sampling=parts[0].field.sampling,
        shape=psf.shape,
    )


def unpack_psf(packed: PackedPsf) -> CoaddPsf:
    """Undo :func:`pack_psf`, to within its tolerance."""
    basis = packed.basis.astype(np.float64)
    parts = [
        Component(
            name,
            float(packed.weights[n]),
            packed.regions[n],
            PsfField(
                np.einsum("tm,myx->tyx", packed.coefficients[n].astype(np.float64), basis),
                packed.degree,
                (float(packed.zero[n, 0]), float(packed.zero[n, 1])),
                (float(packed.scale[n, 0]), float(packed.scale[n, 1])),
                packed.sampling,
                int(packed.stars[n]),
            ),
        )
        for n, name in enumerate(packed.names)
    ]
    return CoaddPsf(tuple(parts), packed.shape)


def _spread(field: PsfField, degree: int, half: int) -> Floats:
    """The field's stamps in the order of a higher degree and a larger size, zero where new."""
    size = 2 * half + 1
    terms = (degree + 1) * (degree + 2) // 2
    wide = np.zeros((terms, size, size))
    edge = half - field.stamps.shape[1] // 2
    inner = slice(edge, size - edge)
    own, every = polynomial_powers(field.degree), polynomial_powers(degree)
    for n, powers in enumerate(own):
        wide[every.index(powers), inner, inner] = field.stamps[n]
    return wide


def _basis(rows: Floats, tolerance: float) -> Floats:
    """Orthonormal rows that span all ``rows`` but for remainders of norm ``tolerance``."""
    left = rows.copy()
    found: list[Floats] = []
    while len(found) < MOST_STAMPS:
        norms = np.sqrt(np.einsum("rp,rp->r", left, left))
        largest = int(np.argmax(norms))
        if norms[largest] <= tolerance and found:
            break
        direction = left[largest] / norms[largest]
        found.append(direction)
        left -= np.einsum("rp,p->r", left, direction)[:, None] * direction
    return np.array(found)
