"""A stack in sub-regions: rows of it that workers make apart, joined by the build.

Each leaves a file under the hash of all that its pixels follow from. One that is not there when the
rows are joined is made then, so that lost workers and a full cache cost time and nothing else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Final

from app.pixels.coadded import Coadd, CoaddRows, join_rows
from app.recipes.photometry import common_zero_point
from app.stores.coadd_rows import CoaddRowsStore
from app.workers.gather import Gathered, Prepared, gather, open_prepared
from app.workers.inputs import WarpedInput, warp_key
from app.workers.stacking import Combination, combination_of, stack_of_rows, stack_rows
from app.workers.work import Work

LEAST_VALUES: Final = 2**26
"""Pixels of all inputs together that a sub-region has at least, some tenths of a second of work:
with less, opening its inputs and keeping its rows costs more than it gains."""
PER_PLACE: Final = 2
"""Sub-regions for each place where tasks can run: the slowest keeps others waiting less long."""

Rows = tuple[int, int]
"""``start <= y < stop``."""


def sub_regions(shape: tuple[int, int], inputs: int, places: int) -> tuple[Rows, ...]:
    """Rows of a target of ``shape`` that are worth being stacked apart on so many places.

    None at all when the stack is not worth being divided.
    """
    ny, nx = shape
    count = min(PER_PLACE * places, ny, ny * nx * inputs // LEAST_VALUES)
    if count < 2:
        return ()
    return tuple(pairwise(ny * number // count for number in range(count + 1)))


@dataclass(frozen=True, slots=True)
class Preparation:
    """What sub-regions have in common: the inputs and how they are combined."""

    inputs: Prepared
    combination: Combination

    def key(self, work: Work, rows: Rows) -> str:
        """Names rows of this stack."""
        zero_point_mag = common_zero_point(work.plan.inputs, work.plan.science)
        told = [
            [
                warp_key(work, each.ref, zero_point_mag),
                each.factor,
                each.background and asdict(each.background),
            ]
            for each in self.inputs.inputs
        ]
        options = asdict(work.plan.recipe.template)
        digest = hashlib.sha256(json.dumps([told, options, rows]).encode())
        for spans in (*self.combination.excluded, self.combination.streaks):
            for runs in (spans.y, spans.x_start, spans.x_stop):
                digest.update(runs.tobytes())
        return digest.hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Ahead:
    """A stack that was prepared, and whose ``sub_regions`` were made, before the build."""

    preparation: Preparation
    sub_regions: tuple[Rows, ...]
    store: CoaddRowsStore

    def finish(self, work: Work, files: ExitStack) -> tuple[Gathered, Coadd, Combination]:
        """The inputs, open until ``files`` is closed, their stack, and how it was made."""
        gathered = open_prepared(work, self.preparation.inputs, files)
        rows = join_rows(work.grid.shape, self._parts(work, gathered.kept))
        combination = self.preparation.combination
        coadded = stack_of_rows([each.warped for each in gathered.kept], combination, rows)
        for each in self.sub_regions:
            self.store.discard(self.preparation.key(work, each))
        return gathered, coadded, combination

    def _parts(self, work: Work, inputs: list[WarpedInput]) -> Iterator[CoaddRows]:
        for rows in self.sub_regions:
            work.check()
            found = self.store.find(self.preparation.key(work, rows))
            yield found or _make_rows(work, self.preparation, inputs, rows)


def prepare(work: Work) -> Preparation:
    """Gather the inputs and find how they are to be combined.

    Raises what :func:`app.workers.gather.gather` and :func:`app.workers.stacking.stack` raise.
    """
    with ExitStack() as files:
        gathered = gather(work, files)
        combination = combination_of(work, gathered.kept)
        return Preparation(Prepared.of(gathered), combination)


def rows_ahead(work: Work, preparation: Preparation, rows: Rows, store: CoaddRowsStore) -> None:
    """Keep rows of a stack for :meth:`Ahead.finish`. Raises what :func:`prepare` raises."""
    key = preparation.key(work, rows)
    if store.has(key):
        return
    with ExitStack() as files:
        gathered = open_prepared(work, preparation.inputs, files)
        store.add(key, _make_rows(work, preparation, gathered.kept, rows))


def _make_rows(
    work: Work, preparation: Preparation, inputs: list[WarpedInput], rows: Rows
) -> CoaddRows:
    return stack_rows(work, [each.warped for each in inputs], preparation.combination, rows)
