"""The page of one image."""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response

from app.pages.asked import Asked, Asking
from app.pages.document import PageWriter
from app.pages.image_view import relate, view_image
from app.pages.lineage import trace
from app.pages.position import format_position, parse_position
from app.pages.preview_view import preview_size
from app.pages.viewer_view import viewer_controls
from app.pixels.preview import MASK_COLOURS
from app.schema.access import Rights
from app.schema.rows import DatasetRow
from app.services.access import GATE, Gate
from app.services.builds_rows import is_built_difference, is_difference
from app.services.links import LinkService
from app.services.staleness import stale_reasons
from app.stores.tables.datasets import DatasetStore


def image_page(
    writer: PageWriter, links: LinkService, datasets: DatasetStore, gate: Gate = GATE
) -> Callable[..., Response]:
    """The page of an image (ID=…), with a position (POS=…) marked. Of an image that is not for the
    one who asks it tells all but the pixels."""

    def image(request: Request, asked: Asked, identity: Asking) -> Response:
        row = datasets.get(asked.require("ID", "the obs_publisher_did of an image"))
        service_url = writer.service_url(request)
        position = asked.single("POS")
        is_theirs = row.is_external or gate.may_read(identity, row.rights)
        has_pixels = is_theirs and not (row.is_external or row.is_buildable)
        view = view_image(row, service_url=service_url)
        inputs = relate(datasets.inputs_of(row.dataset_id), datasets, product=False)
        products = relate(datasets.products_of(row.dataset_id), datasets, product=True)
        values = {
            "image": view,
            "pos": format_position(parse_position(position)) if position else "",
            "viewer": viewer_controls(asked) if has_pixels else [],
            "show_mask": asked.flag("MASK"),
            "mask_colours": [
                (name, "#{:02x}{:02x}{:02x}".format(*rgb)) for name, rgb in MASK_COLOURS
            ],
            "preview_size": preview_size(row) if has_pixels else (0, 0),
            "stretch_text": _stretch_text(row),
            "is_built_difference": is_built_difference(row) and has_pixels,
            "withheld": "" if is_theirs else withheld(row.rights),
            "download_url": links.file_url(row.dataset_id, service_url, identity)
            if is_theirs
            else "",
            "package_url": links.package_url(row, service_url, identity) if has_pixels else "",
            "stale_reasons": stale_reasons(datasets, row.dataset_id) if row.is_stale else [],
            "exposure": _exposure_of(row, datasets),
            "difference": datasets.differences_of([row.dataset_id]).get(row.dataset_id.lower()),
            "inputs": inputs,
            "products": products,
            "steps": trace(view, inputs, products),
        }
        return writer.write(request, "image.html", values)

    return image


def withheld(rights: Rights) -> str:
    """Why there are no pixels."""
    until = "" if rights.release is None else f" until {rights.release:%Y-%m-%d %H:%M} UTC"
    return f"The pixels of this image are {rights.data_rights}{until}."


def _exposure_of(row: DatasetRow, datasets: DatasetStore) -> str | None:
    """The exposure that a difference is of, while it is there."""
    rows = [] if row.difference_of is None else datasets.get_many([row.difference_of])
    return rows[0].dataset_id if rows else None


def _stretch_text(row: DatasetRow) -> str:
    if is_difference(row):
        return "Grey is no change, white brighter and black fainter than the template (±5σ)."
    return "Stretched by asinh between the limits of zscale."
