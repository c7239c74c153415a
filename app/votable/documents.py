"""Whole small documents: an error, or a service that describes itself (DALI 1.1, section 4.4)."""

from __future__ import annotations

from collections.abc import Sequence

from app.votable.descriptors import ServiceDescriptor, format_descriptor
from app.votable.markup import HEAD, TAIL, Info, format_info


def write_error(text: str, infos: Sequence[Info] = ()) -> bytes:
    """A document that says why there is no table. ``text`` starts with the DALI fault."""
    status = Info("QUERY_STATUS", "ERROR", text)
    body = "".join(format_info(info) for info in (status, *infos))
    return f'{HEAD}<RESOURCE type="results">\n{body}</RESOURCE>\n{TAIL}'.encode()


def write_description(descriptors: Sequence[ServiceDescriptor]) -> bytes:
    """A document without a table that tells how services are called."""
    status = format_info(Info("QUERY_STATUS", "OK"))
    services = "".join(format_descriptor(descriptor) for descriptor in descriptors)
    return f'{HEAD}<RESOURCE type="results">\n{status}</RESOURCE>\n{services}{TAIL}'.encode()
