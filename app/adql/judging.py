"""What is to be said of a query before it is run: whether it is one, and what it will answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from app.adql.compile import compile_query
from app.adql.compiled import Target
from app.adql.mending import Mended, mend
from app.adql.parse import parse
from app.adql.pieces import Piece, cut
from app.errors import (
    AdqlError,
    AdqlSyntaxError,
    AdqlTypeError,
    AdqlUnsupportedError,
    UnknownNameError,
    UsageError,
)
from app.schema.fields import Catalog, Field

_KINDS: Final[dict[type[UsageError], str]] = {
    AdqlSyntaxError: "syntax",
    UnknownNameError: "unknown name",
    AdqlTypeError: "type",
    AdqlUnsupportedError: "not supported",
}
_SHOWN: Final = 400
"""Characters of a mended query that an error message shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """``kind``, ``message``, ``line`` and ``column`` say what is wrong with a query that is not
    valid, ``mended`` what it becomes with its slips mended. ``fields`` are the columns of the
    answer of a valid one; none if only the syntax was looked at."""

    valid: bool
    kind: str = ""
    message: str = ""
    line: int | None = None
    column: int | None = None
    mended: Mended | None = None
    fields: tuple[Field, ...] = field(default=())


def judge_query(
    text: str, catalog: Catalog, *, target: Target = "sqlite", syntax_only: bool = False
) -> Verdict:
    """The verdict on a query. With ``syntax_only`` names and types are not looked at."""
    try:
        fields = () if syntax_only else _compile(text, catalog, target)
        if syntax_only:
            parse(text)
    except UsageError as fault:
        return _verdict_on(fault, mend_query(text, catalog, target=target, syntax_only=syntax_only))
    return Verdict(valid=True, fields=fields)


def _verdict_on(fault: UsageError, mended: Mended | None) -> Verdict:
    place = fault if isinstance(fault, AdqlError) else None
    message = str(fault.args[0]) if place is not None else str(fault)
    return Verdict(
        valid=False,
        kind=_KINDS.get(type(fault), "limit"),
        message=message,
        line=None if place is None else place.line,
        column=None if place is None else place.column,
        mended=mended,
    )


def mend_query(
    text: str, catalog: Catalog, *, target: Target = "sqlite", syntax_only: bool = False
) -> Mended | None:
    """The query with its slips mended; None if it has none or keeps others."""

    def fault_of(changed: str) -> UsageError | None:
        try:
            if syntax_only:
                parse(changed)
            else:
                _compile(changed, catalog, target)
        except UsageError as fault:
            return fault
        return None

    return mend(text, catalog, fault_of)


def _compile(text: str, catalog: Catalog, target: Target) -> tuple[Field, ...]:
    return compile_query(text, catalog=catalog, target=target, maxrec=1).fields


def with_offer(fault: AdqlError, mended: Mended) -> AdqlError:
    """The same error, telling also what FIX=true would make of the query."""
    shown = " ".join(mended.text.split())
    shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]} …"
    reason = f"{fault.args[0]}; FIX=true would write: {shown}"
    return type(fault)(reason, fault.line, fault.column)


@dataclass(frozen=True, slots=True)
class Passage:
    """One query of a file, and where its first word stands there (both counted from 1)."""

    text: str
    line: int
    column: int

    def place(self, line: int, column: int) -> tuple[int, int]:
        """Line and column in the file of a place in the query."""
        return self.line + line - 1, column + (self.column - 1 if line == 1 else 0)


def split_queries(text: str) -> Iterator[Passage]:
    """The queries of a text, each ended by a semicolon or by the end of the text."""
    pieces: list[Piece] = []
    for piece in cut(text):
        if piece.kind == "sign" and piece.text == ";":
            yield from _passage(text, pieces)
            pieces = []
        else:
            pieces.append(piece)
    yield from _passage(text, pieces)


def _passage(text: str, pieces: list[Piece]) -> Iterator[Passage]:
    words = [piece for piece in pieces if piece.kind != "comment"]
    if not words:
        return
    start, end = words[0].start, words[-1].end
    before = text[:start]
    yield Passage(text[start:end], before.count("\n") + 1, start - before.rfind("\n"))
