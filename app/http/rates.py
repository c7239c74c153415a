"""How many requests an account may send: a bucket for each, which fills again as time goes by."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from app.errors import TooManyRequestsError
from app.schema.access import Identity
from app.schema.allowances import Allowances

BURST_S: Final = 10.0
"""What a bucket holds: the requests of so many seconds."""
MOST_ACCOUNTS: Final = 10_000
"""Buckets that are remembered; those that were not used for longest are taken for full."""


class RequestRates:
    """Counts the requests of each account in this process.

    Of a bucket only the time is kept at which it will be full again (seconds of ``clock``).
    """

    def __init__(
        self, *, allowances: Allowances, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._allowances = allowances
        self._clock = clock
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def count(self, identity: Identity) -> None:
        """Take one request out of somebody's bucket. Raises TooManyRequestsError when it is
        empty; a request that is refused takes nothing."""
        rate = self._allowances.of(identity).requests_per_s
        if not rate:
            return
        now, account = self._clock(), identity.account
        full_at = max(now, self._full_at.get(account, now)) + 1.0 / rate
        over_s = full_at - now - max(BURST_S, 1.0 / rate)
        if over_s > 1e-6:
            raise TooManyRequestsError(rate, math.ceil(over_s))
        self._full_at[account] = full_at
        self._full_at.move_to_end(account)
        if len(self._full_at) > MOST_ACCOUNTS:
            self._full_at.popitem(last=False)
