"""A pixel grid on the sky: a WCS and a shape, as one small value that serialises to text."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from astropy.io.fits import Header
from numpy.typing import ArrayLike, NDArray

from app.errors import ImageFormatError
from app.pixels.celestial import build_wcs, make_transform, transform_of
from app.pixels.outline import Corners, image_outline, trace_outline
from app.pixels.sip_fit import fit_tan_sip
from app.pixels.wcs_cards import has_lookup_tables, reduce_to_sky
from app.sky.shapes import Polygon

Array = NDArray[np.float64]

EDGE_TOLERANCE_PX = 0.5
"""How far a great-circle edge of a footprint may lie from the true edge of the pixels."""


@dataclass(frozen=True)
class Grid:
    """``header``: cards of a 2-D celestial WCS joined by newlines; ``shape``: (ny, nx).

    Pixel coordinates are 0-based (the centre of the first pixel is 0, 0); directions are ICRS.
    Two grids are equal when their text is.
    """

    header: str
    shape: tuple[int, int]

    @classmethod
    def from_header(cls, header: Header, shape: tuple[int, ...], hdulist: Any = None) -> Grid:
        """The grid of an image HDU; of a cube (``shape`` as numpy gives it) its sky plane.

        ``hdulist`` is needed only for distortions in lookup tables, which are fitted by TAN-SIP to
        0.05 px. Raises ImageFormatError (no file name in it) for a header that does not place its
        pixels on the sky, with the reason.
        """
        cards = reduce_to_sky(header)
        plane = _plane_shape(shape, cards.axes)
        text = _text(cards.header)
        if has_lookup_tables(header):
            exact = make_transform(build_wcs(header, hdulist))
            text = _text(fit_tan_sip(exact.pixel_to_icrs, plane))
        grid = cls(text, plane)
        grid.pixel_scale_arcsec  # noqa: B018  (refuses a grid whose centre is not on the sky)
        return grid

    @classmethod
    def from_text(cls, text: str) -> Grid:
        """Read what :meth:`to_text` wrote."""
        value = json.loads(text)
        ny, nx = value["shape"]
        return cls(value["header"], (int(ny), int(nx)))

    def to_text(self) -> str:
        """JSON with the keys header and shape."""
        return json.dumps({"header": self.header, "shape": list(self.shape)})

    def fits_header(self) -> Header:
        """The WCS cards as an astropy header."""
        return Header.fromstring(self.header, sep="\n")

    def pixel_to_sky(self, x: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
        """0-based pixel coordinates to ICRS longitude in [0, 360) and latitude (deg), in the
        shape of the (broadcast) input; NaN outside the projection."""
        px, py = np.broadcast_arrays(np.asarray(x, np.float64), np.asarray(y, np.float64))
        return transform_of(self.header).pixel_to_icrs(px, py)

    def sky_to_pixel(self, lon_deg: ArrayLike, lat_deg: ArrayLike) -> tuple[Array, Array]:
        """ICRS degrees to 0-based pixel coordinates; NaN where there is no solution."""
        lon, lat = np.broadcast_arrays(
            np.asarray(lon_deg, np.float64), np.asarray(lat_deg, np.float64)
        )
        return transform_of(self.header).icrs_to_pixel(lon, lat, self.shape)

    @cached_property
    def pixel_scale_arcsec(self) -> float:
        """Side of a square of the area of the central pixel."""
        ny, nx = self.shape
        x, y = (nx - 1) / 2, (ny - 1) / 2
        step = np.array([-0.5, 0.5, 0.0, 0.0])
        vectors = unit_vectors(*self.pixel_to_sky(x + step, y + step[::-1]))
        area = float(np.linalg.norm(np.cross(vectors[1] - vectors[0], vectors[2] - vectors[3])))
        if not np.isfinite(area) or area == 0.0:
            raise ImageFormatError("", "broken WCS: the centre of the image is not on the sky")
        return float(np.degrees(np.sqrt(area)) * 3600.0)

    def footprint(self, valid: NDArray[np.bool_] | None = None) -> Polygon:
        """The polygon along the outer pixel edges, or along the border of the ``valid`` pixels.

        Edges are cut until each great circle is within 0.5 px of the pixel edges: four vertices
        for an undistorted image. With ``valid`` the outline of its largest part is followed to
        1 px (see :mod:`app.pixels.outline`; holes are ignored) and may be concave. Raises
        ImageFormatError when no pixel is valid or the image covers more than a hemisphere.
        """
        corners: Corners | None = image_outline(self.shape)
        if valid is not None and not valid.all():
            corners = trace_outline(valid)
        vectors = None if corners is None else self._edge_vectors(corners)
        if vectors is None:
            vectors = self._edge_vectors_on_sky(valid)
        return _polygon(vectors)

    def _edge_vectors(self, corners: Corners) -> Array | None:
        """Unit vectors of the polygon's vertices, or None when an edge leaves the projection."""
        x, y, starts = _sample_edges(corners)
        vectors = unit_vectors(*self.pixel_to_sky(x, y))
        if not np.isfinite(vectors).all():
            return None
        tolerance = EDGE_TOLERANCE_PX * np.radians(self.pixel_scale_arcsec / 3600.0)
        keep = np.zeros(len(vectors), dtype=np.bool_)
        keep[starts] = True
        bounds = [*starts.tolist(), len(vectors)]
        ring = np.vstack([vectors, vectors[:1]])
        for a, b in pairwise(bounds):
            _keep_bends(ring, a, b, tolerance, keep)
        return vectors[keep]

    def _edge_vectors_on_sky(self, valid: NDArray[np.bool_] | None) -> Array:
        """As above for an image whose border lies partly outside the projection."""
        ny, nx = self.shape
        y, x = np.mgrid[0 : ny + 1, 0 : nx + 1] - 0.5
        finite = np.isfinite(self.pixel_to_sky(x, y)[0])
        on_sky = finite[:-1, :-1] & finite[1:, :-1] & finite[:-1, 1:] & finite[1:, 1:]
        corners = trace_outline(on_sky if valid is None else on_sky & valid)
        vectors = None if corners is None else self._edge_vectors(corners)
        if vectors is None:
            raise ImageFormatError("", "no valid pixel")
        return vectors


def unit_vectors(lon_deg: Array, lat_deg: Array) -> Array:
    """Directions as rows (n, 3)."""
    lon, lat = np.radians(lon_deg), np.radians(lat_deg)
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)


def _text(header: Header) -> str:
    lines = header.tostring(sep="\n", endcard=False, padding=False).split("\n")
    return "\n".join(line.rstrip() for line in lines)


def _plane_shape(shape: tuple[int, ...], axes: tuple[int, int]) -> tuple[int, int]:
    if len(shape) < axes[1]:
        raise ImageFormatError("", "the celestial axes are not axes of the pixel array")
    nx, ny = shape[-axes[0]], shape[-axes[1]]
    if nx < 1 or ny < 1:
        raise ImageFormatError("", "the image has no pixels")
    return int(ny), int(nx)


def _sample_edges(corners: Corners) -> tuple[Array, Array, NDArray[np.intp]]:
    """Points along a closed outline (corner first on each edge) and the index of each corner."""
    following = np.roll(corners, -1, axis=0)
    count = 32 if len(corners) <= 8 else 8
    t = np.arange(count) / count
    points = corners[:, None, :] + t[None, :, None] * (following - corners)[:, None, :]
    flat = points.reshape(-1, 2)
    return flat[:, 0], flat[:, 1], np.arange(len(corners)) * count


def _keep_bends(
    ring: Array, first: int, last: int, tolerance: float, keep: NDArray[np.bool_]
) -> None:
    """Mark samples between two kept ones until great circles follow them (Douglas–Peucker)."""
    pending = [(first, last)]
    while pending:
        a, b = pending.pop()
        if b - a < 2:
            continue
        normal = np.cross(ring[a], ring[b])
        length = float(np.linalg.norm(normal))
        off = np.abs(ring[a + 1 : b] @ normal) / length if length > 0 else np.ones(b - a - 1)
        worst = int(off.argmax())
        if off[worst] > tolerance:
            keep[a + 1 + worst] = True
            pending += [(a, a + 1 + worst), (a + 1 + worst, b)]


def _polygon(vectors: Array) -> Polygon:
    mean = vectors.mean(axis=0)
    if float((vectors @ mean).min()) <= 0.0:
        raise ImageFormatError("", "the image covers a hemisphere or more")
    lon = np.degrees(np.arctan2(vectors[:, 1], vectors[:, 0])) % 360.0
    lat = np.degrees(np.arctan2(vectors[:, 2], np.hypot(vectors[:, 0], vectors[:, 1])))
    return Polygon(tuple((float(a), float(b)) for a, b in zip(lon, lat, strict=True)))
