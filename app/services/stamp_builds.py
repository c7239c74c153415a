"""Building what triplets lack: default differences, and their templates as they are subtracted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from app.errors import LimitError, ServiceError, TransientError
from app.schema.access import ANYBODY, Identity
from app.schema.rows import DatasetRow
from app.services.first_use import FirstUseService, Missing
from app.services.stamp_epochs import Role, StampEpoch, StampEpochs
from app.stores.tables.rows import fold
from app.uws.job import Job, Phase

MAX_BUILDS: Final = 100
"""Epochs that one request may have built."""
PRODUCTS: Final[tuple[Role, ...]] = ("difference", "template")

Wanted = tuple[str, Role]
"""Folded identifier of an exposure, and what is made of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StampBuilds:
    """The ``jobs`` that build, and the ``reasons`` why others cannot."""

    jobs: Mapping[Wanted, Job]
    reasons: Mapping[Wanted, str]

    def explained(self, epochs: StampEpochs, ended: Mapping[Wanted, Job]) -> StampEpochs:
        """``epochs`` as they are found after the jobs ``ended``, with why something is missing."""
        reasons = {**self.reasons, **{each: _why(job) for each, job in ended.items()}}
        told = (_explained(epoch, reasons) for epoch in epochs.epochs)
        return replace(epochs, epochs=tuple(told))


class StampBuilder:
    """Starts the builds of what is missing."""

    def __init__(self, *, first_use: FirstUseService) -> None:
        self._first_use = first_use

    def start(
        self, epochs: StampEpochs, service_url: str, identity: Identity = ANYBODY
    ) -> StampBuilds:
        """Jobs for every epoch without a current difference or without its matched template: new
        ones, those under way, or those that failed by their data.

        Raises LimitError for more than :data:`MAX_BUILDS` epochs, TransientError.
        """
        wanted = {
            (fold(epoch.science.dataset_id), role): epoch
            for epoch in epochs.epochs
            for role in _lacking(epoch)
        }
        count = len({exposure for exposure, _ in wanted})
        if count > MAX_BUILDS:
            raise LimitError("epochs that one request builds (BUILD=true)", count, MAX_BUILDS)
        jobs: dict[Wanted, Job] = {}
        reasons: dict[Wanted, str] = {}
        for (exposure, role), epoch in wanted.items():
            try:
                found = self._find(epoch.science.dataset_id, role, identity)
            except TransientError:
                raise
            except ServiceError as fault:
                reasons[exposure, role] = str(fault)
                continue
            if isinstance(found, Missing):
                jobs[exposure, role] = self._first_use.start(found, service_url, identity)
        return StampBuilds(jobs=jobs, reasons=reasons)

    def _find(self, exposure: str, role: Role, identity: Identity) -> DatasetRow | Missing:
        if role == "difference":
            return self._first_use.find(exposure, identity)
        return self._first_use.find_template(exposure, identity)


def _lacking(epoch: StampEpoch) -> Sequence[Role]:
    """What is to be built for an epoch. Of a difference with options of its own the template is
    what the science image shows beyond it."""
    difference = epoch.difference
    if difference is None or (difference.is_stale and difference.difference_of is not None):
        return PRODUCTS
    is_default = difference.difference_of is not None
    return ("template",) if is_default and epoch.template_origin == "subtracted" else ()


def _why(job: Job) -> str:
    if job.phase is Phase.COMPLETED:
        return ""
    return "the build was stopped" if job.error is None else job.error.message


def _explained(epoch: StampEpoch, reasons: Mapping[Wanted, str]) -> StampEpoch:
    name = fold(epoch.science.dataset_id)
    missing = {role: reasons.get((name, role)) or reason for role, reason in epoch.missing.items()}
    return replace(epoch, missing=missing)
