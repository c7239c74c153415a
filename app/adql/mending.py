"""Mends common slips in queries, on request only: other SQL, unquoted names, forgotten ``= 1``.

Pure: whether a text is a query is asked of the caller. Each step mends what the parser or the
resolver stumbled over first and asks again, so a text that is understood is never touched.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from app.adql.hints import STRUCTURE, called, is_test, reserved_name
from app.adql.parse import find_failure
from app.adql.pieces import Piece, cut, offset_of
from app.errors import AdqlSyntaxError, UnknownNameError, UsageError
from app.schema.fields import Catalog
from app.schema.reserved import RESERVED

MAX_MENDED: Final = 20_000
"""Characters; longer texts are left alone."""

_MAX_LOOKED_AT: Final = 40_000
"""Characters that are judged in all, over and over again; each time counts as _STEP more."""
_STEP: Final = 1000
_CUTOFF: Final = 0.8

_PLAIN: Final = {
    **dict.fromkeys("‘’‚‛´", "'"),
    **dict.fromkeys("“”„‟«»", '"'),
    **dict.fromkeys("−–—‐‑", "-"),
}
_COMPARED: Final = frozenset({"=", "<>", "!=", "<", ">", "<=", ">=", "LIKE", "ILIKE", "||", "IN"})


@dataclass(frozen=True, slots=True)
class Change:
    """``start`` to ``end`` of a text becomes ``new``; ``told`` says so to the user."""

    start: int
    end: int
    new: str
    told: str


@dataclass(frozen=True, slots=True)
class Mended:
    """A text that is a query now, and what was changed, one sentence each."""

    text: str
    changes: tuple[str, ...]


Judge = Callable[[str], UsageError | None]
"""What is wrong with a text, or None."""


def mend(text: str, catalog: Catalog, judge: Judge) -> Mended | None:
    """The text with its slips mended; None if nothing is wrong or something stays wrong."""
    if len(text) > MAX_MENDED:
        return None
    changes: list[str] = []
    looked_at = 0
    while (fault := judge(text)) is not None:
        looked_at += len(text) + _STEP
        found = None if looked_at > _MAX_LOOKED_AT else _propose(text, fault, catalog)
        if not found:
            return None
        for change in sorted(found, key=lambda each: -each.start):
            text = text[: change.start] + change.new + text[change.end :]
        changes += dict.fromkeys(change.told for change in found if change.told)
    return Mended(text, tuple(changes)) if changes else None


def _propose(text: str, fault: UsageError, catalog: Catalog) -> list[Change]:
    if isinstance(fault, UnknownNameError):
        return _other_name(text, offset_of(text, fault.line, fault.column), catalog)
    if not isinstance(fault, AdqlSyntaxError):
        return []
    failure = find_failure(text)
    if isinstance(failure, UnexpectedCharacters):
        return _other_character(text, failure.pos_in_stream or 0, catalog)
    return [] if failure is None else _other_word(text, failure, catalog)


# -- characters that no query has --------------------------------------------------------------


def _other_character(text: str, position: int, catalog: Catalog) -> list[Change]:
    character = text[position]
    if character == "`":
        return _backticks(text, position)
    if character in _PLAIN:
        return _plain_characters(text)
    if character == "_" or character.isalpha():
        return _quoted_word(text, position, catalog)
    if character == ":" and text.startswith("::", position):
        return _converted(text, position)
    if character.isprintable():
        return []
    return [
        Change(position, position + 1, " ", f"the invisible U+{ord(character):04X} is left out")
    ]


def _backticks(text: str, position: int) -> list[Change]:
    end = text.find("`", position + 1)
    name = text[position + 1 : end]
    if end < 0 or not name or '"' in name or "\n" in name:
        return []
    return [Change(position, end + 1, f'"{name}"', f'`{name}` became "{name}"')]


def _plain_characters(text: str) -> list[Change]:
    """Every typographic character that stands outside of a string or a quoted name."""
    return [
        Change(
            piece.start, piece.end, _PLAIN[piece.text], f"{piece.text} became {_PLAIN[piece.text]}"
        )
        for piece in cut(text)
        if piece.kind == "sign" and piece.text in _PLAIN
    ]


def _quoted_word(text: str, position: int, catalog: Catalog) -> list[Change]:
    start = position
    while start and (text[start - 1].isalnum() or text[start - 1] == "_"):
        start -= 1
    end = position
    while end < len(text) and (text[end].isalnum() or text[end] == "_"):
        end += 1
    return [_quoted(Piece("word", text[start:end], start, end), catalog)]


def _quoted(piece: Piece, catalog: Catalog) -> Change:
    """A word as a name in double quotes, in the case in which the catalog has it."""
    names = {field.name.lower(): field.name for t in catalog.tables for field in t.fields}
    name = names.get(piece.text.lower(), piece.text)
    return Change(piece.start, piece.end, f'"{name}"', f'{piece.text} became "{name}"')


_TYPES: Final = {
    **dict.fromkeys(("INT", "INT4", "INTEGER"), "INTEGER"),
    **dict.fromkeys(("INT8", "BIGINT"), "BIGINT"),
    **dict.fromkeys(("INT2", "SMALLINT"), "SMALLINT"),
    **dict.fromkeys(("FLOAT8", "FLOAT", "DOUBLE", "NUMERIC"), "DOUBLE PRECISION"),
    **dict.fromkeys(("FLOAT4", "REAL"), "REAL"),
    **dict.fromkeys(("TEXT", "VARCHAR", "CHAR"), "VARCHAR"),
    **dict.fromkeys(("TIMESTAMP", "DATE"), "TIMESTAMP"),
}


def _converted(text: str, position: int) -> list[Change]:
    """``a.b::int`` as CAST(a.b AS INTEGER)."""
    before = [piece for piece in cut(text) if piece.end <= position]
    after = cut(text[position + 2 : position + 40])
    if not before or not after or after[0].upper not in _TYPES:
        return []
    first = len(before) - 1
    if before[first].kind not in ("word", "delimited", "number", "string"):
        return []
    while first >= 2 and before[first - 1].text == ".":
        first -= 2
    start, end = before[first].start, position + 2 + after[0].end
    new = f"CAST({text[start:position].strip()} AS {_TYPES[after[0].upper]})"
    return [Change(start, end, new, f"{text[start:end]} became {new}")]


# -- words in the wrong place ------------------------------------------------------------------


def _other_word(text: str, failure: UnexpectedInput, catalog: Catalog) -> list[Change]:
    pieces = [piece for piece in cut(text) if piece.kind != "comment"]
    allowed = _allowed(failure)
    at_end = not isinstance(failure, UnexpectedToken) or failure.token.type == "$END"
    position = len(text) if at_end else int(failure.pos_in_stream or 0)
    before = [piece for piece in pieces if piece.end <= position]
    token = next((piece for piece in pieces if piece.start <= position < piece.end), None)
    word = token.text if token is not None else ""
    if called(before) and is_test(called(before)) and "COMPARISON" in allowed:
        end = before[-1].end
        return [Change(end, end, " = 1", f"= 1 was added behind {called(before)}(…)")]
    name = reserved_name(before, word, allowed)
    if name is not None:
        return [_quoted(name, catalog)]
    if token is None:
        return _foreign_comment(text, position)
    return _top(pieces, token) or _at_token(text, token, before, allowed, catalog)


def _allowed(failure: UnexpectedInput) -> frozenset[str]:
    if not isinstance(failure, UnexpectedToken):
        return frozenset()
    return frozenset(failure.accepts or failure.expected)


def _foreign_comment(text: str, position: int) -> list[Change]:
    """``/* … */`` as a blank."""
    return [
        Change(piece.start, piece.end, " ", "a comment /* … */ is left out")
        for piece in cut(text)
        if piece.start <= position < piece.end and piece.text.startswith("/*")
    ]


def _at_token(
    text: str, token: Piece, before: list[Piece], allowed: frozenset[str], catalog: Catalog
) -> list[Change]:
    last = before[-1].text if before else ""
    change: Change | None = None
    if token.text == "==" or (token.text == "=" and last == "="):
        start = token.start if token.text == "==" else before[-1].start
        change = Change(start, token.end, "=", "== became =")
    elif token.text == ";" or last == ";":
        change = _without_semicolons(text, token if token.text == ";" else before[-1])
    elif token.upper == "FROM" and last == ",":
        told = "the comma before FROM is left out"
        change = Change(before[-1].start, before[-1].end, "", told)
    elif token.upper in ("TRUE", "FALSE") and last in ("=", "<>", "!="):
        new = "1" if token.upper == "TRUE" else "0"
        change = Change(token.start, token.end, new, f"{token.text} became {new}")
    elif token.upper in RESERVED - STRUCTURE and "NAME" in allowed:
        change = _quoted(token, catalog)
    return [] if change is None else [change]


def _without_semicolons(text: str, first: Piece) -> Change | None:
    if text[first.start :].strip("; \t\r\n"):
        return None
    return Change(first.start, len(text), "", "semicolons at the end are left out")


def _top(pieces: list[Piece], token: Piece) -> list[Change]:
    """LIMIT n, or FETCH FIRST n ROWS ONLY, as TOP n of the SELECT it belongs to."""
    here = pieces.index(token)
    start = next((i for i in (here, here - 1) if pieces[i].upper in ("LIMIT", "FETCH")), -1)
    select = _select_of(pieces, start) if start > 0 else None
    if select is None:
        return []
    number, end = start + 1, start + 1
    if pieces[start].upper == "FETCH":
        number, end = start + 2, start + 4
    if end >= len(pieces) or not pieces[number].text.isdecimal():
        return []
    if end + 1 < len(pieces) and pieces[end + 1].text == ",":
        return []
    told = f"{pieces[start].text} {pieces[number].text} became TOP {pieces[number].text}"
    place = pieces[select].end
    return [
        Change(place, place, f" TOP {pieces[number].text}", told),
        Change(pieces[start].start, pieces[end].end, "", told),
    ]


def _select_of(pieces: list[Piece], index: int) -> int | None:
    """The word behind which TOP stands; None if there is a TOP, or if several SELECTs are one."""
    depth = 0
    for place in range(index - 1, -1, -1):
        piece = pieces[place]
        depth += (piece.text == ")") - (piece.text == "(")
        if depth < 0:
            return None
        if depth == 0 and piece.upper in ("UNION", "EXCEPT", "INTERSECT"):
            return None
        if depth == 0 and piece.upper == "SELECT":
            if place and pieces[place - 1].upper in ("UNION", "EXCEPT", "INTERSECT", "ALL"):
                return None
            behind = place + (pieces[place + 1].upper in ("DISTINCT", "ALL"))
            return None if pieces[behind + 1].upper == "TOP" else behind
    return None


# -- names that nothing has --------------------------------------------------------------------


def _other_name(text: str, position: int, catalog: Catalog) -> list[Change]:
    pieces = [piece for piece in cut(text) if piece.kind != "comment"]
    index = next((i for i, piece in enumerate(pieces) if piece.start == position), None)
    if index is None:
        return []
    last = pieces[index - 1].upper if index else ""
    if last in ("FROM", "JOIN") or (last == "," and _is_in_from(pieces, index)):
        return _other_table(text, pieces, index, catalog)
    if pieces[index].kind == "delimited":
        return _string_instead(pieces, index, catalog)
    return []


def _is_in_from(pieces: list[Piece], index: int) -> bool:
    for piece in reversed(pieces[:index]):
        if piece.upper in ("FROM", "SELECT", "WHERE", "ON", "BY", "("):
            return piece.upper == "FROM"
    return False


def _other_table(text: str, pieces: list[Piece], index: int, catalog: Catalog) -> list[Change]:
    """The one table whose name is near; its schema may have been left out."""
    end = index
    while end + 2 < len(pieces) and pieces[end + 1].text == ".":
        end += 2
    written = text[pieces[index].start : pieces[end].end]
    plain = written.replace('"', "").replace(" ", "").lower()
    known = {table.name.lower(): table.name for table in catalog.tables}
    same_tail = [name for name in known if name.split(".")[-1] == plain.split(".")[-1]]
    near = same_tail if "." not in plain else []
    near = near or get_close_matches(plain, known, n=3, cutoff=_CUTOFF)
    near = near or same_tail
    if len(near) != 1:
        return []
    name = known[near[0]]
    return [Change(pieces[index].start, pieces[end].end, name, f"table {written} became {name}")]


def _string_instead(pieces: list[Piece], index: int, catalog: Catalog) -> list[Change]:
    """A name in double quotes that no column has, where a string is compared."""
    piece = pieces[index]
    value = piece.text[1:-1].replace('""', '"')
    columns = {field.name.lower(): field.name for t in catalog.tables for field in t.fields}
    if value.lower() in columns:
        name = columns[value.lower()]
        return [Change(piece.start, piece.end, name, f"{piece.text} became {name}")]
    before = index - 1
    while before > 0 and pieces[before].kind in ("string", "delimited", "sign", "number"):
        if pieces[before].text not in ("(", ","):
            break
        before -= 1 if pieces[before].text == "(" else 2
    is_alone = index + 1 >= len(pieces) or pieces[index + 1].text != "."
    if not is_alone or pieces[before].upper not in _COMPARED:
        return []
    new = "'" + value.replace("'", "''") + "'"
    return [Change(piece.start, piece.end, new, f"{piece.text} became the string {new}")]
