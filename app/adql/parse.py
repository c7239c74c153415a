"""ADQL 2.1 text to a syntax tree."""

from __future__ import annotations

import re
from functools import lru_cache
from importlib import resources
from typing import cast

from lark import Lark, Token
from lark.exceptions import UnexpectedInput, VisitError

from app.adql.build import TreeBuilder
from app.adql.messages import syntax_error
from app.adql.tree import Query
from app.adql.words import terminal_of
from app.errors import AdqlError, AdqlSyntaxError, LimitError

MAX_CHARACTERS = 20_000
MAX_WORDS = 4_000
"""Words, numbers and signs in one query: a list of 1900 values, compiled in some 30 ms. Longer
lists come as a table with the query (TAP_UPLOAD)."""
MAX_CONVERSIONS = 50
"""IN_UNIT in one query: reading a unit takes up to a millisecond."""
MAX_DEPTH = 100
"""Parentheses and CASE open at one time; the later passes recurse that deep and no deeper."""


def parse(text: str) -> Query:
    """The syntax tree of a query.

    Raises AdqlSyntaxError with line and column, or LimitError when the text is beyond
    :data:`MAX_CHARACTERS`, :data:`MAX_WORDS`, :data:`MAX_CONVERSIONS` or :data:`MAX_DEPTH`.
    """
    if len(text) > MAX_CHARACTERS:
        raise LimitError("characters in a query", len(text), MAX_CHARACTERS)
    _check_bounds(text)
    conversions = text.upper().count("IN_UNIT")
    if conversions > MAX_CONVERSIONS:
        raise LimitError("IN_UNIT in a query", conversions, MAX_CONVERSIONS)
    try:
        return cast(Query, _parser().parse(text))
    except UnexpectedInput as failure:
        raise syntax_error(text, failure) from None
    except VisitError as failure:
        if isinstance(failure.orig_exc, AdqlError):
            raise failure.orig_exc from None
        raise


def find_failure(text: str) -> UnexpectedInput | None:
    """What the grammar stumbles over, as lark tells it; None if it takes the text."""
    try:
        _parser().parse(text)
    except UnexpectedInput as failure:
        return failure
    except (VisitError, AdqlError):
        return None
    return None


@lru_cache(maxsize=1)
def _parser() -> Lark:
    grammar = resources.files("app.adql").joinpath("adql.lark").read_text(encoding="utf-8")
    return Lark(
        grammar,
        parser="lalr",
        lexer="basic",
        transformer=TreeBuilder(),
        lexer_callbacks={"NAME": _classified},
        maybe_placeholders=True,
    )


def _classified(token: Token) -> Token:
    return token.update(type=terminal_of(token))


_PIECE = re.compile(r"""'(?:[^']|'')*'?|"(?:[^"]|"")*"?|--[^\n]*|\w+|[^\s\w]""")
"""Strings, names, comments, words and single signs: as much as counting needs."""


_NESTING = {"(": 1, ")": -1, "CASE": 1, "END": -1}


def _check_bounds(text: str) -> None:
    depth = 0
    for count, found in enumerate(_PIECE.finditer(text)):
        if count >= MAX_WORDS:
            raise LimitError("words in a query", f"more than {MAX_WORDS}", MAX_WORDS)
        piece = found.group()
        depth += _NESTING.get(piece.upper() if len(piece) <= 4 else piece, 0)
        if depth > MAX_DEPTH:
            before = text[: found.start()]
            line, column = before.count("\n") + 1, found.start() - before.rfind("\n")
            reason = f"parentheses and CASE are nested more than {MAX_DEPTH} deep"
            raise AdqlSyntaxError(reason, line, column)
