"""The parser's failures in words: where, what was found, what may stand there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Set
from typing import Final

from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken
from lark.lexer import Token

from app.adql.words import RESERVED
from app.errors import AdqlSyntaxError

_READABLE: Final = {
    "$END": "the end of the query",
    "NAME": "a name",
    "DELIMITED": "a name in double quotes",
    "STRING": "a string in single quotes",
    "DECIMAL": "a number",
    "UNSIGNED": "a number",
    "COMPARISON": "a comparison (= <> < <= > >=)",
    "CONCAT": "'||'",
    "PLUS": "'+'",
    "MINUS": "'-'",
    "STAR": "'*'",
    "SLASH": "'/'",
    "LPAR": "'('",
    "RPAR": "')'",
    "COMMA": "','",
    "DOT": "'.'",
    "SEMICOLON": "';'",
    "FUNCTION": "a function",
    "AGGREGATE": "an aggregate function",
}

_VALUE_START: Final = frozenset({"NAME", "STRING", "DECIMAL", "UNSIGNED", "FUNCTION", "LPAR"})
_VALUE_WORDS: Final = _VALUE_START | {
    "AGGREGATE",
    "CAST",
    "COUNT",
    "DELIMITED",
    "MINUS",
    "NULL",
    "PLUS",
}
_CONTINUATIONS: Final = frozenset({"CONCAT", "PLUS", "MINUS", "SLASH", "STAR", "DOT"})

_HINTS: Final = {
    "LIMIT": "ADQL limits rows by SELECT TOP n",
    "*": "beside other columns write table.* for all columns of a table",
    "CASE": "ADQL has no CASE",
    "IS": "IS NULL is asked of a column",
    "CROSS": "ADQL writes a cross join as a comma",
}


def syntax_error(text: str, failure: UnexpectedInput) -> AdqlSyntaxError:
    """The error for what lark could not take."""
    if isinstance(failure, UnexpectedToken):
        return _token_error(text, failure)
    if isinstance(failure, UnexpectedCharacters):
        return _character_error(text, failure)
    return AdqlSyntaxError("the query ends too early", *end_of(text))


def end_of(text: str) -> tuple[int, int]:
    """Line and column just behind the last character that is not blank."""
    lines = text.rstrip().split("\n")
    return len(lines), len(lines[-1]) + 1


def _token_error(text: str, failure: UnexpectedToken) -> AdqlSyntaxError:
    token: Token = failure.token
    allowed = failure.accepts or failure.expected
    wanted = expected_words(allowed)
    if token.type == "$END":
        return AdqlSyntaxError(f"the query ends too early; expected {wanted}", *end_of(text))
    word = str(token)
    line, column = token.line or 1, token.column or 1
    hint = _HINTS.get(word.upper(), "") or _HINTS.get(_word_before(text, token), "")
    if not hint and word.upper() in RESERVED and "NAME" in allowed:
        hint = f'{word} is a reserved word: write "{word}" in double quotes to use it as a name'
    reason = f"found {word!r}; expected {wanted}" + (f". {hint}" if hint else "")
    return AdqlSyntaxError(reason, line, column)


def _word_before(text: str, token: Token) -> str:
    """The last word or sign before a token, upper-case: a misplaced word passes for an alias."""
    found = re.search(r"(\w+|\*)\s*$", text[: token.start_pos or 0])
    return found.group(1).upper() if found else ""


def _character_error(text: str, failure: UnexpectedCharacters) -> AdqlSyntaxError:
    character = text[failure.pos_in_stream or 0]
    if character == "'":
        reason = "a string is opened by ' and never closed"
    elif character == '"':
        reason = 'a name is opened by " and never closed, or empty'
    else:
        reason = f"the character {character!r} has no place in a query here"
        if character.isalpha():
            reason += "; names outside A-Z, 0-9 and _ must stand in double quotes"
    return AdqlSyntaxError(reason, failure.line, failure.column)


def expected_words(terminals: Iterable[str]) -> str:
    """What may stand here, as a list a reader can use."""
    names: Set[str] = set(terminals) - {"RESERVED"}
    phrases: list[str] = []
    if names >= _VALUE_START:
        phrases.append("a value")
        names = names - _VALUE_WORDS
    elif len(names) > 6:
        names = names - _CONTINUATIONS
    if names >= {"NAME", "DELIMITED"}:
        names = names - {"DELIMITED"}
    phrases += sorted({_READABLE.get(name, name) for name in names}, key=_keywords_last)
    return " or ".join([", ".join(phrases[:-1]), phrases[-1]] if len(phrases) > 2 else phrases)


def _keywords_last(phrase: str) -> tuple[bool, str]:
    return (phrase.isupper(), phrase)
