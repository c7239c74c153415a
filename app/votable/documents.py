"""The document that answers with an error (DALI 1.1, section 4.4)."""

from __future__ import annotations

from collections.abc import Sequence

from app.votable.markup import HEAD, TAIL, Info, format_info


def write_error(text: str, infos: Sequence[Info] = ()) -> bytes:
    """A document that says why there is no table. ``text`` starts with the DALI fault."""
    status = Info("QUERY_STATUS", "ERROR", text)
    body = "".join(format_info(info) for info in (status, *infos))
    return f'{HEAD}<RESOURCE type="results">\n{body}</RESOURCE>\n{TAIL}'.encode()
