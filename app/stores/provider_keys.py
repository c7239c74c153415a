"""The public keys of an identity provider, by OpenID Connect Discovery 1.0: fetched when they are
needed, kept, and fetched anew when they are old or one is missing that a token names."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import httpx

from app.errors import ProviderUnavailableError
from app.stores.remote.addresses import is_private

log = logging.getLogger(__name__)

FRESH_S: Final = 900.0
"""So old keys are fetched anew: one that the provider took back is good for no longer."""
KEPT_S: Final = 86400.0
"""So long keys are used while the provider does not answer."""
GAP_S: Final = 10.0
"""The provider is asked no more often, whatever keys are named in tokens that strangers send."""
MOST_BYTES: Final = 1_000_000
MOST_KEYS: Final = 50
DISCOVERY: Final = "/.well-known/openid-configuration"
_TYPES: Final = frozenset({"RSA", "EC", "OKP"})
"""Kinds of keys whose public half is published (RFC 7518, section 6.1; RFC 8037)."""

Key = Mapping[str, Any]
"""A JSON Web Key (RFC 7517)."""


class ProviderKeys:
    """Keys of the provider at ``issuer``. ``clock`` counts seconds."""

    def __init__(
        self,
        *,
        issuer: str,
        time_limit_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._issuer = issuer
        self._time_limit_s = time_limit_s
        self._clock = clock
        self._keys: tuple[Key, ...] = ()
        self._fetched_s: float | None = None
        self._asked_s: float | None = None
        self._lock = threading.Lock()

    def find(self, kid: str | None, *, anew: bool = False) -> tuple[Key, ...]:
        """The keys of a name, all where a token names none; ``anew`` when those that are known have
        not signed it: the provider may have new ones.

        Raises ProviderUnavailableError when there are no keys and the provider does not give any.
        """
        with self._lock:
            if anew or self._age_s() > FRESH_S:
                self._refresh()
            return tuple(key for key in self._keys if kid is None or key.get("kid") == kid)

    def _age_s(self) -> float:
        return float("inf") if self._fetched_s is None else self._clock() - self._fetched_s

    def _refresh(self) -> None:
        """Ask the provider, unless it was asked just now. What there is stays when it fails."""
        now = self._clock()
        if self._asked_s is None or now - self._asked_s >= GAP_S:
            self._asked_s = now
            try:
                self._keys = self._fetch()
                self._fetched_s = now
            except (httpx.HTTPError, httpx.InvalidURL, ValueError) as fault:
                log.warning("the identity provider %s gives no keys: %s", self._issuer, fault)
        if self._age_s() > KEPT_S:
            self._keys = ()
            raise ProviderUnavailableError

    def _fetch(self) -> tuple[Key, ...]:
        """Raises httpx.HTTPError, httpx.InvalidURL or ValueError."""
        with httpx.Client(timeout=self._time_limit_s, trust_env=False) as client:
            described = _read(client, self._issuer.rstrip("/") + DISCOVERY)
            if described.get("issuer") != self._issuer:
                raise ValueError(f"it calls itself {described.get('issuer')!r}")
            url = str(described.get("jwks_uri"))
            if not is_private(url):
                raise ValueError(f"its keys lie at {url!r}, which is no https address")
            keys = _read(client, url).get("keys")
        if not isinstance(keys, list):
            raise ValueError("its answer holds no keys")
        return tuple(each for each in keys[:MOST_KEYS] if _is_for_signatures(each))


def _read(client: httpx.Client, url: str) -> dict[str, Any]:
    """A JSON object. Redirects are not followed."""
    content = bytearray()
    with client.stream("GET", url, headers={"Accept": "application/json"}) as answer:
        if answer.status_code != 200:
            raise ValueError(f"{url} answers with status {answer.status_code}")
        for chunk in answer.iter_bytes():
            content += chunk
            if len(content) > MOST_BYTES:
                raise ValueError(f"{url} answers with more than {MOST_BYTES} bytes")
    try:
        found = json.loads(content)
    except RecursionError:
        found = None
    if not isinstance(found, dict):
        raise ValueError(f"{url} answers with no JSON object")
    return found


def _is_for_signatures(key: object) -> bool:
    return isinstance(key, dict) and key.get("kty") in _TYPES and key.get("use", "sig") == "sig"
