"""What a survey says of itself (HiPS 1.0, section 4.4.1)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import numpy as np

from app import __version__
from app.pixels.healpix_grid import pixel_scale_arcsec
from app.pixels.hips import TILE_PX
from app.pixels.preview import Brightness
from app.services.hips.pictures import as_properties
from app.services.hips.survey import FIRST_ORDER, Survey
from app.sky.moc import MOC


def describe(
    survey: Survey,
    moc: MOC,
    light: Brightness,
    *,
    identifier: str,
    now: datetime,
    old: Mapping[str, str],
) -> dict[str, str]:
    """The properties, in their order. ``old`` are those of an earlier run, which tell when the
    survey was first made."""
    instant = now.strftime("%Y-%m-%dT%H:%MZ")
    centre = moc.barycenter().icrs
    times = [t for image in survey.images if (t := image.ref.t_min) is not None]
    ends = [t for image in survey.images if (t := image.ref.t_max) is not None]
    return {
        "creator_did": identifier,
        "obs_collection": survey.collection,
        "obs_title": survey.title,
        **({} if survey.band is None else {"obs_band": survey.band}),
        "hips_builder": f"Skyloom {__version__}",
        "hips_version": "1.4",
        "hips_creation_date": old.get("hips_creation_date", instant),
        "hips_release_date": instant,
        "hips_status": "public master clonableOnce",
        "hips_frame": "equatorial",
        "hips_order": str(survey.order),
        "hips_order_min": str(FIRST_ORDER),
        "hips_tile_width": str(TILE_PX),
        "hips_tile_format": "png fits",
        "hips_pixel_bitpix": "-32",
        "hips_pixel_scale": f"{pixel_scale_arcsec(survey.order, TILE_PX) / 3600.0:.6g}",
        **as_properties(light, survey.unit),
        "hips_hierarchy": "mean",
        "hips_initial_ra": f"{float(centre.ra.deg):.6f}",
        "hips_initial_dec": f"{float(centre.dec.deg):.6f}",
        "hips_initial_fov": f"{_extent_deg(moc):.4f}",
        "dataproduct_type": "image",
        "client_category": "Image",
        "moc_sky_fraction": f"{float(moc.sky_fraction):.6g}",
        "obs_regime": "Optical",
        **({"t_min": f"{min(times):.5f}"} if times else {}),
        **({"t_max": f"{max(ends):.5f}"} if ends else {}),
    }


def _extent_deg(moc: MOC) -> float:
    """Diameter of a circle about the centre that holds the map, a hemisphere at most."""
    reach = moc.largest_distance_from_coo_to_vertices(moc.barycenter())
    return min(2.0 * float(np.degrees(reach.to_value("rad"))), 180.0)
