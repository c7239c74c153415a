"""What an ingest did, file by file."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum


class Status(StrEnum):
    """What became of a file."""

    PUBLISHED = "published"
    UNCHANGED = "unchanged"
    COMPANION = "companion"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class FileOutcome:
    """``datasets``: identifiers of the rows it gave; ``notes``: HDUs that gave none, and why."""

    path: str
    status: Status
    datasets: tuple[str, ...] = ()
    reason: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestReport:
    """Every file that was looked at, in order, and how many rows were written."""

    collection: str
    files: tuple[FileOutcome, ...]
    inserted: int
    updated: int
    unchanged: int
    removed: int
    interrupted: bool = False

    @property
    def exit_status(self) -> int:
        """0 all files are published, unchanged or companions; 1 some were refused; 130 the run
        was interrupted (what was read by then is published). Wrong usage is 2, and raises."""
        if self.interrupted:
            return 130
        return 1 if self.refused else 0

    @property
    def refused(self) -> list[tuple[str, str]]:
        """(path, reason) of each file that gave no row though it should."""
        return [(f.path, f.reason or "") for f in self.files if f.status is Status.REFUSED]

    def counts(self) -> dict[str, int]:
        """Figures for a summary, in the order to show them."""
        by_status = dict.fromkeys(Status, 0)
        for file in self.files:
            by_status[file.status] += 1
        return {
            "files": len(self.files),
            "published": by_status[Status.PUBLISHED],
            "unchanged": by_status[Status.UNCHANGED],
            "companions": by_status[Status.COMPANION],
            "refused": by_status[Status.REFUSED],
            "rows inserted": self.inserted,
            "rows updated": self.updated,
            "rows unchanged": self.unchanged,
            "rows removed": self.removed,
        }

    def to_json(self) -> dict[str, object]:
        """A plain value for ``json.dumps``."""
        return {
            "collection": self.collection,
            "exit_status": self.exit_status,
            "interrupted": self.interrupted,
            "counts": self.counts(),
            "files": [asdict(file) for file in self.files],
        }
