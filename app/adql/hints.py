"""What a user most likely meant by a text that is no ADQL: other SQL, slips, forgotten words."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Set
from difflib import get_close_matches
from typing import Final

from app.adql.pieces import Piece, cut, opening
from app.adql.words import AGGREGATES, FUNCTIONS
from app.schema.reserved import RESERVED

_WINDOW: Final = 4000
"""Characters before a fault that are looked at."""

_CLAUSES: Final = ("SELECT", "FROM", "WHERE", "GROUP", "HAVING", "ORDER", "OFFSET")
_STRUCTURE = """
    AND AS BETWEEN BY DISTINCT EXCEPT EXISTS FROM HAVING ILIKE IN INTERSECT IS JOIN LIKE NOT NULL ON
    OR SELECT UNION USING WHERE WITH
"""

STRUCTURE: Final = frozenset(_STRUCTURE.split())
"""Reserved words that nobody means as a name."""

_ORDER: Final = (
    "the clauses stand in this order: SELECT, FROM, WHERE, GROUP BY, HAVING, ORDER BY, OFFSET"
)
_TOP: Final = "ADQL limits rows by SELECT TOP n"
_CLOCK: Final = "ADQL has no clock: write the time itself, as in '2026-01-31T12:00:00'"
_READ_ONLY: Final = "only queries are answered: they begin with SELECT or WITH"
_TRUTH: Final = "ADQL has no truth values: CONTAINS and INTERSECTS give 1 or 0"

_WORDS: Final = {
    **dict.fromkeys(("LIMIT", "FETCH"), _TOP),
    **dict.fromkeys(("TRUE", "FALSE"), _TRUTH),
    **dict.fromkeys(("CURRENT_DATE", "CURRENT_TIME", "CURRENT_TIMESTAMP"), _CLOCK),
    "INTO": "results are sent to you, not stored",
    "ESCAPE": "LIKE of ADQL has no ESCAPE",
    "SUBSTRING": "ADQL has no SUBSTRING; compare with LIKE, or CAST(text AS VARCHAR(n))",
    "NULLIF": "ADQL has no NULLIF",
    "EXTRACT": "ADQL has no EXTRACT; ivo_to_mjd gives days",
    "SELECT": "a query inside a query stands in parentheses",
    "TOP": "TOP n stands at the start: SELECT TOP n, or SELECT DISTINCT TOP n",
    "DISTINCT": "DISTINCT stands right behind SELECT, before TOP n",
    "INTERVAL": "ADQL has no intervals of time; ivo_to_mjd gives days",
}
_FIRST_WORDS: Final = frozenset(
    {"ALTER", "CREATE", "DELETE", "DROP", "EXEC", "GRANT", "INSERT", "TRUNCATE", "UPDATE"}
)

_AFTER: Final = {
    "LIMIT": _TOP,
    "*": "beside other columns write table.* for all columns of a table",
    "IS": "IS NULL is asked of a column",
    "==": "equality is written =",
    "=": "equality is written =",
}

_CHARACTERS: Final = {
    ":": "values are converted by CAST(value AS type)",
    "`": 'names that need quotes stand in double quotes: "name"',
    "[": 'names that need quotes stand in double quotes: "name"',
    "%": "the remainder is MOD(a, b)",
    "^": "powers are POWER(a, b)",
    "!": "negation is NOT, and not equal is <>",
    "&": "conditions are joined by AND",
    "|": "conditions are joined by OR, strings by ||",
    "#": "a comment begins with --",
    **dict.fromkeys("?@$", "a query has no parameters: write the value itself"),
    **dict.fromkeys("‘’‚‛´", "this is a typographic quote: write the plain '"),
    **dict.fromkeys("“”„‟«»", 'this is a typographic quote: write the plain "'),
    **dict.fromkeys("−–—‐‑", "this is no minus sign: write the plain -"),
}

FOREIGN_FUNCTIONS: Final = {
    **dict.fromkeys(("now", "getdate", "sysdate", "today"), _CLOCK),
    **dict.fromkeys(("substr", "left", "right", "mid"), _WORDS["SUBSTRING"]),
    **dict.fromkeys(("ifnull", "nvl", "isnull"), "the first value that is not NULL is COALESCE"),
    **dict.fromkeys(("ceil",), "it is called CEILING"),
    **dict.fromkeys(("pow",), "it is called POWER"),
    **dict.fromkeys(("trunc",), "it is called TRUNCATE"),
    **dict.fromkeys(("random",), "it is called RAND"),
    **dict.fromkeys(("ln",), "the natural logarithm is LOG"),
    **dict.fromkeys(("log2",), "write LOG(x) / LOG(2)"),
    **dict.fromkeys(("concat",), "strings are joined by ||"),
    **dict.fromkeys(("string_agg", "group_concat"), "it is called ivo_string_agg"),
    **dict.fromkeys(("q3c_radial_query", "cone_search"), "a cone is DISTANCE(a, b, c, d) < r"),
}
"""Functions of other languages, lower-case, and what ADQL has for them."""


def hint_for_character(character: str, text: str, position: int) -> str:
    """What to write instead of a character that is no part of ADQL."""
    if character == "_" and position + 1 < len(text):
        word = cut(text[position : position + 100])[0].text
        return f'names begin with a letter: write "{word}" in double quotes'
    if character == ":" and text[position - 1 : position + 2 : 2].isdigit():
        return "coordinates are numbers in degrees"
    if character in _CHARACTERS:
        return _CHARACTERS[character]
    if unicodedata.category(character) in ("Cf", "Cc", "Co"):
        return "this character cannot be seen: delete it"
    if character.isalpha():
        return "names outside A-Z, 0-9 and _ must stand in double quotes"
    return ""


def hint_for_word(text: str, position: int, word: str, allowed: Set[str]) -> str:
    """What most likely went wrong at a word or sign that cannot stand at ``position``, where only
    the terminals ``allowed`` can. ``word`` is empty at the end of the query."""
    if "/*" in (text[position : position + 2], text[max(0, position - 1) : position + 1]):
        return _CHARACTERS["#"]
    before = [p for p in cut(text[max(0, position - _WINDOW) : position]) if p.kind != "comment"]
    for find in _FINDERS:
        hint = find(before, word, allowed)
        if hint:
            return hint
    return ""


def _unnamed_tables(before: list[Piece], word: str, allowed: Set[str]) -> str:
    if word or "FROM" not in allowed or any(piece.upper == "FROM" for piece in before):
        return ""
    return "every query says behind FROM which tables it asks"


def _by_word(before: list[Piece], word: str, allowed: Set[str]) -> str:
    upper = word.upper()
    if not before and upper in _FIRST_WORDS:
        return _READ_ONLY
    if upper == "*" and before and before[-1].text == "*":
        return _CHARACTERS["^"]
    return _WORDS.get(upper, "")


def _misspelt(before: list[Piece], word: str, allowed: Set[str]) -> str:
    """A keyword with a slip in it, here or taken for a name just before."""
    known = sorted(name for name in allowed if name in RESERVED)
    for piece, shortest in ((word, 2), (before[-1].text if before else "", 3)):
        upper = piece.upper()
        if upper in RESERVED or upper in _AFTER or not shortest <= len(upper) <= 12:
            continue
        # What stands before may be a name; of what cannot stand here a guess does no harm.
        cutoff = 0.65 if piece == word and len(word) <= 3 else 0.75
        near = _nearest(upper, known, cutoff)
        if near:
            return f"did you mean {near} instead of {piece}?"
    return ""


def _nearest(word: str, known: list[str], cutoff: float) -> str:
    """The keyword with the same letters in another order, or with a few others."""
    swapped = [name for name in known if sorted(name) == sorted(word)]
    near = get_close_matches(word, known, n=1, cutoff=cutoff)
    return next(iter(swapped + near), "")


def _by_last_word(before: list[Piece], word: str, allowed: Set[str]) -> str:
    if not before:
        return ""
    last = before[-1].upper
    if last == "=" and word != "=":
        return ""
    return _AFTER.get(last, "")


def called(before: list[Piece]) -> str:
    """The function whose call ends with the last piece; empty if none does."""
    if not before or before[-1].text != ")":
        return ""
    start = opening(before, len(before) - 1)
    name = before[start - 1] if start else None
    return name.text if name is not None and name.kind == "word" else ""


def _uncompared(before: list[Piece], word: str, allowed: Set[str]) -> str:
    name = called(before)
    if "COMPARISON" not in allowed or not is_test(name):
        return ""
    return f"{name} gives 1 or 0: write {name}(…) = 1"


def is_test(name: str) -> bool:
    """Whether a function asks a question, so that its value is 1 or 0."""
    return name.upper() in ("CONTAINS", "INTERSECTS") or name.lower() in (
        "ivo_hasword",
        "ivo_hashlist_has",
        "ivo_interval_has",
        "ivo_interval_overlaps",
        "ivo_nocasematch",
    )


def _half_between(before: list[Piece], word: str, allowed: Set[str]) -> str:
    if "AND" not in allowed:
        return ""
    for piece in reversed(before):
        if piece.upper in ("AND", "OR", "WHERE", "ON", "HAVING"):
            return ""
        if piece.upper == "BETWEEN":
            return "a range is written: value BETWEEN low AND high"
    return ""


def reserved_name(before: list[Piece], word: str, allowed: Set[str]) -> Piece | None:
    """The last piece, if it is a reserved word that was meant as a name; a function without its
    parenthesis shows only behind it."""
    is_call = allowed == {"LPAR"} and before and word != "("
    if is_call and before[-1].upper in FUNCTIONS | AGGREGATES | {"COUNT", "CAST"}:
        return before[-1]
    return None


def _reserved(before: list[Piece], word: str, allowed: Set[str]) -> str:
    last = reserved_name(before, word, allowed)
    if last is not None:
        arguments = "*" if last.upper == "COUNT" else "…"
        return f"{_quoted(last.text)}, or {last.text}({arguments}) to call the function"
    if word.upper() not in RESERVED - STRUCTURE or "NAME" not in allowed:
        return ""
    return _quoted(word)


def _quoted(word: str) -> str:
    return f'{word} is a reserved word: write "{word}" in double quotes to use it as a name'


def _misplaced_clause(before: list[Piece], word: str, allowed: Set[str]) -> str:
    if word.upper() not in _CLAUSES[1:]:
        return ""
    if before and before[-1].text == ",":
        return "a comma too many stands before it"
    earlier = {piece.upper for piece in before}
    later = _CLAUSES[_CLAUSES.index(word.upper()) + 1 :]
    return _ORDER if earlier & set(later) else ""


def _missing_comma(before: list[Piece], word: str, allowed: Set[str]) -> str:
    if "COMMA" not in allowed or not before or not word:
        return ""
    begins = word[0].isalnum() or word[0] in "\"'"
    ended = before[-1].kind in ("word", "number", "string", "delimited") or before[-1].text == ")"
    return "is a comma missing before it?" if begins and ended else ""


_FINDERS: Final[tuple[Callable[[list[Piece], str, Set[str]], str], ...]] = (
    _by_word,
    _misspelt,
    _by_last_word,
    _uncompared,
    _half_between,
    _reserved,
    _misplaced_clause,
    _missing_comma,
    _unnamed_tables,
)
"""In the order in which they are asked."""
