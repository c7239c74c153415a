"""Every node that a query can have is handled by every pass."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from app.adql import expressions, tree, typed, writer


@pytest.mark.parametrize(
    ("nodes", "dispatch"),
    [
        (tree.Value, expressions._VALUES),
        (tree.Condition, expressions._CONDITIONS),
        (typed.Expression, writer._VALUES),
        (typed.Condition, writer._CONDITIONS),
    ],
    ids=["values", "conditions", "typed values", "typed conditions"],
)
def test_every_node_has_a_method(nodes: Any, dispatch: Any) -> None:
    assert set(get_args(nodes)) == set(dispatch.methods)
