"""What the doctor tells."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

Status = Literal["ok", "mended", "warn", "fail"]

INIT: Final = "run skyloom init"
REPAIR: Final = "run skyloom doctor --repair"
_EXAMPLES: Final = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. ``advice`` says what to do; None when all is well."""

    status: Status
    subject: str
    message: str
    advice: str | None = None

    @property
    def detail(self) -> str:
        """The message, and what to do."""
        return f"{self.message} → {self.advice}" if self.advice else self.message


def exit_status(findings: Iterable[Finding]) -> int:
    """1 when something must be done."""
    return int(any(finding.status == "fail" for finding in findings))


def examples(names: Iterable[object]) -> str:
    """The first few of many names."""
    shown = [str(name) for name in names]
    return ", ".join(shown[:_EXAMPLES]) + (" …" if len(shown) > _EXAMPLES else "")
