"""Products that nobody uses make room: by age and by what all of them take on the disk.

An evicted product was never anything but the answer to a recipe: its rows are withdrawn, its
difference is listed as buildable again, and whoever asks for it has it built anew. What was used
last is told by the time of access of its file, which the service keeps by itself, however the disk
is mounted, and also where files have none (:meth:`app.stores.kept_files.KeptFiles.mark_used`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from app.stores.data_folder import PRODUCTS
from app.stores.kept_files import KeptFiles
from app.stores.tables.product_store import ProductStore, StoredProduct

log = logging.getLogger(__name__)

_DAY_S: Final = 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EvictionRule:
    """``max_bytes`` of all products together and ``unused_days`` of each, 0: without limit. What
    was used within ``grace_s`` stays: its links are still valid."""

    max_bytes: int
    unused_days: float
    grace_s: float

    @property
    def limits(self) -> bool:
        """Whether anything is ever to go."""
        return bool(self.max_bytes or self.unused_days)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evicted:
    """A product that went, or would: why, and how long it was not used."""

    dataset_id: str
    size_bytes: int
    unused_s: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EvictionReport:
    """What went; of what stays, how many products and bytes, and how many are needed by others."""

    evicted: tuple[Evicted, ...]
    kept: int
    kept_bytes: int
    needed: int


class EvictionService:
    """Evicts by ``rule``. ``clock_s`` gives Unix time; ``relist`` is called when something went."""

    def __init__(
        self,
        *,
        products: ProductStore,
        files: KeptFiles,
        rule: EvictionRule,
        clock_s: Callable[[], float],
        relist: Callable[[], object],
    ) -> None:
        self._products = products
        self._files = files
        self.rule: Final = rule
        self._clock_s = clock_s
        self._relist = relist

    def run(self, *, dry: bool = False) -> EvictionReport:
        """Evict what the rule tells and nothing needs; with ``dry`` only tell it.

        Raises StoreUnavailableError, RemoteUnavailableError; OSError when a file cannot be taken
        away.
        """
        now_s = self._clock_s()
        find = self._files.look(PRODUCTS)
        there = [
            (facts.used_s, product)
            for product in self._products.products()
            if (facts := find(product.path)) is not None
        ]
        total = sum(product.size_bytes for _, product in there)
        is_needed = self._products.needed()
        needed = 0
        evicted: list[Evicted] = []
        for used_s, product in sorted(there, key=lambda each: each[0]):
            reason = self._reason(total, now_s - used_s)
            if reason is None:
                break
            if is_needed(product):
                needed += 1
            elif dry or self._evict(product, used_s):
                total -= product.size_bytes
                evicted.append(_told(product, now_s - used_s, reason))
        if evicted and not dry:
            self._relist()
        return EvictionReport(
            evicted=tuple(evicted), kept=len(there) - len(evicted), kept_bytes=total, needed=needed
        )

    def _reason(self, total: int, unused_s: float) -> str | None:
        """Why the longest unused of the products that are left is to go."""
        rule = self.rule
        if unused_s < rule.grace_s:
            return None
        if rule.unused_days and unused_s > rule.unused_days * _DAY_S:
            return f"not used for more than {rule.unused_days:g} days"
        if rule.max_bytes and total > rule.max_bytes:
            return f"products take more than {rule.max_bytes} bytes"
        return None

    def _evict(self, product: StoredProduct, used_s: float) -> bool:
        """False when it was used, needed or built anew meanwhile."""
        facts = self._files.facts(product.path)
        if facts is None or facts.used_s != used_s:
            return False
        return self._products.evict(product)


def _told(product: StoredProduct, unused_s: float, reason: str) -> Evicted:
    return Evicted(
        dataset_id=product.dataset_id,
        size_bytes=product.size_bytes,
        unused_s=unused_s,
        reason=reason,
    )


def lines_of(report: EvictionReport, *, dry: bool) -> Iterator[str]:
    """What happened, for a person."""
    verb = "would evict" if dry else "evicted"
    for each in report.evicted:
        days = each.unused_s / _DAY_S
        yield (
            f"{verb} {each.dataset_id}: {each.size_bytes / 1e6:.1f} MB, "
            f"unused for {days:.1f} days ({each.reason})"
        )
    needed = f", {report.needed} of these are needed by others" if report.needed else ""
    yield f"{report.kept} products stay, {report.kept_bytes / 1e6:.1f} MB{needed}"
