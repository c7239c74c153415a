"""A query text cut into words and signs, whether or not it is ADQL."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_PIECE: Final = re.compile(
    r"""
    (?P<comment>--[^\n]*|/\*(?:[^*]|\*(?!/))*\*/)
  | (?P<string>'(?:[^']|'')*')
  | (?P<delimited>"(?:[^"]|"")*")
  | (?P<number>[0-9]+\.?[0-9]*(?:[eE][+-]?[0-9]+)?|\.[0-9]+(?:[eE][+-]?[0-9]+)?)
  | (?P<word>[^\W\d]\w*)
  | (?P<sign><=|>=|<>|!=|==|\|\||::|\S)
    """,
    re.VERBOSE,
)


class Piece(NamedTuple):
    """One word, number, string, name in double quotes, comment or sign, and where it stands."""

    kind: str
    text: str
    start: int
    end: int

    @property
    def upper(self) -> str:
        """The text in capitals, as keywords are compared."""
        return self.text.upper()


def cut(text: str) -> list[Piece]:
    """The pieces of a text, comments included."""
    return [
        Piece(found.lastgroup or "sign", found.group(), found.start(), found.end())
        for found in _PIECE.finditer(text)
    ]


def opening(pieces: list[Piece], closing: int) -> int | None:
    """Index of the parenthesis that the one at index ``closing`` closes."""
    depth = 0
    for index in range(closing, -1, -1):
        if pieces[index].kind == "sign":
            depth += (pieces[index].text == ")") - (pieces[index].text == "(")
            if depth == 0:
                return index
    return None


def offset_of(text: str, line: int, column: int) -> int:
    """Index of a character from its line and column, both counted from 1."""
    start = 0
    for _ in range(line - 1):
        start = text.index("\n", start) + 1
    return start + column - 1
