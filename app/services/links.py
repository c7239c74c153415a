"""What belongs to a dataset: its files, what it was made from and into, what can be built."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import PurePath
from typing import Final
from urllib.parse import quote, urlencode

from app.errors import NotFoundError, quoted
from app.recipes.recipe import ImageRef
from app.schema.access import ANYBODY, Identity
from app.schema.rows import (
    DatasetRow,
    difference_path,
    virtual_id,
)
from app.services.access import GATE, Gate
from app.services.link_rows import (
    fault_link,
    link_elsewhere,
    page_link,
    picture_links,
    service_link,
    text_of,
    withheld_link,
)
from app.services.link_services import services_of
from app.services.relations import Relations
from app.services.signatures import FileRef, FileSigner
from app.services.staleness import stale_reasons
from app.stores.files import PublishedFile, RemoteFile, find_file, get_file
from app.stores.kept_files import THIS_MACHINE, KeptFiles
from app.stores.remote.addresses import name_of
from app.stores.tables.datasets import DatasetStore
from app.stores.tables.rows import fold
from app.stores.tar_pieces import TarMember
from app.votable.datalink import Link
from app.votable.descriptors import ServiceDescriptor

MAX_IDS: Final = 1000
"""Identifiers answered in one request; more are cut off with OVERFLOW."""

_MEDIA_TYPES: Final[Mapping[str, str]] = {
    ".gz": "application/gzip",
    ".bz2": "application/x-bzip2",
    ".fits": "application/fits",
    ".fit": "application/fits",
    ".fz": "application/fits",
}
_COMPANIONS: Final[Mapping[str, tuple[str, str]]] = {
    "weight": ("#weight", "Weight map"),
    "variance": ("#noise", "Variance map"),
    "stddev": ("#noise", "Standard deviation map"),
    "mask": ("#auxiliary", "Mask"),
    "image": ("#auxiliary", "Image plane"),
}
_CALIBRATIONS: Final[Mapping[str, tuple[str, str]]] = {
    "bias": ("#bias", "Bias frame"),
    "dark": ("#dark", "Dark frame"),
    "flat": ("#flat", "Flat field"),
    "illumination": ("#calibration", "Illumination correction"),
    "fringe": ("#calibration", "Fringe frame"),
    "bad_pixels": ("#calibration", "Bad pixels"),
}
PACKAGE: Final = -1
"""Instead of the number of a file: all of them."""


def _nobody_knows(_pixels: float) -> float | None:
    """The default of ``seconds_of``."""
    return None


@dataclass(frozen=True, slots=True)
class LinkTable:
    """The answer to a request for links."""

    links: tuple[Link, ...]
    descriptors: tuple[ServiceDescriptor, ...]
    truncated: bool


@dataclass(frozen=True, slots=True)
class Download:
    """A file that may be sent."""

    file: PublishedFile | RemoteFile
    name: str | None
    media_type: str
    build_state: str | None = None
    moved: str | None = None
    """Where it is to be fetched instead."""


class LinkService:
    """Finds links and opens signed ones; ``files`` are where the service keeps what it makes.
    ``seconds_of`` tells how long the build of a difference of so many pixels takes."""

    def __init__(
        self,
        *,
        datasets: DatasetStore,
        signer: FileSigner,
        max_ids: int = MAX_IDS,
        files: KeptFiles = THIS_MACHINE,
        seconds_of: Callable[[float], float | None] = _nobody_knows,
        gate: Gate = GATE,
    ) -> None:
        self._gate = gate
        self._datasets = datasets
        self._signer = signer
        self._max_ids = max_ids
        self._files = files
        self._seconds_of = seconds_of
        self.keep_s: Final = signer.keep_s
        """So many seconds links may be kept."""

    def find_links(
        self, ids: Sequence[str], service_url: str, identity: Identity = ANYBODY
    ) -> LinkTable:
        """Links of each identifier, in the order asked; an unknown one has a row that says so.
        Files of images that are not for everybody are signed only for those who may have them."""
        unique = list(dict.fromkeys(identifier.strip() for identifier in ids))
        asked = unique[: self._max_ids]
        rows = self._datasets.resolve(asked)
        found = list({fold(row.dataset_id): row for row in rows.values()}.values())
        relations = Relations.of(self._datasets, found)
        services, descriptors = services_of(found, service_url)
        links: list[Link] = []
        for identifier in asked:
            row = rows.get(fold(identifier))
            if row is None:
                links.append(fault_link(identifier))
                continue
            own = [*self._own_links(row, service_url, identity)]
            own += relations.links(row, service_url, is_public=self._gate.is_public(row.rights))
            offered = services.get(fold(row.dataset_id), ())
            own += self._guarded((service_link(row, each) for each in offered), row, identity)
            if fold(identifier) != fold(row.dataset_id):  # a promise that was kept
                own = [link._replace(ID=identifier) for link in own]
            links += own
        return LinkTable(tuple(links), descriptors, len(unique) > len(asked))

    def file_url(self, dataset_id: str, service_url: str, identity: Identity = ANYBODY) -> str:
        """A fresh address of the dataset's file for someone; where it lies if that is elsewhere
        (empty when nobody said), what builds it if it is not there. Raises DatasetNotFoundError,
        AuthenticationError, ForbiddenError."""
        row = self._datasets.get(dataset_id)
        if row.is_external:
            return str(row.columns.get("access_url") or "")
        self._gate.require(identity, row)
        return self._address(row, service_url)

    def package_url(self, row: DatasetRow, service_url: str, identity: Identity = ANYBODY) -> str:
        """A fresh address of all files of a dataset that is here, for someone. Raises
        AuthenticationError, ForbiddenError."""
        self._gate.require(identity, row)
        token = self._signer.sign(FileRef(row.dataset_id, PACKAGE))
        return f"{service_url}/packages/{token}/{quote(_package_name(row))}.tar"

    def open_file(self, token: str, name: str) -> Download:
        """The file of a token that is asked for under its own ``name``.

        Raises SignatureError when the token is forged or expired, NotFoundError when the file is
        gone, RemoteUnavailableError.
        """
        ref = self._signer.open(token)
        row = self._datasets.get(ref.dataset_id)
        paths = [] if row.is_external or row.is_buildable else _all_paths(row)
        if not 0 <= ref.part < len(paths) or name_of(paths[ref.part]) != name:
            raise NotFoundError(f"The file {quoted(name)}")
        path = paths[ref.part]
        file = get_file(path, self._files.remote)
        self._note_use(row)
        return Download(
            file=file,
            name=name,
            media_type=media_type_of(path),
            build_state=text_of(row.columns.get("build_state")),
            moved=self._files.signed_address(path, self._signer.left_s(token)),
        )

    def open_product(self, row: DatasetRow, name: str) -> Download:
        """The file of a product. Raises NotFoundError, RemoteUnavailableError."""
        self._note_use(row)
        file = get_file(row.file_path, self._files.remote)
        return self.sent(file, media_type_of(row.file_path), name)

    def sent(
        self, file: PublishedFile | RemoteFile, media_type: str, name: str | None = None
    ) -> Download:
        """A file that the service made, for someone who may have it now."""
        moved = self._files.signed_address(str(file.path), self._signer.lifetime_s)
        return Download(file=file, name=name, media_type=media_type, moved=moved)

    def _note_use(self, row: DatasetRow) -> None:
        """A product that is sent is none that nobody uses."""
        if row.origin == "built":
            self._files.mark_used(row.file_path)

    def open_package(self, token: str) -> tuple[TarMember, ...]:
        """All files of the dataset of a token, and what is known of it as JSON.

        Raises SignatureError when the token is forged, expired or for one file, NotFoundError when
        a file is gone.
        """
        ref = self._signer.open(token)
        row = self._datasets.get(ref.dataset_id)
        if ref.part != PACKAGE or row.is_external or row.is_buildable:
            raise NotFoundError("The package")
        self._note_use(row)
        folder = _package_name(row)
        inputs = [asdict(each) for each in self._datasets.inputs_of(row.dataset_id)]
        known = json.dumps({"ObsCore": dict(row.columns), "inputs": inputs}, indent=1, default=str)
        files = (
            TarMember(f"{folder}/{name_of(path)}", get_file(path, self._files.remote))
            for path in _paths(row)
        )
        return (*files, TarMember(f"{folder}/about.json", known.encode()))

    def _own_links(self, row: DatasetRow, service_url: str, identity: Identity) -> Iterator[Link]:
        """What there is of a dataset itself."""
        if row.is_external:
            yield link_elsewhere(row)
        elif row.is_buildable:
            yield from self._guarded([self._promise(row, service_url)], row, identity)
        else:
            is_theirs = self._gate.may_read(identity, row.rights)
            if is_theirs:
                yield self._this(row, service_url)
                yield from self._companions(row, service_url)
                yield from self._calibrations(row, service_url)
            asked = [*_planes(row, service_url), *picture_links(row, service_url)]
            if not is_theirs:
                asked.insert(0, withheld_link(row, service_url))
            yield from self._guarded(asked, row, identity)
            if is_theirs:
                yield self._package(row, service_url, identity)
        yield page_link(row, service_url)

    def _guarded(
        self, links: Iterable[Link], row: DatasetRow, identity: Identity
    ) -> Iterator[Link]:
        """Links that ask for a token where the image is not for everybody."""
        if self._gate.is_public(row.rights):
            yield from links
            return
        is_theirs = self._gate.may_read(identity, row.rights)
        for link in links:
            yield link._replace(link_auth="true", link_authorized=is_theirs)

    def _this(self, row: DatasetRow, service_url: str) -> Link:
        title = row.columns.get("obs_title") or row.columns.get("dataproduct_subtype") or "Image"
        return Link(
            ID=row.dataset_id,
            semantics="#this",
            access_url=self._signed_url(row, 0, service_url),
            description=f"{title}: FITS file, image in HDU {row.file_hdu}{self._warning(row)}",
            content_type=media_type_of(row.file_path),
            content_length=row.file_size,
            content_qualifier="#image",
            local_semantics="image",
            link_auth="false",
            link_authorized=True,
        )

    def _promise(self, row: DatasetRow, service_url: str) -> Link:
        """A difference that is not there: asking for it builds it."""
        pixels = int(row.columns.get("s_xel1") or 0) * int(row.columns.get("s_xel2") or 0)
        seconds = self._seconds_of(pixels) if pixels else None
        about = "" if seconds is None else f", about {math.ceil(seconds)} s"
        return Link(
            ID=row.dataset_id,
            semantics="#this",
            access_url=self._address(row, service_url),
            description=f"{row.columns.get('obs_title')}: FITS file, built on first use{about}",
            content_type=_MEDIA_TYPES[".fits"],
            content_qualifier="#image",
            local_semantics="image",
            link_auth="false",
            link_authorized=True,
        )

    def _warning(self, row: DatasetRow) -> str:
        """What a product that is stale says of its inputs."""
        if not row.is_stale:
            return ""
        reasons = stale_reasons(self._datasets, row.dataset_id)
        return f". STALE: {'; '.join(reasons)} since it was built"

    def _address(self, row: DatasetRow, service_url: str) -> str:
        """Where the file is got: signed, or built."""
        if not row.is_buildable:
            return self._signed_url(row, 0, service_url)
        name = row.dataset_id
        if row.origin != "virtual" and row.difference_of is not None:
            name = virtual_id(row.difference_of) or name
        return service_url + difference_path(name)

    def _companions(self, row: DatasetRow, service_url: str) -> Iterator[Link]:
        roles = {
            plane.path: plane.role for plane in reversed(ImageRef.from_text(row.image_ref).planes)
        }
        for part, path in enumerate(_paths(row)[1:], start=1):
            role = roles[path]
            semantics, title = _COMPANIONS[role]
            yield self._file_link(row, part, service_url, semantics, f"{title} of the image", role)

    def _calibrations(self, row: DatasetRow, service_url: str) -> Iterator[Link]:
        frames = ImageRef.from_text(row.image_ref).calibrations
        for part, (role, _) in enumerate(frames, start=len(_paths(row))):
            semantics, title = _CALIBRATIONS[role]
            told = f"{title} that the image was calibrated with"
            yield self._file_link(row, part, service_url, semantics, told, role)

    def _file_link(
        self,
        row: DatasetRow,
        part: int,
        service_url: str,
        semantics: str,
        description: str,
        role: str,
    ) -> Link:
        """A file beside the dataset's own."""
        path = _all_paths(row)[part]
        found = find_file(path)
        return Link(
            ID=row.dataset_id,
            semantics=semantics,
            access_url=self._signed_url(row, part, service_url),
            description=description,
            content_type=media_type_of(path),
            content_length=None if found is None else found.size_bytes,
            content_qualifier="#image",
            local_semantics=role,
            link_auth="false",
            link_authorized=True,
        )

    def _package(self, row: DatasetRow, service_url: str, identity: Identity) -> Link:
        return Link(
            ID=row.dataset_id,
            semantics="#package",
            access_url=self.package_url(row, service_url, identity),
            description="All files of this image and what is known of it, in a tar",
            content_type="application/x-tar",
            local_semantics="package",
            link_auth="false",
            link_authorized=True,
        )

    def _signed_url(self, row: DatasetRow, part: int, service_url: str) -> str:
        token = self._signer.sign(FileRef(row.dataset_id, part))
        return f"{service_url}/files/{token}/{quote(name_of(_all_paths(row)[part]))}"


def _planes(row: DatasetRow, service_url: str) -> Iterator[Link]:
    """Planes in the image's own file, each by itself."""
    planes = ImageRef.from_text(row.image_ref).planes
    for plane in planes:
        if plane.path != row.file_path or plane.role == "image":
            continue
        semantics, title = _COMPANIONS[plane.role]
        asked = urlencode({"ID": row.dataset_id, "EXT": plane.role}, quote_via=quote)
        yield Link(
            ID=row.dataset_id,
            semantics=semantics,
            access_url=f"{service_url}/soda/sync?{asked}",
            description=f"{title} of the image, alone",
            content_type=_MEDIA_TYPES[".fits"],
            content_qualifier="#image",
            local_semantics=plane.role,
            link_auth="false",
            link_authorized=True,
        )


def media_type_of(path: str) -> str:
    """Media type of a published file, by the end of its name."""
    return _MEDIA_TYPES.get(PurePath(path).suffix.lower(), "application/octet-stream")


def _paths(row: DatasetRow) -> list[str]:
    """The dataset's own file, then other files its planes lie in."""
    planes = (plane.path for plane in ImageRef.from_text(row.image_ref).planes)
    return list(dict.fromkeys((row.file_path, *planes)))


def _all_paths(row: DatasetRow) -> list[str]:
    """The same, then the calibration frames."""
    return [*_paths(row), *(path for _, path in ImageRef.from_text(row.image_ref).calibrations)]


def _package_name(row: DatasetRow) -> str:
    return name_of(row.file_path).split(".")[0]
