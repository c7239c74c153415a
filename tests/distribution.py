"""Which tests one of several processes runs, where pytest-xdist has them."""

from __future__ import annotations

from typing import Final

from xdist.scheduler import LoadFileScheduling

_FLOWS: Final = (
    "bad_input batch engines_agree first_use footprints plan pyvo_story sia_clients soda_clients "
    "stamp_clients tap_clients votlint"
)
DEMO: Final = frozenset(f"tests/flows/test_{name}.py" for name in _FLOWS.split())
"""Files whose tests use the demo, which takes minutes to make and to publish on two databases."""


class FileScheduling(LoadFileScheduling):
    """The tests of a file go to one process, and those of all files that use the demo."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return "demo" if file in DEMO else file
