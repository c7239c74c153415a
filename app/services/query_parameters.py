"""The parameters of TAP queries (TAP 1.1, section 2.7), as clients are told of them."""

from __future__ import annotations

from typing import Final

from app.services.formats import FORMATS
from app.services.query import LANGUAGES
from app.votable.descriptors import InputParameter, number_input

QUERY_INPUTS: Final = (
    InputParameter(name="LANG", description="Language of the query", options=LANGUAGES),
    InputParameter(name="QUERY", description="Text of the query"),
    number_input("MAXREC", "Rows at most", datatype="int", limits=("0", None)),
    InputParameter(
        name="RESPONSEFORMAT",
        ucd="meta.code.mime",
        description="Format of the answer, also as a media type",
        options=tuple(output.names[0] for output in FORMATS.formats),
    ),
    InputParameter(
        name="UPLOAD",
        description="Tables that the query may name in TAP_UPLOAD: name,param:form_item or "
        "name,URL; several are separated by ;",
    ),
    InputParameter(name="REQUEST", description="What to do", options=("doQuery",)),
    InputParameter(name="RUNID", description="Told in the log"),
    InputParameter(
        name="FIX",
        description="Whether slips of other dialects are mended",
        options=("true", "false"),
    ),
)
