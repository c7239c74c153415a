"""Who asks, and what they may: values and the rules between them, nothing looked up.

The rows of every image are public. Its pixels are public too unless ``data_rights`` says otherwise
or ``obs_release_date`` is still to come; then they are for those whom the collection was granted
to, and ``secure`` ones for everybody who is known. From the release date on all are public.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final, Literal

from app.errors import AuthenticationError, ForbiddenError

PUBLIC: Final = "public"
SECURE: Final = "secure"
PROPRIETARY: Final = "proprietary"
DATA_RIGHTS: Final = (PUBLIC, SECURE, PROPRIETARY)
"""Values of data_rights, the least restricted first (VODataService 1.2, section 3.3.3)."""

Role = Literal["reader", "user", "operator"]
"""``reader``: no builds. ``user``: builds too. ``operator``: everything, also what others own."""
ROLES: Final[tuple[Role, ...]] = ("reader", "user", "operator")
ALL: Final = "*"
"""Instead of the name of a collection: all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who asks: without a ``name`` anybody. ``may_read`` is whether they may ask at all,
    ``collections`` what was granted to them, ``sees_all`` whether everything is theirs to see.
    ``client`` tells apart those whom nobody knows: see :func:`client_of`."""

    name: str | None = None
    may_read: bool = True
    may_build: bool = True
    sees_all: bool = False
    collections: frozenset[str] = frozenset()
    client: str = ""

    @property
    def account(self) -> str:
        """Whose turn and share of the service a request takes."""
        return self.client if self.name is None else self.name

    @property
    def is_anonymous(self) -> bool:
        """Whether nobody knows who it is."""
        return self.name is None


ANYBODY: Final = Identity()


@lru_cache(maxsize=4096)
def client_of(host: str) -> str:
    """The account of an anonymous client at an address: of IPv6 the network, whose addresses one
    client may all have. No token's name begins like it."""
    try:
        address = ip_address(host)
    except ValueError:
        return f"@{host}"
    if isinstance(address, IPv6Address):
        mapped = address.ipv4_mapped
        network = ip_network((int(address) >> 64 << 64, 64))
        return f"@{network if mapped is None else mapped}"
    return f"@{address}"


def identity_in(state: object) -> Identity:
    """Who asks, as the state of a request has it; anybody where nobody looked."""
    found = getattr(state, "identity", ANYBODY)
    return found if isinstance(found, Identity) else ANYBODY


OPERATOR: Final = Identity(name="operator", sees_all=True)
"""Who runs commands on the service's own machine. No token can have the name."""


@dataclass(frozen=True, slots=True)
class Rights:
    """Who may have the pixels of an image: ``data_rights`` until ``release`` (None: for ever).
    Who has all of ``collections`` granted may see proprietary ones."""

    data_rights: str = PUBLIC
    release: datetime | None = None
    collections: tuple[str, ...] = ()

    def is_public(self, now: datetime) -> bool:
        """Whether everybody may have them."""
        if self.release is not None and self.release <= now:
            return True
        return self.data_rights == PUBLIC and self.release is None


UNRESTRICTED: Final = Rights()
_NEVER: Final = datetime.max.replace(tzinfo=UTC)


def rights_of(columns: Mapping[str, object], collections: tuple[str, ...] = ()) -> Rights:
    """The rights that a row of ObsCore tells. Without ``collections`` its own counts. A value that
    nobody can read restricts."""
    word, date = columns.get("data_rights"), columns.get("obs_release_date")
    if date is None and (word is None or word == PUBLIC):
        return UNRESTRICTED
    told = str(word or PUBLIC).strip().lower()
    release = None if date is None else read_instant(str(date)) or _NEVER
    if told == PUBLIC and release is not None:
        told = PROPRIETARY  # until then
    elif told not in DATA_RIGHTS:
        told = PROPRIETARY
    return Rights(told, release, collections or (str(columns.get("obs_collection")),))


def read_instant(text: str) -> datetime | None:
    """An ISO 8601 time, in UTC unless it says otherwise; None for anything else."""
    try:
        instant = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def strictest(rights: Iterable[Rights], now: datetime) -> Rights:
    """The rights of what is made of several images: whoever may have it may have each of them."""
    held = [each for each in rights if not each.is_public(now)]
    if not held:
        return UNRESTRICTED
    dates = [each.release for each in held]
    # Who must be granted a collection is known as well: the stricter word holds for all.
    word = max((each.data_rights for each in held), key=DATA_RIGHTS.index)
    wanted = {name for each in held if each.data_rights == PROPRIETARY for name in each.collections}
    names = wanted or {name for each in held for name in each.collections}
    known = [each for each in dates if each is not None]
    release = max(known) if len(known) == len(dates) else None
    return Rights(word, release, tuple(sorted(names)))


def may_read(identity: Identity, rights: Rights, now: datetime) -> bool:
    """Whether someone may have the pixels of an image."""
    if rights.is_public(now) or identity.sees_all:
        return True
    if rights.data_rights == SECURE:
        return not identity.is_anonymous
    granted = identity.collections
    return ALL in granted or (bool(rights.collections) and granted.issuperset(rights.collections))


def require_read(identity: Identity, rights: Rights, now: datetime, what: str) -> None:
    """Raises AuthenticationError or ForbiddenError unless they may have the pixels of ``what``."""
    if may_read(identity, rights, now):
        return
    until = "" if rights.release in (None, _NEVER) else f" until {rights.release:%Y-%m-%d %H:%M}"
    reason = f"the pixels of {what} are {rights.data_rights}{until}"
    if identity.is_anonymous:
        raise AuthenticationError(f"{reason}; send a token that may see them")
    names = ", ".join(rights.collections)
    raise ForbiddenError(f"{reason}, and the token of {identity.name} has no grant for {names}")


def require_build(identity: Identity) -> None:
    """Raises AuthenticationError or ForbiddenError unless someone may build."""
    if identity.may_build:
        return
    if identity.is_anonymous:
        raise AuthenticationError("this service builds for those who send a token")
    raise ForbiddenError(f"the token of {identity.name} is one for reading")


def may_use(identity: Identity, owner: str | None) -> bool:
    """Whether someone may see and steer what ``owner`` made: what nobody owns is for whoever
    knows its name."""
    return owner is None or owner == identity.name or identity.sees_all


def require_use(identity: Identity, owner: str | None, what: str) -> None:
    """Raises AuthenticationError or ForbiddenError unless someone may use what ``owner`` made."""
    if may_use(identity, owner):
        return
    reason = f"{what} belongs to somebody else"
    if identity.is_anonymous:
        raise AuthenticationError(f"{what} belongs to somebody: send their token")
    raise ForbiddenError(reason)
