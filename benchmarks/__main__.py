"""``python -m benchmarks [NAME…]``: run the scripts of this folder and print their figures."""

from __future__ import annotations

import argparse
import importlib

from benchmarks.figures import machine

SCRIPTS = (
    *("ingest", "rows", "contains", "tap", "sia", "writers", "builds", "decam", "alerts"),
    *("cutouts", "remote", "looks", "stamps", "coverage", "hips", "upserts"),
    "partitions",
)
"""In the order in which they run; each module offers ``figures() -> Iterable[Figure]``."""


def main() -> None:
    """Run what was asked for; each figure is printed as soon as it is known."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(SCRIPTS)} (default: all)")
    names = parser.parse_args().names or SCRIPTS
    unknown = set(names) - set(SCRIPTS)
    if unknown:
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    print(machine())
    for name in names:
        print(f"\n{name}")
        for figure in importlib.import_module(f"benchmarks.{name}").figures():
            print("  " + figure.line(), flush=True)


if __name__ == "__main__":
    main()
