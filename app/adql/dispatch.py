"""Methods chosen by the type of their first argument, by one look into a table.

``functools.singledispatchmethod`` builds a function anew at every call; a compiler that handles
each node of a query in microseconds cannot afford that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, get_args, get_type_hints

Method = TypeVar("Method", bound=Callable[..., Any])


class Dispatch:
    """What handles the nodes of each type: ``register`` adds a method for the type (or the types of
    a union) that its second parameter is annotated with, ``methods[type(node)]`` is the method."""

    def __init__(self) -> None:
        self.methods: dict[type, Callable[..., Any]] = {}

    def register(self, method: Method) -> Method:
        """Use a method for the type of its argument."""
        parameter = method.__code__.co_varnames[1]
        hint = get_type_hints(method)[parameter]
        for kind in get_args(hint) or (hint,):
            self.methods[kind] = method
        return method
