"""A query's answer as a VOTable 1.4, streamed batch by batch (DALI 1.1, section 4.4)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Final, Literal, Protocol

import pyarrow as pa

from app.schema.batches import RowLimit
from app.schema.fields import Datatype, Field
from app.votable.binary import Binary
from app.votable.descriptors import ServiceDescriptor, format_descriptor
from app.votable.markup import HEAD, TAIL, Info, format_field, format_info, is_xml_id
from app.votable.systems import SYSTEM_IDS, format_systems, system_of
from app.votable.tabledata import TableData

Serialization = Literal["td", "binary", "binary2"]
DescribeError = Callable[[Exception], str]

_OK: Final = Info("QUERY_STATUS", "OK")


class _Encoder(Protocol):
    """Turns batches into the content of DATA."""

    opening: str
    closing: str
    datatypes: tuple[Datatype, ...]
    """Of each field, as sent."""
    nulls: tuple[int | None, ...]
    """Of each field, the value that stands for NULL if there must be one."""

    def encode(self, batch: pa.RecordBatch) -> bytes: ...

    def finish(self) -> bytes: ...

    def warnings(self) -> dict[str, str]: ...


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
        identifiers = _field_ids(fields, descriptors)
        opening = _opening(fields, encoder, infos, identifiers).encode()
        trailer: list[Info] = []
        yield opening if first is None else opening + encoder.encode(first)
        yield from _body(encoder, source, trailer, describe_error)
        if (truncated or limit.overflow) and not trailer:
            trailer.append(Info("QUERY_STATUS", "OVERFLOW", f"cut after {limit.rows} rows"))
        trailer += [
            Info("warning", name, text) for name, text in sorted(encoder.warnings().items())
        ]
        referring = [_referring(d, fields, identifiers) for d in descriptors]
        yield _closing(encoder, trailer, referring).encode()
    finally:
        limit.close()


def empty_table(fields: Sequence[Field], infos: Sequence[Info] = ()) -> str:
    """A VOTable with the fields and no data: the metadata of a table kept in another format."""
    encoder = TableData(fields)
    return _opening(fields, encoder, infos, {}).removesuffix(f"<DATA>\n{encoder.opening}") + (
        "</TABLE>\n</RESOURCE>\n" + TAIL
    )


def _encoder(
    serialization: Serialization, fields: Sequence[Field], first: pa.RecordBatch | None
) -> _Encoder:
    if serialization == "td":
        return TableData(fields, first)
    return Binary(fields, first, null_flags=serialization == "binary2")


def _opening(
    fields: Sequence[Field],
    encoder: _Encoder,
    infos: Sequence[Info],
    identifiers: Mapping[int, str],
) -> str:
    return "".join(
        (
            HEAD,
            '<RESOURCE type="results">\n',
            *(format_info(info) for info in (_OK, *infos)),
            _columns(tuple(fields), encoder.datatypes, encoder.nulls, tuple(identifiers.items())),
            f"<DATA>\n{encoder.opening}",
        )
    )


@lru_cache(maxsize=256)
def _columns(
    fields: tuple[Field, ...],
    datatypes: tuple[Datatype, ...],
    nulls: tuple[int | None, ...],
    identifiers: tuple[tuple[int, str], ...],
) -> str:
    """Coordinate systems, TABLE and FIELDs: the same for every answer with these columns."""
    id_of = dict(identifiers)
    elements = [
        format_field(
            field,
            field_id=id_of.get(number),
            null=null,
            datatype=datatype,
            ref=system_of(field),
        )
        for number, (field, datatype, null) in enumerate(zip(fields, datatypes, nulls, strict=True))
    ]
    return "".join((format_systems(fields), "<TABLE>\n", *elements))


def _field_ids(fields: Sequence[Field], descriptors: Sequence[ServiceDescriptor]) -> dict[int, str]:
    """Position -> ID of the fields that descriptors refer to: the field's name where XML allows
    and nothing else in the document is called so. Of fields with one name the first is meant."""
    references = {p.ref for d in descriptors for p in d.inputs if p.ref is not None}
    taken = {*SYSTEM_IDS, *(d.resource_id for d in descriptors)}
    first: dict[str, int] = {}
    for number, field in enumerate(fields):
        if field.name in references:
            first.setdefault(field.name, number)
    return {
        number: name if is_xml_id(name) and name not in taken else f"column_{number + 1}"
        for name, number in first.items()
    }


def _referring(
    descriptor: ServiceDescriptor, fields: Sequence[Field], identifiers: Mapping[int, str]
) -> ServiceDescriptor:
    """The descriptor with names of fields replaced by their IDs."""
    by_name = {fields[number].name: given for number, given in identifiers.items()}
    inputs = tuple(
        each if each.ref is None else replace(each, ref=by_name.get(each.ref, each.ref))
        for each in descriptor.inputs
    )
    return replace(descriptor, inputs=inputs)


def _body(
    encoder: _Encoder,
    rest: Iterator[pa.RecordBatch],
    trailer: list[Info],
    describe_error: DescribeError | None,
) -> Iterator[bytes]:
    try:
        for batch in rest:
            yield encoder.encode(batch)
    except Exception as error:
        if describe_error is None:
            raise
        trailer.append(Info("QUERY_STATUS", "ERROR", describe_error(error)))
    yield encoder.finish()


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
