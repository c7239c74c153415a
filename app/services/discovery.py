"""Image discovery by parameters: a query of SIA 2.0 becomes a syntax tree, which goes the way of
every ADQL query.

Values of one parameter are alternatives, different parameters must all hold (SIA 2.0, section 2.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pyarrow as pa

from app.adql.parse import MAX_WORDS
from app.adql.phrases import (
    all_of,
    among,
    any_of,
    call,
    column,
    in_query,
    is_true,
    joined,
    select,
    table,
)
from app.adql.tree import Condition, Query
from app.errors import LimitError
from app.schema.columns import real
from app.schema.fields import Table
from app.schema.obscore import OBSCORE
from app.schema.uploads import UPLOAD_SCHEMA, UploadedTable, to_uploaded
from app.services.discovery_parameters import PARAMETERS, PRODUCT_TYPES
from app.services.formats import FORMATS
from app.services.parameters import ParameterSet
from app.services.query import QueryRequest
from app.services.uploaded_positions import RADIUS, uploaded_circles
from app.sky.shapes import Circle
from app.tabular.registry import OutputFormat
from app.votable.descriptors import InputParameter, ServiceDescriptor, number_input
from app.votable.markup import Info

STANDARD_ID: Final = "ivo://ivoa.net/std/SIA#query-2.0"
MAX_VALUES: Final = 500
"""Of all parameters together; longer lists of positions come as a table. Their words, numbers among
them, are as many as those of an ADQL query may be."""

_DID: Final = "obs_publisher_did"
_POSITIONS: Final = f"{UPLOAD_SCHEMA}.positions"
_PLACES: Final = (
    real("ra", "Longitude", unit="deg", ucd="pos.eq.ra"),
    real("dec", "Latitude", unit="deg", ucd="pos.eq.dec"),
    real(RADIUS, "Radius", unit="deg", ucd="phys.angSize"),
)

_OTHERS: Final = (
    number_input("MAXREC", "Rows at most; 0: the columns alone", datatype="int"),
    InputParameter(
        name="RESPONSEFORMAT",
        ucd="meta.code.mime",
        description="Format of the answer",
        options=tuple(output.names[0] for output in FORMATS.formats),
    ),
    InputParameter(
        name="UPLOAD",
        description="Table of positions (ra, dec and perhaps radius, deg), which count as values "
        "of POS: name,param:form_item or name,URL",
    ),
)


def parse_discovery(
    parameters: ParameterSet, *, service_url: str, uploads: Sequence[UploadedTable] = ()
) -> QueryRequest:
    """The request in parameters of SIA 2.0; positions in ``uploads`` count as values of POS.
    Unknown parameters are left aside (DALI 1.1, section 3.1).

    Raises ParameterError or UnsupportedFormatError, naming the parameter and what is allowed, and
    LimitError for more than :data:`MAX_VALUES` values. A polygon of a thousand vertices takes a
    second to be looked at.
    """
    output, media_type = choose_output(parameters)
    given = {each.name: parameters.all(each.name) for each in PARAMETERS}
    check_size([value for values in given.values() for value in values])
    circles = [circle for upload in uploads for circle in uploaded_circles(upload)]
    return QueryRequest(
        query=_make_query(given, circles if uploads else None),
        service_url=service_url,
        maxrec=parameters.integer("MAXREC", minimum=0),
        output=output,
        media_type=media_type,
        uploads=(_positions(circles),) if uploads else (),
        infos=_infos(given),
        descriptors=(describe_discovery(service_url),),
    )


def choose_output(parameters: ParameterSet) -> tuple[OutputFormat, str]:
    """The format that is asked for, and its media type. Raises UnsupportedFormatError."""
    return FORMATS.choose(parameters.single("RESPONSEFORMAT"), parameter="RESPONSEFORMAT")


def check_size(values: Sequence[str]) -> None:
    """LimitError where values are more, or longer, than a request may hold."""
    if len(values) > MAX_VALUES:
        raise LimitError("values in a request", len(values), MAX_VALUES)
    words = sum(len(value.split()) for value in values)
    if words > MAX_WORDS:
        raise LimitError("words and numbers in a request", words, MAX_WORDS)


def describe_discovery(service_url: str) -> ServiceDescriptor:
    """How ``/sia/query`` is asked (SIA 2.0, section 3.1; DataLink 1.1, section 4)."""
    inputs = tuple(each.described for each in PARAMETERS)
    return ServiceDescriptor(
        resource_id="sia",
        name="this",
        access_url=f"{service_url}/sia/query",
        standard_id=STANDARD_ID,
        content_type=FORMATS.formats[0].media_type,
        description="This search. Values of one parameter are alternatives; different parameters "
        "must all hold.",
        inputs=(*inputs, *_OTHERS),
    )


def _infos(given: dict[str, tuple[str, ...]]) -> tuple[Info, ...]:
    """What was asked, parameter by parameter."""
    asked = (Info(name, value.strip()) for name, values in given.items() for value in values)
    return Info("standardID", STANDARD_ID), *asked


def _make_query(given: dict[str, tuple[str, ...]], circles: Sequence[Circle] | None) -> Query:
    """All columns of the images that every parameter wants; ``circles`` None: no table came."""
    terms: list[Condition] = []
    for parameter in PARAMETERS:
        name, values = parameter.name, given[parameter.name]
        asked = [parameter.ask(name, values)] if values else []
        if name == "POS" and circles is not None:
            asked.append(_near(circles))
        terms += [any_of(asked)] if asked else []
    if not given["DPTYPE"]:
        terms.append(among(column("dataproduct_type"), PRODUCT_TYPES))
    return select(table(OBSCORE.name), where=all_of(terms))


def _near(circles: Sequence[Circle]) -> Condition:
    """The image meets one of the circles that came as a table. The inner query goes from these to
    the images by the spatial index, the outer one to each image once."""
    place = (column("p.ra"), column("p.dec"))
    if any(circle.radius_deg for circle in circles):
        found = call("INTERSECTS", call("CIRCLE", *place, column("p.radius")), column("o.s_region"))
    else:
        found = call("CONTAINS", call("POINT", *place), column("o.s_region"))
    pairs = joined(table(_POSITIONS, "p"), table(OBSCORE.name, "o"), is_true(found))
    return in_query(_DID, select(pairs, column_name=f"o.{_DID}"))


def _positions(circles: Sequence[Circle]) -> UploadedTable:
    """The circles of all tables as one whose columns the query knows."""
    columns = (
        [circle.lon_deg for circle in circles],
        [circle.lat_deg for circle in circles],
        [circle.radius_deg for circle in circles],
    )
    described = Table(
        schema_name=UPLOAD_SCHEMA, name=_POSITIONS, physical="upload_1", fields=_PLACES
    )
    return to_uploaded(described, [pa.array(values, pa.float64()) for values in columns])
