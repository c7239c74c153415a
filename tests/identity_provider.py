"""An identity provider (OpenID Connect) as a process of its own: what oidc-provider-mock serves."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from tests.waiting import PATIENCE_S

AUDIENCE = "skyloom"
_BACK = "http://127.0.0.1/back"


@dataclass
class IdentityProvider:
    """The provider on a port of this machine."""

    port: int
    process: subprocess.Popen[bytes] | None = None
    users: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def issuer(self) -> str:
        """What it calls itself, to those who call it so."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Begin to answer, with a key that was never used before."""
        command = [sys.executable, "-m", "oidc_provider_mock", "--port", str(self.port)]
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline_s = time.monotonic() + PATIENCE_S
        while True:
            try:
                httpx.get(self.issuer).raise_for_status()
                break
            except httpx.HTTPError:
                assert self.process.poll() is None, "the identity provider has ended"
                assert time.monotonic() < deadline_s, "the identity provider does not answer"
                time.sleep(0.05)
        for name, claims in self.users.items():
            self.set_user(name, **claims)

    def stop(self) -> None:
        """Answer no more."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def set_user(self, name: str, **claims: Any) -> None:
        """Somebody with claims."""
        self.users[name] = claims
        httpx.put(f"{self.issuer}/users/{name}", json=claims).raise_for_status()

    def token(self, name: str, *, audience: str = AUDIENCE, host: str = "127.0.0.1") -> str:
        """The token that somebody gets for a client by the authorization code flow."""
        with httpx.Client(base_url=f"http://{host}:{self.port}") as client:
            asked = {
                "client_id": audience,
                "redirect_uri": _BACK,
                "response_type": "code",
                "scope": "openid profile",
            }
            agreed = client.post("/oauth2/authorize", params=asked, data={"sub": name})
            code = parse_qs(urlsplit(agreed.headers["location"]).query)["code"][0]
            form = {"grant_type": "authorization_code", "code": code, "redirect_uri": _BACK}
            told = client.post("/oauth2/token", data=form, auth=(audience, "secret"))
            return str(told.raise_for_status().json()["id_token"])

    def keys(self) -> list[dict[str, Any]]:
        """What it publishes of its keys."""
        found: list[dict[str, Any]] = httpx.get(f"{self.issuer}/jwks").json()["keys"]
        return found


@contextmanager
def identity_provider() -> Iterator[IdentityProvider]:
    """One that answers, on a free port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    provider = IdentityProvider(port)
    provider.start()
    try:
        yield provider
    finally:
        provider.stop()
