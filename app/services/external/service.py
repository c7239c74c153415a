"""``skyloom ingest --rows``: a table of ObsCore rows, checked and imported."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from app.schema.obscore import OBSCORE, REQUIRED
from app.services.external.checks import Checked, Fault, check_batch
from app.services.publishing.files import open_table
from app.services.publishing.source import FileError, Source
from app.stores.tables.digests import row_digests
from app.stores.tables.external_rows import ExternalRowStore
from app.stores.tables.published import PublishedStore
from app.stores.tables.row_batch import RowBatch, row_batch

SHOWN_FAULTS: Final = 20


@dataclass(slots=True, kw_only=True)
class RowReport:
    """What an import did. ``faults`` are all values that were refused, by row."""

    path: Path
    rows: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    notes: tuple[str, ...] = ()
    faults: list[Fault] = field(default_factory=list)

    @property
    def refused(self) -> int:
        """Rows with at least one fault."""
        return len({fault.row for fault in self.faults})

    @property
    def exit_status(self) -> int:
        """0 all rows are in, 1 some were refused."""
        return 1 if self.faults else 0

    def counts(self) -> dict[str, int]:
        """Figures for a summary, in the order to show them."""
        return {
            "rows": self.rows,
            "inserted": self.inserted,
            "updated": self.updated,
            "unchanged": self.unchanged,
            "refused": self.refused,
        }

    def to_json(self) -> dict[str, object]:
        """A plain value for ``json.dumps``."""
        return {
            "file": str(self.path),
            "exit_status": self.exit_status,
            "counts": self.counts(),
            "notes": list(self.notes),
            "faults": [asdict(fault) for fault in sorted(self.faults)],
        }


class RowImportService:
    """Imports rows of ObsCore whose images lie elsewhere."""

    def __init__(self, *, rows: ExternalRowStore, loaders: PublishedStore) -> None:
        self._rows = rows
        self._loaders = loaders

    def run(self, path: Path, *, progress: Callable[[int, int | None], None]) -> RowReport:
        """Import the rows of a file that are right; the others are in the report with reasons.

        They come in steps, each a transaction. Raises FileError when the file cannot be read (rows
        before that place may be in) or has not the columns of ObsCore (nothing is changed).
        """
        source = open_table(path)
        report = RowReport(path=path)
        matched = _match(source)
        report.notes = (*source.notes, *matched.notes)
        batches = _Batches(source, matched, report)
        with self._loaders.loading():
            counts = self._rows.upsert(
                one_ahead(batches.good()),
                on_batch=lambda: progress(report.rows, source.rows),
                refused=batches.refuse,
            )
        report.inserted, report.updated = counts.inserted, counts.updated
        report.unchanged = counts.unchanged
        report.faults.sort()
        return report


@dataclass(frozen=True, slots=True)
class _Matched:
    """ObsCore column -> (place in the file, factor to its unit)."""

    places: dict[str, tuple[int, float]]
    notes: tuple[str, ...]


def _match(source: Source) -> _Matched:
    """Which columns of the file are which of ObsCore: by name in any case."""
    known = {spec.name: spec for spec in OBSCORE.fields}
    places: dict[str, tuple[int, float]] = {}
    extra, notes = [], []
    for place, given in enumerate(source.fields):
        name = given.name.strip().lower()
        if name not in known:
            extra.append(given.name)
            continue
        if name in places:
            raise FileError(source.path, f"two columns are called {name}")
        factor = _factor(source.path, name, given.unit, known[name].unit)
        if factor != 1.0:
            notes.append(f"{name}: converted from {given.unit} to {known[name].unit}")
        places[name] = (place, factor)
    missing = [name for name in REQUIRED if name not in places]
    if missing:
        reason = f"ObsCore needs the columns {', '.join(REQUIRED)}; missing: {', '.join(missing)}"
        raise FileError(source.path, reason)
    if extra:
        notes.append(f"not of ObsCore, left out: {', '.join(extra)}")
    return _Matched(places, tuple(notes))


def _factor(path: Path, name: str, given: str | None, wanted: str | None) -> float:
    """What values in the file's unit are to be multiplied by."""
    if not given or not wanted or given == wanted:
        return 1.0
    from astropy import units  # few files need it, and it takes half a second

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return float(units.Unit(given).to(units.Unit(wanted)))
    except (ValueError, TypeError):
        reason = f"column {name}: the unit is {given}; ObsCore has it in {wanted}"
        raise FileError(path, reason) from None


class _Batches:
    """The batches of a file on their way: checked, the wrong rows taken out and reported."""

    def __init__(self, source: Source, matched: _Matched, report: RowReport) -> None:
        self._source = source
        self._matched = matched
        self._report = report
        self._seen = _Seen()

    def good(self) -> Iterator[RowBatch]:
        """The rows that are right."""
        for batch in self._source.read():
            first, count = self._report.rows, batch.num_rows
            self._report.rows += count
            if not count:
                continue
            checked = check_batch(self._columns(batch), first)
            keep = checked.good(first, count)
            self._refuse_twins(checked, keep, first)
            self._report.faults += checked.faults
            if keep.any():
                numbers = np.arange(first + 1, first + count + 1)
                yield row_batch(checked.columns, numbers, checked.polygons, keep)

    def _columns(self, batch: pa.RecordBatch) -> dict[str, pa.Array]:
        columns = {}
        for name, (place, factor) in self._matched.places.items():
            values = batch.column(place)
            if factor != 1.0 and not pa.types.is_string(values.type):
                values = pc.multiply(pc.cast(values, pa.float64()), factor)
                if name == "access_estsize":
                    values = pc.ceil(values)
            columns[name] = values
        return columns

    def _refuse_twins(self, checked: Checked, keep: Any, first: int) -> None:
        """Of rows with one identifier the first is taken."""
        names = checked.columns["obs_publisher_did"]
        digests = row_digests([pc.ascii_lower(names)])[:, 0]
        places = np.flatnonzero(keep)
        for place in places[self._seen.again(digests[places])].tolist():
            keep[place] = False
            checked.faults.append(
                Fault(
                    first + place + 1,
                    "obs_publisher_did",
                    str(names[place].as_py()),
                    "must be unique; a row before has it",
                )
            )

    def refuse(self, number: int, identifier: str, reason: str) -> None:
        """Report a row that the store does not take."""
        self._report.faults.append(Fault(number, "obs_publisher_did", identifier, reason))


def one_ahead(source: Iterator[RowBatch]) -> Iterator[RowBatch]:
    """What ``source`` yields; a thread is always at the next one already."""
    with ThreadPoolExecutor(1, "rows-ahead") as pool:
        waiting = pool.submit(next, source, None)
        while (item := waiting.result()) is not None:
            waiting = pool.submit(next, source, None)
            yield item


class _Seen:
    """Fingerprints that came before, eight bytes each."""

    def __init__(self) -> None:
        self._sorted: list[Any] = []

    def again(self, digests: Any) -> Any:
        """Which of these came before, or earlier in the same batch; all are known afterwards."""
        repeated = np.ones(len(digests), bool)
        fresh, first_places = np.unique(digests, return_index=True)
        is_known = np.zeros(len(fresh), bool)
        for known in self._sorted:
            at = np.minimum(np.searchsorted(known, fresh), len(known) - 1)
            is_known |= known[at] == fresh
        repeated[first_places] = is_known
        new = fresh[~is_known]
        if len(new):
            self._sorted.append(new)
        # Runs of about the same length become one, so there are few of them.
        while len(self._sorted) > 1 and len(self._sorted[-2]) < 2 * len(self._sorted[-1]):
            runs = [self._sorted.pop(), self._sorted.pop()]
            self._sorted.append(np.sort(np.concatenate(runs), kind="stable"))
        return repeated
