"""Who may see how the service does."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Literal

Audience = Literal["off", "local", "everyone"]
"""Nobody, clients on this machine, all."""


def includes(audience: Audience, host: str | None) -> bool:
    """Whether a client at an address belongs to an audience. Behind a proxy on this machine that
    does not name its clients (X-Forwarded-For), all are local."""
    return audience == "everyone" or (audience == "local" and _is_local(host))


def _is_local(host: str | None) -> bool:
    try:
        return host is not None and ip_address(host).is_loopback
    except ValueError:
        return False
