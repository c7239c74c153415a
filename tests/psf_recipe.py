"""The recipe of ``docs/psf.md``, as a reader of the document has it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

DOCS = Path(__file__).resolve().parents[1] / "docs" / "psf.md"


def recipe_code() -> str:
    """The Python of the document."""
    code = re.search(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert code is not None
    return code.group(1)


def psf_stamp(path: Path | str, x: float, y: float) -> NDArray[np.float64]:
    """The PSF that a product has at a pixel, by the documented recipe."""
    room: dict[str, object] = {}
    exec(recipe_code(), room)
    stamp: NDArray[np.float64] = room["psf_stamp"](path, x, y)  # type: ignore[operator]
    return stamp
