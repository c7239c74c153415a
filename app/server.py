"""The server process: uvicorn, and an orderly end."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

import uvicorn

from app import __version__
from app.main import Application
from app.wiring import Services

_REST_S = 75
"""How long a connection may rest between requests: longer than clients and proxies keep one that
they mean to use again (httpx 5 s, nginx and cloud balancers 60 s), whose request would be lost when
it is closed on its way."""
_CLOSE_S = 2
"""What is still being sent when the wait is over is cut off after this."""


class OrderlyServer(uvicorn.Server):
    """Told to stop, it hands its jobs back at once, begins no request any more, and lets those
    under way end within ``wait_s``. Told a second time, it ends now."""

    def __init__(self, config: uvicorn.Config, services: Services, *, wait_s: float) -> None:
        super().__init__(config)
        self._state = services.operations.state
        self._hand_back = services.dispatcher.stop
        self._wait_s = wait_s
        self._told: int | None = None
        self._until_s = 0.0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal came."""
        if self._told is not None:
            super().handle_exit(sig, frame)
            return
        self._told = sig
        self._until_s = time.monotonic() + self._wait_s
        self._state.stop()
        threading.Thread(target=self._hand_back, name="hand-back", daemon=True).start()

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: whether to end now."""
        if self._told is not None and not self.should_exit:
            is_over = time.monotonic() > self._until_s
            if is_over or self._state.in_flight == 0:
                super().handle_exit(self._told, None)
        return await super().on_tick(counter)


def run(
    app: Application, *, host: str, port: int, wait_s: float, reload: Callable[[], object]
) -> None:
    """Serve until told to stop. Requests under way get ``wait_s`` seconds then. ``reload`` is
    called at each SIGHUP, where systems have that."""
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, lambda *_: _apart(reload))
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        headers=[("Server", f"Skyloom/{__version__}")],
        timeout_keep_alive=_REST_S,
        timeout_graceful_shutdown=_CLOSE_S,
    )
    OrderlyServer(config, app.services, wait_s=wait_s).run()


def _apart(work: Callable[[], object]) -> None:
    """A handler of signals interrupts what the server does: what it starts takes its own time."""
    threading.Thread(target=work, name="reload", daemon=True).start()
