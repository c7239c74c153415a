"""How much of the service one account may take: values, and which of them is whose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from app.schema.access import Identity


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What one account may take; 0: whatever the service gives to anybody.

    ``requests_per_s`` holds in each server process; ``jobs`` are those that have not ended;
    ``rows`` are of one answer, ``upload_bytes`` of one request, ``build_pixels`` (target times
    images) of one build; ``storage_bytes`` is what the results of all its jobs take.
    """

    requests_per_s: float = 0.0
    jobs: int = 0
    rows: int = 0
    upload_bytes: int = 0
    build_pixels: int = 0
    storage_bytes: int = 0


UNLIMITED: Final = Allowance()


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowances:
    """Of a client that nobody knows, and of somebody who is known. Operators have no limit."""

    anonymous: Allowance = UNLIMITED
    users: Allowance = UNLIMITED

    def of(self, identity: Identity) -> Allowance:
        """What the account of somebody may take."""
        if identity.sees_all:
            return UNLIMITED
        return self.anonymous if identity.is_anonymous else self.users


NO_ALLOWANCES: Final = Allowances()
"""Nobody has a limit of their own."""


def lower(limit: int, allowed: int) -> int:
    """The limit of the service, or that of an account (0: it has none) where it is lower."""
    return min(limit, allowed) if allowed else limit
