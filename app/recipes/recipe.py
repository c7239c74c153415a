"""What to build, as data. The same recipe has the same key, and one key is built once."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from functools import lru_cache
from typing import Final, Literal

from app.pixels.bright_shapes import BrightObject
from app.pixels.kernels import REGULARISATION, BasisName
from app.schema.access import Rights
from app.schema.rows import SourceRow

RECIPE_VERSION = 10
"""Raised whenever the pixels that a recipe gives would change."""

BuildKind = Literal["template", "difference"]
Statistic = Literal["mean", "meanclip", "median", "safeclip", "comparewarp"]
PatchNumber = tuple[int, int]
"""(tract, patch)."""
CALIBRATIONS: Final = ("bias", "dark", "flat", "illumination", "fringe", "bad_pixels")
"""Frames that an exposure was calibrated with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaneRef:
    """Where one plane lies: a file, an HDU and, in a cube, the index along the leading axes."""

    path: str
    hdu: int
    role: Literal["image", "variance", "weight", "stddev", "mask"]
    planes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRef:
    """Where a dataset's pixels lie and what is known of them: enough to read without the database.

    ``grid`` is :meth:`app.pixels.grid.Grid.to_text`. ``mask_planes`` maps the file's own mask
    plane names to bits; ``mask_codes`` maps whole values to plane names where a file numbers its
    defects instead (both empty: the mask is 0 = good, anything else = BAD). ``flux_scale`` turns
    stored values into the unit named by ``bunit``; ``saturation`` is in stored values. ``noise``
    is the standard deviation of a pixel of sky in the unit of ``bunit``, ``usable_fraction`` the
    share of pixels that masks, NaN and missing weights leave. ``calibrations`` are the frames of
    :data:`CALIBRATIONS` that it was calibrated with and that are here, as (role, path).
    """

    dataset_id: str
    planes: tuple[PlaneRef, ...]
    grid: str
    band: str | None = None
    t_min: float | None = None
    t_max: float | None = None
    exposure_s: float | None = None
    fwhm_arcsec: float | None = None
    zero_point_mag: float | None = None
    gain_e_per_unit: float | None = None
    noise: float | None = None
    usable_fraction: float | None = None
    saturation: float | None = None
    mask_planes: tuple[tuple[str, int], ...] = ()
    mask_codes: tuple[tuple[int, str], ...] = ()
    flux_scale: float = 1.0
    bunit: str | None = None
    checksum: str = ""
    calibrations: tuple[tuple[str, str], ...] = ()

    def to_text(self) -> str:
        """The JSON form that a dataset row keeps; fields at their default are left out."""
        default = {f.name: f.default for f in fields(self)}
        kept = {k: v for k, v in asdict(self).items() if k not in default or v != default[k]}
        return json.dumps(kept, sort_keys=True, separators=(",", ":"))

    @classmethod
    @lru_cache(maxsize=1024)
    def from_text(cls, text: str) -> ImageRef:
        """Undo :meth:`to_text`."""
        values = json.loads(text)
        planes = tuple(
            PlaneRef(**{**plane, "planes": tuple(plane.get("planes", ()))})
            for plane in values.pop("planes")
        )
        names = tuple((str(name), int(bit)) for name, bit in values.pop("mask_planes", ()))
        codes = tuple((int(code), str(name)) for code, name in values.pop("mask_codes", ()))
        frames = tuple((str(role), str(path)) for role, path in values.pop("calibrations", ()))
        return cls(
            planes=planes, mask_planes=names, mask_codes=codes, calibrations=frames, **values
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateOptions:
    """How inputs become a template; part of the key."""

    kernel: Literal["lanczos3", "lanczos5", "bilinear", "nearest"] = "lanczos3"
    statistic: Statistic = "meanclip"
    warp: Literal["direct", "psfmatched"] = "direct"
    model_psf: Literal["gaussian", "doublegaussian"] = "gaussian"
    """The PSF that PSF-matched inputs are brought to, and its width (None: what they need)."""
    model_fwhm_arcsec: float | None = None
    clip_sigma: float = 3.0
    clip_iterations: int = 2
    background_matching: bool = False
    source: Literal["exposures", "coadds"] = "exposures"
    """Exposures are stacked; coadds (templates of patches) are merged and warped, not stacked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DifferenceOptions:
    """How a template is matched to a science image and subtracted; part of the key."""

    method: Literal["kernel", "zogy", "snap", "likelihood"] = "kernel"
    """By a matching kernel (Alard & Lupton); proper subtraction by the PSFs of both (ZOGY); by one
    small kernel, for two exposures of one visit; or the science image convolved with its PSF first,
    which gives the likelihood of point sources."""
    kernel_spatial_order: int | Literal["auto"] = "auto"
    """How the kernel changes over the image; ``auto``: as much as its stars can tell, up to 2."""
    decorrelate: bool = True
    """Filter the difference so that the noise of neighbouring pixels is independent."""
    background_order: int = 1
    convolve: Literal["auto", "template", "science"] = "auto"
    border_px: int = 20
    """The template reaches this far beyond the science image (templateBorderSize of Rubin's
    GetTemplateTask): more than half of the largest matching kernel."""
    product: Literal["difference", "matched"] = "difference"
    """The difference, or the template as it would be subtracted."""
    kernel_basis: BasisName = "gaussians"
    """Gaussians times polynomials, or free pixels that ``kernel_lambda`` holds together."""
    kernel_lambda: float = REGULARISATION
    candidates: tuple[tuple[float, float], ...] = ()
    """Stars (ICRS, deg) that the kernel is fitted to; none: those that are found."""
    science_fwhm_arcsec: float | None = None
    """Width of the science image's PSF, from which the kernel's are chosen; None: as measured."""
    template_fwhm_arcsec: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What to build: the inputs by identity and checksum, the target grid, the options.

    A template has no ``science``. A difference warps ``inputs`` onto the science grid, coadds
    them, matches the result to the science image and subtracts.
    """

    kind: BuildKind
    band: str
    grid: str
    inputs: tuple[tuple[str, str], ...]
    """(obs_publisher_did, checksum) of each template input, sorted."""
    science: tuple[str, str] | None = None
    template: TemplateOptions = field(default_factory=TemplateOptions)
    difference: DifferenceOptions | None = None
    bright_objects: tuple[BrightObject, ...] = ()
    """What the product marks BRIGHT_OBJECT."""
    version: int = RECIPE_VERSION

    def key(self) -> str:
        """Content hash: 32 hex digits of SHA-256 over the canonical JSON form."""
        text = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True, kw_only=True)
class InputUse:
    """How one input took part: its role, weight and photometric scale, or why it was left out."""

    dataset_id: str
    role: Literal["template", "science"]
    weight: float | None
    scale: float | None
    rejected: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildPlan:
    """How to build a recipe: everything a worker needs, and nothing that needs the database."""

    recipe: Recipe
    dataset_id: str
    """obs_publisher_did the product will have."""
    output_path: str
    """Where the product is to lie (absolute)."""
    inputs: tuple[ImageRef, ...]
    science: ImageRef | None = None
    tract: int | None = None
    patch: int | None = None
    exposures: tuple[str, ...] = ()
    """For each input the name of the exposure it is part of; empty: each is one of its own."""
    explicit: bool = False
    """The inputs were named one by one: an input that cannot be read fails the build."""
    rejected: tuple[InputUse, ...] = ()
    """The images that were not chosen. They are recorded with the product but are not in its
    file: the same recipe gives the same bytes, whatever else is there."""
    missing_patches: tuple[PatchNumber, ...] = ()
    """Those of the sky map under the target of which no coadd could be taken; recorded likewise."""
    rights: tuple[Rights, ...] = ()
    """Of the inputs that are not for everybody."""

    def exposure_of(self) -> dict[str, str]:
        """Identifier of each input -> name of its exposure."""
        ids = tuple(ref.dataset_id for ref in self.inputs)
        return dict(zip(ids, self.exposures or ids, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildReport:
    """What a build made. ``quality`` holds named numbers for the header and the page."""

    dataset_id: str
    path: str
    size_bytes: int
    mtime_ns: int
    checksum: str
    s_region: str
    grid: str
    planes: tuple[PlaneRef, ...]
    fwhm_arcsec: float | None
    zero_point_mag: float | None
    bunit: str | None
    t_min: float | None
    t_max: float | None
    exposure_s: float | None
    uses: tuple[InputUse, ...]
    quality: tuple[tuple[str, float], ...] = ()
    sources: tuple[SourceRow, ...] = ()
    """What was found on a difference."""
    duration_s: float | None = None
    """How long the build took, as far as that was measured."""
