"""Request parameters as values (DALI 1.1, section 3.1): names without case, values in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from app.errors import MultiValuedParameterError, ParameterError, quoted
from app.recipes.values import truth
from app.sky.numbers import parse_whole

Pairs = tuple[tuple[str, str], ...]


def is_storable(text: str) -> bool:
    """Whether both engines can hold the text: no NUL, no lone surrogate."""
    if "\0" in text:
        return False
    return text.isascii() or not any("\ud800" <= each <= "\udfff" for each in text)


class ParameterSet:
    """(name, value) pairs as the client gave them. A blank value counts as not given."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self.pairs: Pairs = tuple(pairs)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self.pairs)

    def __contains__(self, name: str) -> bool:
        return bool(self.all(name))

    def all(self, name: str) -> tuple[str, ...]:
        """Every value of ``name`` that is not blank, in the order given."""
        folded = name.upper()
        return tuple(
            value for given, value in self.pairs if given.upper() == folded and value.strip()
        )

    def single(self, name: str) -> str | None:
        """The value of ``name`` or None; MultiValuedParameterError if there are several."""
        values = self.all(name)
        if len(values) > 1:
            raise MultiValuedParameterError(name, f"{len(values)} values were given")
        return values[0] if values else None

    def require(self, name: str, hint: str) -> str:
        """The value of ``name``; ParameterError with ``hint`` if there is none."""
        value = self.single(name)
        if value is None:
            raise ParameterError(name, f"required: {hint}")
        return value

    def integer(self, name: str, *, minimum: int | None = None) -> int | None:
        """The value of ``name`` as a whole number, at least ``minimum``."""
        text = self.single(name)
        if text is None:
            return None
        try:
            value = parse_whole(text)
        except ValueError:
            raise ParameterError(name, f"a whole number is needed, got {quoted(text)}") from None
        if minimum is not None and value < minimum:
            raise ParameterError(name, f"at least {minimum} is needed, got {quoted(text)}")
        return value

    def flag(self, name: str) -> bool:
        """Whether ``name`` is given as true; absent is false. ParameterError for other words."""
        return truth(name, self.single(name) or "false")

    def without(self, *names: str) -> ParameterSet:
        """The same parameters less those of the given names."""
        left_out = {name.upper() for name in names}
        return ParameterSet(pair for pair in self.pairs if pair[0].upper() not in left_out)

    def replaced_by(self, others: Iterable[tuple[str, str]]) -> ParameterSet:
        """The same parameters; every name that ``others`` holds has its values from there."""
        news = tuple(others)
        return ParameterSet((*self.without(*(name for name, _ in news)), *news))
