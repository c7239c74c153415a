"""Which files elsewhere a call means: those of addresses, and all below prefixes of buckets."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath

from app.errors import ImageFormatError, RemoteUnavailableError, UsageError
from app.services.ingest.files import FoundFile
from app.services.ingest.profile import Profile
from app.stores.fits_files import is_fits_name
from app.stores.remote.addresses import Address
from app.stores.remote.files import RemoteFiles
from app.stores.remote.objects import RemoteFacts

Listed = tuple[Address, str, RemoteFacts | str]
"""A file, its name below what was asked for ('/' between), and what is known of it, or why that is
nothing."""


def find_elsewhere(
    addresses: Sequence[str], profile: Profile, files: RemoteFiles
) -> list[FoundFile]:
    """Every file that is named, and every FITS file below the prefixes, sorted, each once.

    Companions must be among them. Raises UsageError for an address that is none and for a prefix
    with nothing below, RemoteUnavailableError when one cannot be listed.
    """
    listed: dict[Address, Listed] = {}
    for text in addresses:
        for each in _below(Address.of(text), files):
            if not profile.is_excluded(each[1]):
                listed.setdefault(each[0], each)
    owners = dict(_companions(listed, profile))
    roles: dict[Address, list[tuple[str, str]]] = {}
    for other, (owner, role) in owners.items():
        roles.setdefault(owner, []).append((role, str(other)))
    found = sorted(listed.values(), key=lambda each: str(each[0]))
    return [_found(each, owners, roles, files) for each in found]


def _below(address: Address, files: RemoteFiles) -> Iterator[Listed]:
    if not address.is_s3 or is_fits_name(address.key):
        yield address, address.name, _look_at(address, files)
        return
    prefix = address.key.rstrip("/")
    try:
        listed = list(files.objects.list(address.beside(prefix)))
    except OSError as fault:
        raise UsageError(f"{address}: this prefix cannot be listed ({fault.strerror})") from fault
    if not listed:
        raise UsageError(f"{address}: there is nothing below this prefix")
    for found, facts in listed:
        name = found.key[len(prefix) :].lstrip("/")
        if is_fits_name(name) and not _is_hidden(name):
            yield found, name, facts


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in PurePosixPath(name).parts)


def _look_at(address: Address, files: RemoteFiles) -> RemoteFacts | str:
    try:
        return files.objects.head(address)
    except OSError as fault:
        return str(fault.strerror)
    except ImageFormatError as fault:
        return str(fault.args[1])
    except RemoteUnavailableError as fault:
        return str(fault)


def _companions(
    listed: Iterable[Address], profile: Profile
) -> Iterator[tuple[Address, tuple[Address, str]]]:
    """Each file that belongs to another one, with that and its role."""
    known = set(listed)
    for owner in sorted(known, key=str):
        for rule in profile.companions:
            name = rule.find_name(owner.name)
            if name is not None:
                place = posixpath.normpath(posixpath.join(posixpath.dirname(owner.key), name))
                if owner.beside(place) in known:
                    yield owner.beside(place), (owner, rule.role)


def _found(
    listed: Listed,
    owners: Mapping[Address, tuple[Address, str]],
    roles: Mapping[Address, Sequence[tuple[str, str]]],
    files: RemoteFiles,
) -> FoundFile:
    address, name, facts = listed
    if isinstance(facts, str):
        return FoundFile(str(address), name, 0, 0, fault=facts)
    files.remember(str(address), facts)
    owner = owners.get(address)
    return FoundFile(
        path=str(address),
        name=name,
        size=facts.size_bytes,
        mtime_ns=facts.mtime_ns,
        companions=() if owner else tuple(roles.get(address, ())),
        companion_of=None if owner is None else owner[0].name,
    )
