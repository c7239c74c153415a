"""What belongs to a dataset: its files, what it was made from and into, what can be built."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Final
from urllib.parse import quote, urlencode

from app.errors import NotFoundError
from app.recipes.recipe import ImageRef
from app.schema.dia_source import DIA_SOURCE
from app.schema.obscore import CALIBRATED
from app.schema.rows import DatasetRow, ProductInput, Value, links_path
from app.services.build_descriptors import build_descriptors
from app.services.builds_rows import is_built_difference
from app.services.light_curve_descriptor import light_curve_descriptor
from app.services.psf_descriptor import psf_descriptor
from app.services.signatures import FileRef, FileSigner
from app.stores.files import PublishedFile, find_file, get_file
from app.stores.tables.datasets import DatasetStore
from app.votable.datalink import MEDIA_TYPE, Link
from app.votable.descriptors import ServiceDescriptor

MAX_IDS: Final = 200
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


@dataclass(frozen=True, slots=True)
class LinkTable:
    """The answer to a request for links."""

    links: tuple[Link, ...]
    descriptors: tuple[ServiceDescriptor, ...]
    truncated: bool


@dataclass(frozen=True, slots=True)
class Download:
    """A file that may be sent."""

    file: PublishedFile
    name: str
    media_type: str


class LinkService:
    """Finds links and opens signed ones."""

    def __init__(
        self, *, datasets: DatasetStore, signer: FileSigner, max_ids: int = MAX_IDS
    ) -> None:
        self._datasets = datasets
        self._signer = signer
        self._max_ids = max_ids

    def find_links(self, ids: Sequence[str], service_url: str) -> LinkTable:
        """Links of each identifier, in the order asked; an unknown one has a row that says so."""
        unique = list(dict.fromkeys(identifier.strip() for identifier in ids))
        asked = unique[: self._max_ids]
        rows = {row.dataset_id.lower(): row for row in self._datasets.get_many(asked)}
        links: list[Link] = []
        descriptors: list[ServiceDescriptor] = []
        for number, identifier in enumerate(asked, start=1):
            row = rows.get(identifier.lower())
            if row is None:
                links.append(_fault(identifier))
                continue
            links += self._links_of(row, service_url)
            services = tuple(_services(row, service_url, number))
            links += [_service_link(row, descriptor) for descriptor in services]
            descriptors += services
        return LinkTable(tuple(links), tuple(descriptors), len(unique) > len(asked))

    def file_url(self, dataset_id: str, service_url: str) -> str:
        """A fresh address of the dataset's file; where it lies if that is elsewhere (empty when
        nobody said). Raises DatasetNotFoundError."""
        row = self._datasets.get(dataset_id)
        if row.is_external:
            return str(row.columns.get("access_url") or "")
        return self._signed_url(row, 0, service_url)

    def open_file(self, token: str, name: str) -> Download:
        """The file of a token that is asked for under its own ``name``.

        Raises SignatureError when the token is forged or expired, NotFoundError when the file is
        gone.
        """
        ref = self._signer.open(token)
        row = self._datasets.get(ref.dataset_id)
        paths = [] if row.is_external else _paths(row)
        if ref.part >= len(paths) or _file_name(paths[ref.part]) != name:
            raise NotFoundError(f"The file {name!r}")
        path = paths[ref.part]
        return Download(get_file(path), name, media_type_of(path))

    def _links_of(self, row: DatasetRow, service_url: str) -> Iterator[Link]:
        if row.is_external:
            yield _elsewhere(row)
        else:
            yield self._this(row, service_url)
            yield from self._companions(row, service_url)
        inputs = [each for each in self._datasets.inputs_of(row.dataset_id) if not each.rejected]
        for used in inputs:
            yield _dataset_link(
                row, used.input_id, service_url, "#progenitor", _describe_input(used)
            )
        yield from self._derivations(row, service_url)
        if is_built_difference(row):
            yield _sources_link(row, service_url)

    def _this(self, row: DatasetRow, service_url: str) -> Link:
        title = row.columns.get("obs_title") or row.columns.get("dataproduct_subtype") or "Image"
        return Link(
            ID=row.dataset_id,
            semantics="#this",
            access_url=self._signed_url(row, 0, service_url),
            description=f"{title}: FITS file, image in HDU {row.file_hdu}",
            content_type=media_type_of(row.file_path),
            content_length=row.file_size,
            content_qualifier="#image",
            local_semantics="image",
            link_auth="false",
            link_authorized=True,
        )

    def _companions(self, row: DatasetRow, service_url: str) -> Iterator[Link]:
        roles = {
            plane.path: plane.role for plane in reversed(ImageRef.from_text(row.image_ref).planes)
        }
        for part, path in enumerate(_paths(row)[1:], start=1):
            role = roles[path]
            semantics, title = _COMPANIONS[role]
            found = find_file(path)
            yield Link(
                ID=row.dataset_id,
                semantics=semantics,
                access_url=self._signed_url(row, part, service_url),
                description=f"{title} of the image",
                content_type=media_type_of(path),
                content_length=None if found is None else found.size_bytes,
                content_qualifier="#image",
                local_semantics=role,
                link_auth="false",
                link_authorized=True,
            )

    def _derivations(self, row: DatasetRow, service_url: str) -> Iterator[Link]:
        uses = {
            use.product_id: use
            for use in self._datasets.products_of(row.dataset_id)
            if not use.rejected
        }
        for product in self._datasets.get_many(list(uses)):
            kind = product.columns.get("dataproduct_subtype") or "product"
            role = uses[product.dataset_id].role if product.dataset_id in uses else "an"
            yield _dataset_link(
                row,
                product.dataset_id,
                service_url,
                "#derivation",
                f"{kind} that has this dataset as {role} input",
            )

    def _signed_url(self, row: DatasetRow, part: int, service_url: str) -> str:
        token = self._signer.sign(FileRef(row.dataset_id, part))
        return f"{service_url}/files/{token}/{quote(_file_name(_paths(row)[part]))}"


def _elsewhere(row: DatasetRow) -> Link:
    """Where the image of another service lies."""
    columns = row.columns
    title = columns.get("obs_title") or columns.get("dataproduct_subtype") or "Dataset"
    address = columns.get("access_url")
    if address is None:
        reason = "NotFoundFault: it lies at another service, which gave no address"
        return Link(ID=row.dataset_id, semantics="#this", error_message=reason)
    size_kb = columns.get("access_estsize")
    return Link(
        ID=row.dataset_id,
        semantics="#this",
        access_url=str(address),
        description=f"{title}, at another service",
        content_type=_text(columns.get("access_format")),
        content_length=None if size_kb is None else 1000 * int(size_kb),
        local_semantics="image",
    )


def _text(value: Value) -> str | None:
    return None if value is None else str(value)


def links_url(dataset_id: str, service_url: str) -> str:
    """Address of the DataLink document of a dataset."""
    return service_url + links_path(dataset_id)


def media_type_of(path: str) -> str:
    """Media type of a published file, by the end of its name."""
    return _MEDIA_TYPES.get(PurePath(path).suffix.lower(), "application/octet-stream")


def _paths(row: DatasetRow) -> list[str]:
    """The dataset's own file, then other files its planes lie in."""
    planes = (plane.path for plane in ImageRef.from_text(row.image_ref).planes)
    return list(dict.fromkeys((row.file_path, *planes)))


def _file_name(path: str) -> str:
    return PurePath(path).name


def _services(row: DatasetRow, service_url: str, number: int) -> Iterator[ServiceDescriptor]:
    if row.is_external:
        return
    if row.columns.get("calib_level") == CALIBRATED:
        yield from build_descriptors(row, service_url, number=number)
    for describe in (psf_descriptor, light_curve_descriptor):
        found = describe(row, service_url, number=number)
        if found is not None:
            yield found


def _service_link(row: DatasetRow, descriptor: ServiceDescriptor) -> Link:
    return Link(
        ID=row.dataset_id,
        semantics="#proc",
        service_def=descriptor.resource_id,
        description=descriptor.description,
        content_type=descriptor.content_type,
        local_semantics=descriptor.name,
        link_auth="false",
        link_authorized=True,
    )


def _dataset_link(
    row: DatasetRow, other_id: str, service_url: str, semantics: str, description: str
) -> Link:
    return Link(
        ID=row.dataset_id,
        semantics=semantics,
        access_url=links_url(other_id, service_url),
        description=description,
        content_type=MEDIA_TYPE,
        content_qualifier="#image",
        local_semantics=semantics.removeprefix("#"),
        link_auth="false",
        link_authorized=True,
    )


def _sources_link(row: DatasetRow, service_url: str) -> Link:
    quoted = row.dataset_id.replace("'", "''")
    asked = {
        "LANG": "ADQL",
        "QUERY": f"SELECT * FROM {DIA_SOURCE.name} WHERE obs_publisher_did = '{quoted}'",
    }
    return Link(
        ID=row.dataset_id,
        semantics="#derivation",
        access_url=f"{service_url}/tap/sync?{urlencode(asked, quote_via=quote)}",
        description=f"Sources found on this image: its rows of {DIA_SOURCE.name}",
        content_type="application/x-votable+xml",
        content_qualifier="#measurements",
        local_semantics="dia-sources",
        link_auth="false",
        link_authorized=True,
    )


def _describe_input(used: ProductInput) -> str:
    weight = "" if used.weight is None else f", weight {used.weight:.4g}"
    return f"{used.input_id}: {used.role} input{weight}"


def _fault(identifier: str) -> Link:
    return Link(
        ID=identifier,
        semantics="#this",
        error_message=f"NotFoundFault: no dataset has the identifier {identifier}",
    )
