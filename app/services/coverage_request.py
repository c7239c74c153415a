"""Coverage maps by the parameters of the image search: the same conditions, asked of groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from app.adql.phrases import all_of, among, column, select, table
from app.adql.tree import Condition
from app.errors import ParameterError, quoted
from app.schema.coverage import COVERAGE
from app.services.catalog_rows import CatalogRows
from app.services.discovery import check_size
from app.services.discovery_parameters import PARAMETERS, PRODUCT_TYPES, DiscoveryParameter
from app.services.parameters import ParameterSet
from app.sky.moc import MAX_ORDER, MOC, bounded, read_text, union
from app.votable.descriptors import InputParameter, number_input

OFFERED: Final = ("BAND", "COLLECTION", "DPTYPE", "DPSUBTYPE", "CALIB")
_COLUMN: Final = "coverage"
_WHAT: Final = "coverage maps"


@dataclass(frozen=True, slots=True, kw_only=True)
class CoverageRequest:
    """Which images (each parameter with what it asks of them), and the order of the smallest cells
    that are wanted (None: as small as they are kept)."""

    conditions: tuple[tuple[str, Condition], ...]
    order: int | None


def coverage_inputs() -> tuple[InputParameter, ...]:
    """What maps are asked, as clients are told of it."""
    return (
        *(each.described for each in PARAMETERS if each.name in OFFERED),
        number_input(
            "ORDER", "Of the smallest cells", datatype="int", limits=("0", str(MAX_ORDER))
        ),
        InputParameter(
            name="RESPONSEFORMAT", description="Form of the map", options=("fits", "json", "ascii")
        ),
    )


def parse_coverage(parameters: ParameterSet) -> CoverageRequest:
    """The request in parameters. Raises ParameterError, also for a parameter of the image search
    that maps are not kept by, and LimitError for too many values."""
    conditions: list[tuple[str, Condition]] = []
    for each in PARAMETERS:
        values = parameters.all(each.name)
        check_size(values)
        if values:
            conditions.append((each.name, _offered(each).ask(each.name, values)))
    if "DPTYPE" not in parameters:
        conditions.append(("DPTYPE", among(column("dataproduct_type"), PRODUCT_TYPES)))
    order = parameters.integer("ORDER", minimum=0)
    if order is not None and order > MAX_ORDER:
        raise ParameterError("ORDER", f"0 to {MAX_ORDER}, got {order}")
    return CoverageRequest(conditions=tuple(conditions), order=order)


def _offered(parameter: DiscoveryParameter) -> DiscoveryParameter:
    if parameter.name not in OFFERED:
        raise ParameterError(
            parameter.name,
            f"coverage is kept by {', '.join(OFFERED)} only; search images with /sia/query",
        )
    return parameter


def find_coverage(rows: CatalogRows, request: CoverageRequest) -> MOC:
    """The cells that the images have a part in. Raises ParameterError for a collection that is not
    there."""
    wanted = all_of([condition for _, condition in request.conditions])
    found = [str(text) for (text,) in _select(rows, _COLUMN, wanted)]
    if not found:
        _check_collection(rows, request)
    most = MAX_ORDER if request.order is None else request.order
    maps = [bounded(read_text(text), order=most) for text in found]
    return bounded(union(maps, most))


def _check_collection(rows: CatalogRows, request: CoverageRequest) -> None:
    named = dict(request.conditions).get("COLLECTION")
    if named is None or _select(rows, "obs_collection", named):
        return
    there = sorted({str(name) for (name,) in _select(rows, "obs_collection", None)})
    offered = ", ".join(map(quoted, there)) or "none yet"
    raise ParameterError("COLLECTION", f"no image is of this collection; there are: {offered}")


def _select(rows: CatalogRows, name: str, where: Condition | None) -> list[tuple[object, ...]]:
    query = select(table(COVERAGE.name), column_name=name, where=where)
    return rows.select(query, what=_WHAT)
