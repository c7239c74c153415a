"""Which sources of an image share light, and so are to be fitted together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Group:
    """Numbers of the ``members`` that are fitted together; the first ``wanted`` of them are told by
    this fit, the others by fits of their own."""

    members: Numbers
    wanted: int


def groups_of(places: Floats, reach_px: float, most: int) -> Iterator[Group]:
    """Places (n, 2) that chains of steps of at most ``reach_px`` join.

    Where more than ``most`` are joined, each is fitted with those nearest to it.
    """
    if len(places) == 0:
        return
    tree = scipy.spatial.cKDTree(places)
    one, other = tree.query_pairs(reach_px, output_type="ndarray").T
    links = scipy.sparse.coo_array((np.ones(len(one)), (one, other)), shape=(len(places),) * 2)
    count, labels = scipy.sparse.csgraph.connected_components(links, directed=False)
    order = np.argsort(labels, kind="stable")
    for members in np.split(order, np.cumsum(np.bincount(labels, minlength=count))[:-1]):
        if len(members) <= most:
            yield Group(members.astype(np.int64), len(members))
        else:
            for near in tree.query(places[members], most)[1]:
                yield Group(near.astype(np.int64), 1)
