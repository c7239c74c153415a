"""Where an image comes from and what became of it, as steps from left to right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from app.pages.image_view import ImageView, Relation

MAX_SHOWN: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Images that play one part. ``sign`` stands before it; ``more``: how many are not shown. A
    step without images is the image of the page itself."""

    sign: str
    title: str
    shown: Sequence[Relation] = ()
    more: int = 0


def trace(image: ImageView, inputs: Sequence[Relation], products: Sequence[Relation]) -> list[Step]:
    """Science less template is a difference, exposures make a template, and both go into others;
    nothing for an image that stands alone. Images that were left out are not in it."""
    used = [item for item in inputs if not item.rejected]
    science = [item for item in used if item.role == "science"]
    others = [item for item in used if item.role != "science"]
    steps = []
    if science:
        steps = [_step("", "Science image", science), _step("−", _template(others), others)]
    elif others:
        steps = [_step("", _exposures(len(others)), others)]
    steps.append(Step(sign=("=" if science else "→") if steps else "", title=image.title))
    made = [item for item in products if not item.rejected]
    if made:
        steps.append(_step("→", "Used in", made))
    return steps if len(steps) > 1 else []


def _step(sign: str, title: str, items: Sequence[Relation]) -> Step:
    shown = items[:MAX_SHOWN]
    return Step(sign=sign, title=title, shown=shown, more=len(items) - len(shown))


def _template(exposures: Sequence[Relation]) -> str:
    return f"Template of {_exposures(len(exposures)).lower()}"


def _exposures(count: int) -> str:
    return "One exposure" if count == 1 else f"{count} exposures"
