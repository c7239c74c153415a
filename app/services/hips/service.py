"""``skyloom hips``: a collection becomes a progressive survey, whatever stopped it before.

Blocks are made by processes, each whole and with a note of what it was made of; the next run makes
only those whose images changed. Coarser tiles follow from finer ones, pictures from all of them. A
survey has its properties at the end, so that nobody is shown a part.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from app.errors import ComputationError, UsageError
from app.pixels.hips import joined
from app.pixels.preview import Brightness
from app.services.access import GATE, Gate
from app.services.builds_candidates import CandidateFinder
from app.services.hips.block import BlockTask, Level, make_block, measure
from app.services.hips.pictures import brightness_of, draw_all, find_brightness_of, write_allsky
from app.services.hips.properties import describe
from app.services.hips.shelf import SHELF
from app.services.hips.survey import (
    FIRST_ORDER,
    Survey,
    SurveyRequest,
    plan_survey,
    survey_name,
)
from app.sky.moc import MAX_ORDER, MOC, WRITERS, map_of
from app.stores.hips_files import MOC_FILE, HipsFolder, Tile
from app.stores.remote.files import RemoteFiles

PICTURES_AT_ONCE: Final = 32
_MOC_DEPTH: Final = 3

Progress = Callable[[int, int], None]
"""Called with (steps done, steps in all)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HipsReport:
    """What a run made: the folder, tiles in all, blocks made and found whole, wrong images."""

    folder: Path
    tiles: int
    made: int
    kept: int
    faults: tuple[str, ...]


@dataclass
class _Steps:
    """Counts for the progress."""

    all: int
    tell: Progress
    done: int = field(default=0)

    def add(self, count: int = 1) -> None:
        self.done += count
        self.tell(min(self.done, self.all), self.all)


class HipsService:
    """Makes surveys of the images of this service. ``authority`` is that of their identifiers."""

    def __init__(
        self,
        *,
        finder: CandidateFinder,
        data_dir: Path,
        remote: RemoteFiles | None = None,
        authority: str,
        workers: int,
        clock: Callable[[], datetime],
        gate: Gate = GATE,
    ) -> None:
        self._gate = gate
        self._finder = finder
        self._data_dir = data_dir
        self._remote = remote
        self._authority = authority
        self._workers = workers
        self._clock = clock

    def plan(
        self, collection: str, *, band: str | None, order: int | None, title: str | None
    ) -> Survey:
        """What would be made, of the images that are for everybody. Raises NotFoundError, and
        UsageError where a band is to be chosen."""
        bands = self._finder.bands_of(collection)
        if band is None and len(bands) > 1:
            raise UsageError(f"--band: choose one of {', '.join(bands)}")
        if band is not None and bands and band not in bands:
            raise UsageError(f"--band {band}: collection {collection!r} has {', '.join(bands)}")
        chosen = band or (bands[0] if bands else None)
        request = SurveyRequest(
            collection=collection,
            band=chosen,
            title=title,
            order=order,
        )
        found = self._finder.of_collection(collection, chosen)
        return plan_survey(request, [each for each in found if self._gate.is_public(each.rights)])

    def place_of(self, survey: Survey) -> Path:
        """The folder that the service shows."""
        return self._data_dir / SHELF / survey_name(survey.collection, survey.band)

    def run(self, survey: Survey, out: Path, progress: Progress) -> HipsReport:
        """Make the survey in a folder, or what of it is missing.

        Raises UsageError for a folder that holds something else, ComputationError when no image
        gave a pixel, StorageFullError.
        """
        folder = HipsFolder(out)
        if not folder.begin():
            raise UsageError(f"--out {out}: this folder holds something that is no survey of ours")
        _remove_others(folder, survey)
        todo = [block for block in survey.blocks if not _is_whole(folder, survey, block)]
        steps = _Steps(2 * len(survey.blocks), progress)
        steps.add(len(survey.blocks) - len(todo))
        with self._pool() as pool:
            faults = self._make_blocks(pool, survey, folder, todo, steps)
            every = _write_upper(folder, survey)
            if not every:
                raise ComputationError("no image of this collection has a usable pixel")
            light = _draw(pool, folder, every, survey.unit)
            steps.add(len(survey.blocks))
        first = [tile for tile in every if tile.order == FIRST_ORDER]
        write_allsky(folder, FIRST_ORDER, first, light)
        moc = _covered(survey, every)
        folder.write_file(MOC_FILE, WRITERS["application/fits"](moc))
        old = folder.properties()
        name = survey_name(survey.collection, survey.band)
        identifier = f"ivo://{self._authority}/hips/{name}"
        folder.write_properties(
            describe(survey, moc, light, identifier=identifier, now=self._clock(), old=old)
        )
        return HipsReport(
            folder=out,
            tiles=len(every),
            made=len(todo),
            kept=len(survey.blocks) - len(todo),
            faults=tuple(faults),
        )

    @contextmanager
    def _pool(self) -> Iterator[Executor]:
        pool = ProcessPoolExecutor(
            self._workers, mp_context=multiprocessing.get_context("spawn"), initializer=_start
        )
        try:
            yield pool
        except BrokenProcessPool:
            raise ComputationError(
                "a process was killed, perhaps for its memory; run it again with fewer --workers: "
                "what is whole is kept"
            ) from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    @property
    def _threads(self) -> int:
        return max(1, (os.cpu_count() or 1) // self._workers)

    def _make_blocks(
        self,
        pool: Executor,
        survey: Survey,
        folder: HipsFolder,
        todo: Sequence[Tile],
        steps: _Steps,
    ) -> list[str]:
        """What was wrong with images, each told once."""
        texts = sorted({i.ref.to_text() for block in todo for i in survey.images_of(block)})
        levels: dict[str, Level] = {}
        faults: list[str] = []
        look = partial(measure, self._data_dir, self._remote, self._threads)
        measured = pool.map(look, texts)
        for text, found in zip(texts, measured, strict=True):
            if isinstance(found, str):
                faults.append(found)
            else:
                levels[text] = found
        tasks = [self._task(survey, folder, block, levels) for block in todo]
        waiting = [pool.submit(make_block, task) for task in tasks]
        for done in as_completed(waiting):
            faults += done.result()
            steps.add()
        return list(dict.fromkeys(faults))

    def _task(
        self, survey: Survey, folder: HipsFolder, block: Tile, levels: dict[str, Level]
    ) -> BlockTask:
        texts = [image.ref.to_text() for image in survey.images_of(block)]
        return BlockTask(
            data_dir=self._data_dir,
            remote=self._remote,
            folder=folder.path,
            block=block,
            order=survey.order,
            finest=survey.finest,
            zero_point_mag=survey.zero_point_mag,
            unit=survey.unit,
            digest=survey.digest(block) if all(t in levels for t in texts) else "",
            images=tuple((text, levels[text]) for text in texts if text in levels),
            threads=self._threads,
        )


def _start() -> None:
    """In a new worker: Ctrl-C is the parent's to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _is_whole(folder: HipsFolder, survey: Survey, block: Tile) -> bool:
    return folder.note(block) == survey.digest(block)


def _remove_others(folder: HipsFolder, survey: Survey) -> None:
    """What an earlier run left of blocks that have no images now, and of finer orders."""
    for block in set(folder.noted()) - set(survey.blocks):
        folder.forget(block)
    for tile in folder.tiles():
        depth = tile.order - survey.block_order
        block = Tile(survey.block_order, tile.number >> (2 * max(depth, 0)))
        if tile.order > survey.order or (depth >= 0 and block not in survey.blocks):
            folder.remove([tile])


def _write_upper(folder: HipsFolder, survey: Survey) -> list[Tile]:
    """The tiles of lower orders than that of blocks, each of the four below it; those without any
    go. All tiles of the survey, the finest first."""
    every = sorted(folder.tiles(), key=lambda tile: (-tile.order, tile.number))
    found = [tile for tile in every if tile.order >= survey.block_order]
    order = survey.block_order
    row = [tile for tile in found if tile.order == order]
    for _ in range(order - FIRST_ORDER):
        parents = sorted({tile.parent for tile in row}, key=lambda tile: tile.number)
        for parent in parents:
            _join(folder, parent, survey.unit)
        found += parents
        row = parents
    folder.remove(set(every) - set(found))
    return found


def _join(folder: HipsFolder, parent: Tile, unit: str) -> None:
    children = {
        n: folder.read_tile(Tile(parent.order + 1, 4 * parent.number + n)) for n in range(4)
    }
    pixels = joined({n: child for n, child in children.items() if child is not None})
    old = folder.read_tile(parent)
    if old is None or not np.array_equal(old, pixels, equal_nan=True):
        folder.write_tile(parent, pixels, unit)


def _covered(survey: Survey, tiles: Sequence[Tile]) -> MOC:
    """Cells that the images have a part in, of the finest tiles that there are."""
    order = min(survey.order + _MOC_DEPTH, max(survey.order, MAX_ORDER))
    numbers = [tile.number for tile in tiles if tile.order == survey.order]
    return survey.moc(order).intersection(map_of(numbers, survey.order))


def _draw(pool: Executor, folder: HipsFolder, tiles: Sequence[Tile], unit: str) -> Brightness:
    """The pictures that are missing; of a survey that was whole before with its cuts."""
    old = brightness_of(folder.properties(), unit)
    finest = [tile for tile in tiles if tile.order == tiles[0].order]
    light = old or find_brightness_of(folder, finest)
    waiting = [tile for tile in tiles if old is None or not folder.has_picture(tile)]
    some = [
        (folder.path, waiting[start : start + PICTURES_AT_ONCE], light)
        for start in range(0, len(waiting), PICTURES_AT_ONCE)
    ]
    for _ in pool.map(draw_all, some):
        pass
    return light
