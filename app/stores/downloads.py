"""Files fetched from addresses that strangers name, without lending them this machine's network.

Every address a name resolves to must be public, and the connection goes to an address that was
looked at, so a name that resolves differently a moment later leads nowhere else. Redirects are
followed a few times, each checked in the same way. No credentials, cookies or proxies take part.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Collection
from typing import Final

import httpx

from app.errors import LimitError, UploadError

MAX_REDIRECTS: Final = 5
_PORTS: Final = {"http": 80, "https": 443}
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
_NOT_PUBLIC: Final = "leads to an address that is not public, which is not fetched"

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Downloads:
    """Fetches files of at most ``max_bytes`` in at most ``time_limit_s``, redirects included.

    ``hosts`` (``name`` or ``name:port``) are trusted: they may have private addresses.
    """

    def __init__(self, *, max_bytes: int, time_limit_s: float, hosts: Collection[str] = ()) -> None:
        self.max_bytes = max_bytes
        self._time_limit_s = time_limit_s
        self._hosts = frozenset(host.lower() for host in hosts)

    def fetch(self, url: str, *, name: str) -> bytes:
        """The content of a file; ``name`` is the table that errors speak of.

        Raises UploadError saying why there is none, LimitError when it is too long.
        """
        try:
            return asyncio.run(self._within_time(url, name))
        except TimeoutError:
            reason = f"{url} did not come within {self._time_limit_s:g} s"
            raise UploadError(name, reason) from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError):
            raise UploadError(name, f"{url} cannot be fetched") from None

    async def _within_time(self, url: str, name: str) -> bytes:
        async with asyncio.timeout(self._time_limit_s):
            target = httpx.URL(url)
            for _ in range(MAX_REDIRECTS + 1):
                found = await self._get(target, name)
                if isinstance(found, bytes):
                    return found
                target = found
        raise UploadError(name, f"{url} redirects more than {MAX_REDIRECTS} times")

    async def _get(self, url: httpx.URL, name: str) -> bytes | httpx.URL:
        """The content, or where it is said to be. Every request has a client of its own: neither
        cookies nor connections pass from one host to the next."""
        address = await self._address(url, name)
        headers = {"Host": url.netloc.decode("ascii"), "Accept-Encoding": "identity"}
        host = {"sni_hostname": url.raw_host.decode("ascii")}
        async with (
            httpx.AsyncClient(trust_env=False, timeout=self._time_limit_s) as client,
            client.stream(
                "GET", url.copy_with(host=address), headers=headers, extensions=host
            ) as response,
        ):
            if response.is_redirect:
                return url.join(response.headers["location"])
            if response.status_code != 200:
                raise UploadError(name, f"{url} answers with status {response.status_code}")
            return await self._read(response)

    async def _read(self, response: httpx.Response) -> bytes:
        content = bytearray()
        async for chunk in response.aiter_raw():
            content += chunk
            if len(content) > self.max_bytes:
                raise LimitError("bytes in uploaded tables", "more", self.max_bytes)
        return bytes(content)

    async def _address(self, url: httpx.URL, name: str) -> str:
        """An address of the host, once all of them were found to be public."""
        if url.scheme not in _PORTS:
            raise UploadError(name, f"{url} is no http or https address")
        if url.userinfo:
            raise UploadError(name, "an address that holds a user name or password is not fetched")
        port = url.port or _PORTS[url.scheme]
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(url.raw_host.decode("ascii"), port, type=socket.SOCK_STREAM)
        addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
        trusted = not self._hosts.isdisjoint({url.host.lower(), f"{url.host.lower()}:{port}"})
        if not trusted and not all(map(is_public, addresses)):
            raise UploadError(name, f"{url} {_NOT_PUBLIC}")
        return str(addresses[0])


def is_public(address: Address) -> bool:
    """Whether anybody on the Internet may have the address; what a tunnel or a translation leads
    to counts as well (RFC 4291, 6052, 3056, 4380)."""
    inner = _embedded(address)
    if inner is not None and not is_public(inner):
        return False
    return address.is_global and not (
        (isinstance(address, ipaddress.IPv6Address) and address.is_site_local)
        or address.is_multicast
        or address.is_reserved
        or address.is_loopback
        or address.is_link_local
        or address.is_unspecified
    )


def _embedded(address: Address) -> ipaddress.IPv4Address | None:
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if address.teredo is not None:
        return address.teredo[1]
    return address.ipv4_mapped or address.sixtofour
