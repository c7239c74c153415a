"""What is found on differences of simulated pairs whose truth is known, by measured PSFs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from app.pixels.dia_sources import find_dia_sources
from benchmarks.detection import injected, judge, layers_of
from benchmarks.diffim import SEEDS, Pair, module_of
from benchmarks.templates import TOOLS


@pytest.mark.needs("shared")
@pytest.mark.parametrize(("size", "seed"), [(768, SEEDS[0]), (1024, SEEDS[1])])
def test_what_changed_is_found_and_little_else(tmp_path: Path, size: int, seed: int) -> None:
    pair = Pair.made(tmp_path, TOOLS, size, seed)
    science, template, truth = injected(pair, module_of(TOOLS / "make_pair.py"), seed)
    found = judge(find_dia_sources(layers_of(science, template)).sources, truth)
    changed = len(truth.transients), len(truth.faint)
    complete = np.average([found["transients"], found["faint"]], weights=changed)
    assert complete >= 0.95, found
    assert found["dipoles"] == 1.0, found
    assert found["false"] <= 1, found
    assert abs(found["pull_flux"] - 1.0) < 0.5, found
