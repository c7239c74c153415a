"""Pages of one topic each: the sky map, a light curve, triplets, the quality of a difference."""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response

from app.errors import NotFoundError, quoted
from app.pages.asked import Asked, Asking
from app.pages.document import PageWriter
from app.pages.image_view import view_image
from app.pages.light_curve_view import view_light_curve
from app.pages.position import parse_place
from app.pages.quality_view import PANELS, panel_png, view_quality
from app.pages.sky_view import MAX_PATCHES, view_patches
from app.pages.triplet_view import view_triplets
from app.services.access import GATE, Gate
from app.services.build_checks import check_difference
from app.services.light_curves import LightCurveService
from app.services.place_images import KINDS as KINDS_OF_IMAGES
from app.services.skymap import SkyMapService
from app.services.staleness import stale_reasons
from app.services.stamp_builds import StampBuilder
from app.services.stamps import StampService
from app.stores.images import ImageStore
from app.stores.tables.datasets import DatasetStore


def sky_page(writer: PageWriter, skymap: SkyMapService) -> Callable[..., Response]:
    """The page of the sky map (POS=…)."""

    def sky(request: Request, asked: Asked) -> Response:
        text = asked.single("POS") or ""
        shape = parse_place(text) if text else None
        covers = () if shape is None else skymap.cover(shape, most=MAX_PATCHES + 1)
        values = {
            "pos": text,
            "covers": covers[:MAX_PATCHES],
            "truncated": len(covers) > MAX_PATCHES,
            "view": None if shape is None else view_patches(covers[:MAX_PATCHES], shape),
        }
        return writer.write(request, "sky.html", values)

    return sky


def quality_page(
    writer: PageWriter, datasets: DatasetStore, images: ImageStore, gate: Gate = GATE
) -> Callable[..., Response]:
    """The page of how a difference (ID=…) went."""

    def quality(request: Request, asked: Asked, identity: Asking) -> Response:
        row = datasets.get(asked.require("ID", "the obs_publisher_did of a difference"))
        gate.require(identity, row)
        values = {
            "image": view_image(row, service_url=writer.service_url(request)),
            "stale_reasons": stale_reasons(datasets, row.dataset_id) if row.is_stale else [],
            "view": view_quality(check_difference(images, row)),
        }
        return writer.write(request, "quality.html", values)

    return quality


def quality_panel(
    datasets: DatasetStore, images: ImageStore, gate: Gate = GATE
) -> Callable[..., Response]:
    """Its pictures: the kernel, and what is left of stars."""

    def panel(panel: str, asked: Asked, identity: Asking) -> Response:
        row = datasets.get(asked.require("ID", "the obs_publisher_did of a difference"))
        gate.require(identity, row)
        content = panel_png(images, row, panel) if panel in PANELS else b""
        if not content:
            raise NotFoundError(f"The picture {quoted(panel)} of {row.dataset_id}")
        return Response(content, media_type="image/png", headers={"Cache-Control": "max-age=3600"})

    return panel


def light_curve_page(
    writer: PageWriter, light_curves: LightCurveService
) -> Callable[..., Response]:
    """The page of the light curve of a place (POS=…)."""

    def light_curve(request: Request, asked: Asked, identity: Asking) -> Response:
        curve = view_light_curve(light_curves, asked, writer.root(request), identity)
        chosen = {} if curve is None else curve.asked
        values = {
            "pos": chosen.get("POS", ""),
            "band": chosen.get("BAND", ""),
            "kind": chosen.get("KIND", "").lower(),
            "kinds": KINDS_OF_IMAGES,
            "curve": curve,
        }
        return writer.write(request, "lightcurves.html", values)

    return light_curve


def triplet_page(
    writer: PageWriter, stamps: StampService, builder: StampBuilder
) -> Callable[..., Response]:
    """The page of science image, template and difference at a place (POS=…)."""

    def triplets(request: Request, asked: Asked, identity: Asking) -> Response:
        root, service_url = writer.root(request), writer.service_url(request)
        view = view_triplets(
            stamps, builder, asked, root=root, service_url=service_url, identity=identity
        )
        chosen = {} if view is None else dict(view.asked)
        values = {name.lower(): chosen.get(name, "") for name in ("POS", "SIZE", "BAND", "TIME")}
        return writer.write(request, "triplets.html", {**values, "view": view})

    return triplets
