"""Robust least squares for the matching kernel over reduced stamps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from app.errors import KernelFitError
from app.pixels.equations import Stamps, solve_positive
from app.pixels.kernels import Basis, MatchingKernel, polynomial_terms
from app.pixels.statistics import robust_sigma

Floats = NDArray[np.float64]

WORST_CHI: Final = 1.5
MOST_ROUNDS: Final = 20
SOFT_ROUNDS: Final = 4
UNBIASING_ROUNDS: Final = 2
"""More gain little where stars are bright, and let noise into the kernel where they are faint."""
PRIOR_SIGMA: Final = 0.3
"""Expected size of the zero-sum weights relative to the kernel sum: holds what data do not."""


@njit(cache=True, nogil=True)
def _normal_equations(
    products: Floats,
    responses: Floats,
    trust: Floats,
    elements: NDArray[np.int64],
    factors: Floats,
) -> tuple[Floats, Floats]:
    """Sum the stamps' products into the normal matrix and right side of all unknowns."""
    size = elements.size
    matrix, right = np.zeros((size, size)), np.zeros(size)
    for k in range(trust.size):
        if trust[k] == 0.0:
            continue
        for u in range(size):
            factor, element = trust[k] * factors[k, u], elements[u]
            right[u] += factor * responses[k, element]
            for v in range(u + 1):
                matrix[u, v] += factor * factors[k, v] * products[k, element, elements[v]]
    for u in range(size):
        for v in range(u):
            matrix[v, u] = matrix[u, v]
    return matrix, right


@dataclass(frozen=True, slots=True)
class KernelFit:
    """Unknowns: weight of element 0; polynomials of the other elements; background polynomial."""

    basis: Basis
    spatial_order: int
    background_order: int
    shape: tuple[int, int]

    def solve_robustly(
        self, stamps: Stamps, needed: int
    ) -> tuple[Floats, NDArray[np.bool_], Floats]:
        """(unknowns, used stamps, chi of every stamp). Raises KernelFitError."""
        trust = np.ones(len(stamps))
        solution = self.solve(stamps, trust)
        for _ in range(SOFT_ROUNDS):
            chi, _ = self.judge(stamps, solution)
            trust = 1.0 / np.maximum(1.0, chi / max(1.0, float(np.median(chi)))) ** 4
            solution = self.solve(stamps, trust)
        keep = np.ones(len(stamps), dtype=np.bool_)
        for _ in range(MOST_ROUNDS):
            chi, scale = self.judge(stamps, solution)
            agreeing = _agreeing(chi, scale, keep)
            if agreeing.sum() < needed:
                raise KernelFitError(int(agreeing.sum()), needed)
            done = bool((agreeing == keep).all())
            keep = agreeing
            solution = self.solve(stamps, keep.astype(np.float64))
            if done:
                break
        return solution, keep, self.judge(stamps, solution)[0]

    def solve(self, stamps: Stamps, trust: Floats) -> Floats:
        """Least squares over stamps weighted by ``trust``, freed of the bias of noisy regressors.

        Noise of the image that is convolved adds N to the matrix of products, so the plain solution
        A^-1 r, of kernel sum above all, is too small. a <- A^-1 (r + N a) approaches
        (A - N)^-1 r; a few rounds remove what matters and leave directions in which there is
        only noise as they are held, where solving with A - N would blow them up.
        """
        elements, factors = self._unknowns(stamps)
        matrix, right = _normal_equations(
            stamps.products, stamps.responses, trust, elements, factors
        )
        inner = np.flatnonzero((elements > 0) & (elements < self.basis.count))
        scale = right[0] / matrix[0, 0] if matrix[0, 0] > 0 else 1.0
        matrix[inner, inner] += 1.0 / (PRIOR_SIGMA * scale) ** 2
        noise = self._noise_products(stamps, trust)
        solution = np.asarray(solve_positive(matrix, right))
        for _ in range(UNBIASING_ROUNDS):
            solution = np.asarray(solve_positive(matrix, right + (noise * solution).sum(axis=1)))
        return solution

    def _noise_products(self, stamps: Stamps, trust: Floats) -> Floats:
        """What noise of the convolved image adds to the normal matrix: gram times mean terms."""
        n, spatial = self.basis.count, self._terms(stamps, self.spatial_order)
        terms = spatial.shape[1]
        together = np.einsum("k,ki,kj->ij", trust * stamps.blur, spatial, spatial, optimize=False)
        kernel = 1 + (n - 1) * terms
        element = np.concatenate([[0], np.repeat(np.arange(1, n), terms)])
        term = np.concatenate([[0], np.tile(np.arange(terms), n - 1)])
        noise = self.basis.gram[np.ix_(element, element)] * together[np.ix_(term, term)]
        sky = (self.background_order + 1) * (self.background_order + 2) // 2
        whole = np.zeros((kernel + sky, kernel + sky))
        whole[:kernel, :kernel] = noise
        return whole

    def _unknowns(self, stamps: Stamps) -> tuple[NDArray[np.int64], Floats]:
        """Which element each unknown weighs (count: the constant), and its factor per stamp."""
        n, spatial = self.basis.count, self._terms(stamps, self.spatial_order)
        sky = self._terms(stamps, self.background_order)
        varying = np.repeat(np.arange(1, n), spatial.shape[1])
        elements = np.concatenate([[0], varying, np.full(sky.shape[1], n)]).astype(np.int64)
        first = np.ones((len(stamps), 1))
        return elements, np.concatenate([first, np.tile(spatial, n - 1), sky], axis=1)

    def judge(self, stamps: Stamps, solution: Floats) -> tuple[Floats, Floats]:
        """Per stamp: rms residual / expected noise; flux scale of its own relative to the fit's."""
        kernel, background = self.unpack(solution)
        weights = self._terms(stamps, self.spatial_order) @ kernel.weights.T
        sky = self._terms(stamps, self.background_order) @ background
        here = np.concatenate([weights, sky[:, None]], axis=1)
        fitted = np.einsum("ki,kij->kj", here, stamps.products)
        left = stamps.power - 2.0 * (here * stamps.responses).sum(1) + (here * fitted).sum(1)
        chi = np.sqrt(np.maximum(left, 0.0) / np.maximum(stamps.expected, 1e-300))
        model = np.einsum("ki,kij->kj", weights, stamps.products[:, :-1, :])
        flux = (weights * stamps.responses[:, :-1]).sum(1) - sky * model[:, -1]
        return chi, flux / np.maximum((weights * model[:, :-1]).sum(1), 1e-300)

    def significance(self, stamps: Stamps, solution: Floats) -> float:
        """Kernel sum over its error, were it the only unknown."""
        return float(solution[0] * np.sqrt(stamps.products[:, 0, 0].sum()))

    def unpack(self, solution: Floats) -> tuple[MatchingKernel, Floats]:
        """Kernel and background coefficients from the unknowns."""
        n = self.basis.count
        terms = (self.spatial_order + 1) * (self.spatial_order + 2) // 2
        weights = np.zeros((n, terms))
        weights[0, 0] = solution[0]
        weights[1:] = solution[1 : 1 + (n - 1) * terms].reshape(n - 1, terms)
        kernel = MatchingKernel(self.basis.elements(), weights, self.spatial_order, self.shape)
        return kernel, solution[1 + (n - 1) * terms :]

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
