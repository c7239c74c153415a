"""Robust least squares for the matching kernel over reduced stamps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from app.errors import KernelFitError
from app.pixels.equations import Stamps, factor_positive, solve_factored
from app.pixels.kernels import AnyBasis, MatchingKernel, polynomial_powers, polynomial_terms
from app.pixels.statistics import robust_sigma

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

WORST_CHI: Final = 1.5
MOST_ROUNDS: Final = 20
FREE_ROUNDS: Final = 4
"""After these no stamp comes back, so that the choice settles."""
SOFT_ROUNDS: Final = 4
UNBIASING_ROUNDS: Final = 3
"""More gain little where stars are bright, and let noise into the kernel where they are faint."""
CHUNK: Final = 256
"""Products that are added up at once: with those of all pairs of terms they fit the first-level
cache."""
PRIOR_SIGMA: Final = 0.3
"""Expected size of the zero-sum weights relative to the kernel sum: holds what data do not."""


@njit(cache=True, nogil=True)
def _sum_terms(
    products: Floats, responses: Floats, trust: Floats, terms: Floats, sums: Floats, right: Floats
) -> None:
    """Products (K, E, E) and responses (K, E) of trusted stamps times the products of terms
    (K, T) with each other and the terms: ``sums`` (T, T, E, E), ``right`` (T, E)."""
    count, size = terms.shape[1], responses.shape[1]
    flat, totals = products.reshape(trust.size, -1), sums.reshape(count, count, -1)
    factors = np.zeros((trust.size, count, count))
    for k in range(trust.size):
        if trust[k] == 0.0:
            continue
        for s in range(count):
            for e in range(size):
                right[s, e] += trust[k] * terms[k, s] * responses[k, e]
            for t in range(s + 1):
                factors[k, s, t] = trust[k] * terms[k, s] * terms[k, t]
    for start in range(0, flat.shape[1], CHUNK):
        for k in range(trust.size):
            own = flat[k, start : start + CHUNK]
            for s in range(count if trust[k] != 0.0 else 0):
                for t in range(s + 1):
                    factor, total = factors[k, s, t], totals[s, t, start : start + CHUNK]
                    for place in range(own.size):
                        total[place] += factor * own[place]
    for s in range(count):
        for t in range(s):
            sums[t, s] = sums[s, t]


@njit(cache=True, nogil=True)
def _normal_matrix(
    sums: Floats, gram: Floats, together: Floats, element: Indices, term: Indices
) -> tuple[Floats, Floats]:
    """The normal matrix of all unknowns, and what noise of the convolved image adds to it: the
    basis's products with itself, ``gram``, times mean products of terms, ``together``."""
    size = element.size
    matrix, noise = np.empty((size, size)), np.empty((size, size))
    for a in range(size):
        for b in range(size):
            matrix[a, b] = sums[term[a], term[b], element[a], element[b]]
            noise[a, b] = gram[element[a], element[b]] * together[term[a], term[b]]
    return matrix, noise


@njit(cache=True, nogil=True)
def _compare(
    products: Floats,
    responses: Floats,
    weights: Floats,
    sky: Floats,
    left: Floats,
    flux: Floats,
    model: Floats,
) -> None:
    """Of each stamp's fit: its squared residual less the power of the stamp, the product of its
    model without sky with what the stamp shows above the sky, and with itself."""
    n = weights.shape[1]
    for k in range(sky.size):
        own, line = weights[k], np.zeros(n + 1)
        for i in range(n):
            row, weight = products[k, i], own[i]
            for j in range(n + 1):
                line[j] += weight * row[j]
        model[k], seen = 0.0, 0.0
        for i in range(n):
            model[k] += own[i] * line[i]
            seen += own[i] * responses[k, i]
        flux[k] = seen - sky[k] * line[n]
        level = sky[k] * (2.0 * line[n] + sky[k] * products[k, n, n])
        left[k] = model[k] + level - 2.0 * (seen + sky[k] * responses[k, n])


@dataclass(frozen=True, slots=True)
class KernelFit:
    """Unknowns: weight of element 0; polynomials of the other elements; background polynomial,
    unless its order is None: then there is none."""

    basis: AnyBasis
    spatial_order: int
    background_order: int | None
    shape: tuple[int, int]

    def solve_robustly(
        self, stamps: Stamps, needed: int, keep: NDArray[np.bool_] | None = None
    ) -> tuple[Floats, NDArray[np.bool_]]:
        """(unknowns, used stamps). Raises KernelFitError.

        ``keep``: the stamps that a fit of nearly the same pixels used.
        """
        if keep is None:
            keep = np.ones(len(stamps), dtype=np.bool_)
            solution = self._solve_softly(stamps)
        else:
            solution = self.solve(stamps, keep.astype(np.float64))
        for number in range(MOST_ROUNDS):
            chi, scale = self.judge(stamps, solution)
            agreeing = _agreeing(chi, scale, keep)
            if number >= FREE_ROUNDS:
                agreeing &= keep
            if agreeing.sum() < needed:
                raise KernelFitError(int(agreeing.sum()), needed)
            done = bool((agreeing == keep).all())
            keep = agreeing
            solution = self.solve(stamps, keep.astype(np.float64))
            if done:
                break
        return solution, keep

    def _solve_softly(self, stamps: Stamps) -> Floats:
        """All stamps take part, those that disagree the less the more they do."""
        solution = self.solve(stamps, np.ones(len(stamps)))
        for _ in range(SOFT_ROUNDS):
            chi, _ = self.judge(stamps, solution)
            trust = 1.0 / np.maximum(1.0, chi / max(1.0, float(np.median(chi)))) ** 4
            solution = self.solve(stamps, trust)
        return solution

    def solve(self, stamps: Stamps, trust: Floats) -> Floats:
        """Least squares over stamps weighted by ``trust``, freed of the bias of noisy regressors.

        Noise of the image that is convolved adds N to the matrix of products, so the plain solution
        A^-1 r, of kernel sum above all, is too small. a <- A^-1 (r + N a) approaches
        (A - N)^-1 r; a few rounds remove what matters and leave directions in which there is
        only noise as they are held, where solving with A - N would blow them up.
        """
        order = max(self.spatial_order, self.background_order or 0)
        terms, size = self._terms(stamps, order), self.basis.count + 1
        sums = np.zeros((terms.shape[1], terms.shape[1], size, size))
        rights = np.zeros((terms.shape[1], size))
        _sum_terms(stamps.products, stamps.responses, trust, terms, sums, rights)
        element, term = self._unknowns()
        together = np.einsum("k,ki,kj->ij", trust * stamps.blur, terms, terms, optimize=False)
        gram = np.pad(self.basis.gram, (0, 1))
        matrix, noise = _normal_matrix(sums, gram, together, element, term)
        right = rights[term, element]
        inner = np.flatnonzero((element > 0) & (element < self.basis.count))
        scale = right[0] / matrix[0, 0] if matrix[0, 0] > 0 else 1.0
        matrix[inner, inner] += 1.0 / (PRIOR_SIGMA * scale) ** 2
        lower, rows = factor_positive(matrix)
        solution = solve_factored(lower, rows, right)
        for _ in range(UNBIASING_ROUNDS):
            solution = solve_factored(lower, rows, right + (noise * solution).sum(axis=1))
        return np.asarray(solution)

    def _unknowns(self) -> tuple[Indices, Indices]:
        """Which element each unknown weighs (count: the constant) and which polynomial term, of
        the larger of the two orders, it varies by."""
        n, powers = self.basis.count, polynomial_powers
        all_powers = powers(max(self.spatial_order, self.background_order or 0))
        places = {each: at for at, each in enumerate(all_powers)}
        spatial = [places[each] for each in powers(self.spatial_order)]
        sky = [places[each] for each in self._background_powers()]
        element = np.concatenate([[0], np.repeat(np.arange(1, n), len(spatial)), [n] * len(sky)])
        term = np.concatenate([[places[0, 0]], np.tile(spatial, n - 1), sky])
        return element.astype(np.int64), term.astype(np.int64)

    def judge(self, stamps: Stamps, solution: Floats) -> tuple[Floats, Floats]:
        """Per stamp: rms residual / expected noise; flux scale of its own relative to the fit's."""
        kernel, background = self.unpack(solution)
        weights = self._terms(stamps, self.spatial_order) @ kernel.weights.T
        sky = self._terms(stamps, self.background_order or 0) @ background
        left, flux, model = np.empty((3, len(stamps)))
        _compare(stamps.products, stamps.responses, weights, sky, left, flux, model)
        left += stamps.power
        chi = np.sqrt(np.maximum(left, 0.0) / np.maximum(stamps.expected, 1e-300))
        return chi, flux / np.maximum(model, 1e-300)

    def significance(self, stamps: Stamps, solution: Floats) -> float:
        """Kernel sum over its error, were it the only unknown."""
        return float(solution[0] * np.sqrt(stamps.products[:, 0, 0].sum()))

    def unpack(self, solution: Floats) -> tuple[MatchingKernel, Floats]:
        """Kernel and background coefficients (one, 0, where none is fitted) from the unknowns."""
        n = self.basis.count
        terms = (self.spatial_order + 1) * (self.spatial_order + 2) // 2
        weights = np.zeros((n, terms))
        weights[0, 0] = solution[0]
        weights[1:] = solution[1 : 1 + (n - 1) * terms].reshape(n - 1, terms)
        kernel = MatchingKernel(self.basis.elements(), weights, self.spatial_order, self.shape)
        background = solution[1 + (n - 1) * terms :]
        return kernel, background if self.background_order is not None else np.zeros(1)

    def _background_powers(self) -> list[tuple[int, int]]:
        return [] if self.background_order is None else polynomial_powers(self.background_order)

    def _terms(self, stamps: Stamps, order: int) -> Floats:
        return np.ascontiguousarray(polynomial_terms(order, stamps.x, stamps.y, self.shape).T)


def _agreeing(chi: Floats, scale: Floats, keep: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Stamps whose residual and flux scale are like those of the stamps kept so far."""
    middle, spread = float(np.median(chi[keep])), robust_sigma(chi[keep])
    quiet = chi <= max(WORST_CHI, middle + 4.0 * spread)
    same = float(np.median(scale[keep]))
    close = np.abs(scale - same) <= max(4.0 * robust_sigma(scale[keep]), 0.03)
    agreeing: NDArray[np.bool_] = quiet & close
    return agreeing
