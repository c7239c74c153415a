"""A query's answer as a VOTable 1.4, streamed batch by batch (DALI 1.1, section 4.4)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, Literal, Protocol

import pyarrow as pa

from app.schema.batches import RowLimit
from app.schema.fields import Field
from app.votable.binary import Binary
from app.votable.descriptors import ServiceDescriptor, format_descriptor
from app.votable.markup import HEAD, TAIL, Info, format_field, format_info, is_xml_id
from app.votable.tabledata import TableData

Serialization = Literal["td", "binary", "binary2"]
DescribeError = Callable[[Exception], str]

_OK: Final = Info("QUERY_STATUS", "OK")


class _Encoder(Protocol):
    """Turns batches into the content of DATA."""

    opening: str
    closing: str

    def null_of(self, field: Field) -> str | None: ...

    def datatype_of(self, field: Field) -> str: ...

    def encode(self, batch: pa.RecordBatch) -> bytes: ...

    def finish(self) -> bytes: ...


def write_results(
    fields: Sequence[Field],
    batches: Iterable[pa.RecordBatch],
    *,
    maxrec: int,
    serialization: Serialization = "td",
    infos: Sequence[Info] = (),
    descriptors: Sequence[ServiceDescriptor] = (),
    describe_error: DescribeError | None = None,
    truncated: bool = False,
) -> Iterator[bytes]:
    """The document in pieces; the first piece comes after the first batch was fetched.

    INFO QUERY_STATUS is OK before the table; a second one after it says OVERFLOW when more than
    ``maxrec`` rows came, or ERROR when fetching failed on the way. An input of a descriptor whose
    ``ref`` names a field gets that field's ID.

    Parameters
    ----------
    describe_error
        Text for the reader about an error met after the first batch; the document then ends well
        formed. Without it, and before the first piece, errors are raised.
    truncated
        Rows were cut off before they came here: say OVERFLOW whatever their number.
    """
    limit = RowLimit(batches, maxrec)
    source = iter(limit)
    try:
        first = next(source, None)
        encoder = _encoder(serialization, fields, first)
        references = {p.ref for d in descriptors for p in d.inputs if p.ref is not None}
        yield _opening(fields, encoder, infos, references).encode()
        trailer: list[Info] = []
        yield from _body(encoder, first, source, trailer, describe_error)
        if (truncated or limit.overflow) and not trailer:
            trailer.append(Info("QUERY_STATUS", "OVERFLOW", f"cut after {limit.rows} rows"))
        trailer += _warnings(encoder)
        yield _closing(encoder, trailer, descriptors).encode()
    finally:
        limit.close()


def empty_table(fields: Sequence[Field], infos: Sequence[Info] = ()) -> str:
    """A VOTable with the fields and no data: the metadata of a table kept in another format."""
    encoder = TableData(fields)
    return _opening(fields, encoder, infos, set()).removesuffix(f"<DATA>\n{encoder.opening}") + (
        "</TABLE>\n</RESOURCE>\n" + TAIL
    )


def _encoder(
    serialization: Serialization, fields: Sequence[Field], first: pa.RecordBatch | None
) -> _Encoder:
    if serialization == "td":
        return TableData(fields)
    return Binary(fields, first, null_flags=serialization == "binary2")


def _opening(
    fields: Sequence[Field],
    encoder: _Encoder,
    infos: Sequence[Info],
    references: set[str],
) -> str:
    identifiers = _field_ids(fields, references)
    field_elements = [
        format_field(
            field,
            field_id=identifiers.get(number),
            null=encoder.null_of(field),
            datatype=encoder.datatype_of(field),
        )
        for number, field in enumerate(fields)
    ]
    return "".join(
        (
            HEAD,
            '<RESOURCE type="results">\n',
            *(format_info(info) for info in (_OK, *infos)),
            "<TABLE>\n",
            *field_elements,
            f"<DATA>\n{encoder.opening}",
        )
    )


def _field_ids(fields: Sequence[Field], references: set[str]) -> dict[int, str]:
    """Position -> ID of the fields referred to; of fields with one name the first has it."""
    first: dict[str, int] = {}
    for number, field in enumerate(fields):
        if field.name in references and is_xml_id(field.name):
            first.setdefault(field.name, number)
    return {number: name for name, number in first.items()}


def _body(
    encoder: _Encoder,
    first: pa.RecordBatch | None,
    rest: Iterator[pa.RecordBatch],
    trailer: list[Info],
    describe_error: DescribeError | None,
) -> Iterator[bytes]:
    batch = first
    try:
        while batch is not None:
            yield encoder.encode(batch)
            batch = next(rest, None)
    except Exception as error:
        if describe_error is None:
            raise
        trailer.append(Info("QUERY_STATUS", "ERROR", describe_error(error)))
    yield encoder.finish()


def _warnings(encoder: _Encoder) -> list[Info]:
    replaced = sorted(getattr(encoder, "replaced", ()))
    return [
        Info("warning", name, f"some characters of column {name} outside ASCII were sent as ?")
        for name in replaced
    ]


def _closing(
    encoder: _Encoder, trailer: Sequence[Info], descriptors: Sequence[ServiceDescriptor]
) -> str:
    return "".join(
        (
            encoder.closing,
            "</DATA>\n</TABLE>\n",
            *(format_info(info) for info in trailer),
            "</RESOURCE>\n",
            *(format_descriptor(descriptor) for descriptor in descriptors),
            TAIL,
        )
    )
