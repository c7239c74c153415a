"""The markdown table of the TAP benchmark."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

SMALL: Final = (
    ("contains_all", "CONTAINS(62, -37), 525 full rows"),
    ("contains_count", "the same, COUNT(*)"),
    ("circle_0.1", "INTERSECTS circle 0.1 deg, full rows"),
    ("circle_0.1_count", "the same, COUNT(*)"),
    ("circle_0.5", "INTERSECTS circle 0.5 deg, full rows"),
    ("circle_0.5_count", "the same, COUNT(*)"),
    ("groupby_subtype", "COUNT(*) GROUP BY subtype"),
)
FORMATS: Final = (("BINARY2", "BINARY2"), ("TABLEDATA", "TABLEDATA"), ("csv", "CSV"),
                  ("vnd.apache.parquet", "Parquet"))  # fmt: skip


def write_table(found: Mapping[str, Mapping[str, Any]], dachs: Mapping[str, Any] | None) -> str:
    """Rows of measurements; for each engine a column over HTTP, one of the same SQL through the
    bare driver and one of SQL by hand, each with how many times as long HTTP takes; then DaCHS."""
    engines = list(found)
    kinds = ("{}", "{}: our SQL, bare", "{}: SQL by hand, bare")
    heads = [kind.format(engine) for engine in engines for kind in kinds]
    lines = [
        "| 1,000,000 rows, over HTTP | " + " | ".join([*heads, "DaCHS"]) + " |",
        "|---" * (len(heads) + 2) + "|",
    ]

    def row(what: str, ours: Mapping[str, tuple[str, str, str]], peer: str) -> None:
        cells = [cell for engine in engines for cell in ours[engine]]
        lines.append("| " + " | ".join([what, *cells, peer]) + " |")

    for name, words in SMALL:
        row(
            f"{words}, 1 client, median",
            {each: _small(found[each]["sides"][name]) for each in engines},
            _milliseconds(dachs, name),
        )
    row(
        "CONTAINS, 8 clients",
        {each: (f"{_rate(found[each])}/s", "", "") for each in engines},
        f"{_rate(dachs)}/s" if dachs else "",
    )
    row(
        "CONTAINS as an async job",
        {each: (f"{found[each]['async_contains_all']['p50_ms']} ms", "", "") for each in engines},
        f"{dachs['async_contains_all']['p50_ms']} ms" if dachs else "",
    )
    for count in (100_000, 1_000_000):
        for form, words in FORMATS:
            name = f"bulk_{count}_{form}"
            if all(name in found[each] for each in engines):
                ours = {each: (_bulk(found[each], name), "", "") for each in engines}
                row(f"{count:,} rows, {words}", ours, _bulk(dachs, name))
    return "\n".join(lines) + "\n"


def _small(seconds: Mapping[str, float]) -> tuple[str, str, str]:
    http, ours, by_hand = (seconds[side] for side in ("http", "ours", "by_hand"))
    return (
        f"{1e3 * http:.1f} ms",
        f"{1e3 * ours:.1f} ms ({http / ours:.2f} x)",
        f"{1e3 * by_hand:.1f} ms ({http / by_hand:.2f} x)",
    )


def _milliseconds(found: Mapping[str, Any] | None, name: str) -> str:
    return f"{found[name]['c1']['p50_ms']} ms" if found and name in found else ""


def _rate(found: Mapping[str, Any]) -> float:
    return float(found["contains_all"]["c8"]["req_per_s"])


def _bulk(found: Mapping[str, Any] | None, name: str) -> str:
    """Rate, time to the first byte and growth of the memory over idle."""
    if found is None or name not in found:
        return ""
    numbers = found[name]
    return (
        f"{numbers['rows_per_s'] / 1000:.0f}k rows/s, first byte {1e3 * numbers['ttfb_s']:.0f} ms, "
        f"+{numbers['grown_mb']} MB"
    )
