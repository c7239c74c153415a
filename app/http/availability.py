"""Whether a service that asks the database works now (VOSI 1.1, section 4)."""

from __future__ import annotations

from anyio import to_thread
from starlette.responses import Response

from app.errors import ServiceError
from app.http import vosi
from app.http.faults import explain
from app.services.query import QueryService


async def availability_of(queries: QueryService) -> Response:
    """The document: available when the database answers."""
    try:
        await to_thread.run_sync(queries.ping)
    except ServiceError as error:
        document = vosi.write_availability(available=False, note=explain(error)[1])
    else:
        document = vosi.write_availability(available=True, note="accepting queries")
    return Response(document, media_type=vosi.MEDIA_TYPE)
