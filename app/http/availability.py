"""Whether the service works now, and when it will not (VOSI 1.1, section 4)."""

from __future__ import annotations

from collections.abc import Callable

from anyio import to_thread
from starlette.responses import Response

from app.errors import ServiceError
from app.http import vosi
from app.http.faults import explain
from app.operations.state import Announcement, Announcements, ServerState


class Availability:
    """Available is a service whose database answers (``ping``) and that is not being stopped. One
    that cannot write (``writes`` raises) still answers queries, and says so."""

    def __init__(
        self,
        ping: Callable[[], None],
        *,
        writes: Callable[[], object] | None = None,
        state: ServerState | None = None,
        announcements: Announcements | None = None,
    ) -> None:
        self._ping = ping
        self._writes = writes
        self._state = state
        self._announcements = announcements

    async def answer(self) -> Response:
        """The document of now."""
        document = await to_thread.run_sync(self._write)
        return Response(document, media_type=vosi.MEDIA_TYPE)

    def _write(self) -> bytes:
        told = self._announcements.read() if self._announcements else Announcement()
        fault = self._fault()
        up_since = self._state.up_since if self._state else None
        return vosi.write_availability(
            available=fault is None,
            notes=[fault or "accepting queries", *filter(None, (self._hindrance(), told.note))],
            up_since=up_since if fault is None else None,
            down_at=told.down_at,
            back_at=told.back_at,
        )

    def _hindrance(self) -> str | None:
        """Why no job is taken, though queries are answered."""
        try:
            if self._writes is not None:
                self._writes()
        except OSError as fault:
            return f"jobs and builds fail: nothing can be written ({fault.strerror})"
        except ServiceError as error:
            return f"jobs and builds fail: {explain(error)[1]}"
        return None

    def _fault(self) -> str | None:
        if self._state is not None and self._state.is_stopping:
            return "the service is stopping"
        try:
            self._ping()
        except ServiceError as error:
            return explain(error)[1]
        return None
