"""The parser's failures in words: where, what was found, what may stand there."""

from __future__ import annotations

from collections.abc import Iterable, Set
from typing import Final

from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken
from lark.lexer import Token

from app.adql.hints import hint_for_character, hint_for_word
from app.errors import AdqlSyntaxError, quoted

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
    "CASE",
    "CAST",
    "COUNT",
    "DELIMITED",
    "HEXADECIMAL",
    "MINUS",
    "NULL",
    "PLUS",
}
_CONTINUATIONS: Final = frozenset({"CONCAT", "PLUS", "MINUS", "SLASH", "STAR", "DOT"})


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
        hint = hint_for_word(text, len(text), "", allowed)
        reason = f"the query ends too early; expected {wanted}"
        return AdqlSyntaxError(_with(reason, hint), *end_of(text))
    word = str(token)
    hint = hint_for_word(text, token.start_pos or 0, word, allowed)
    reason = f"found {quoted(word)}; expected {wanted}"
    return AdqlSyntaxError(_with(reason, hint), token.line or 1, token.column or 1)


def _with(reason: str, hint: str) -> str:
    return f"{reason}; {hint}" if hint else reason


def _character_error(text: str, failure: UnexpectedCharacters) -> AdqlSyntaxError:
    position = failure.pos_in_stream or 0
    character = text[position]
    if character == "'":
        reason = "a string is opened by ' and never closed"
    elif character == '"':
        reason = 'a name is opened by " and never closed, or empty'
    else:
        reason = f"the character {character!r} has no place in a query here"
        hint = hint_for_character(character, text, position)
        reason += f"; {hint}" if hint else ""
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
