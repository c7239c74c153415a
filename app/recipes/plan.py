"""From a request and its chosen inputs to a recipe, and from a recipe to a plan."""

from __future__ import annotations

from collections.abc import Mapping

from app.errors import LimitError, ParameterError
from app.pixels.bright_shapes import BrightObject
from app.recipes.recipe import (
    BuildPlan,
    DifferenceOptions,
    ImageRef,
    Recipe,
    TemplateOptions,
)
from app.recipes.select import Candidate, Chosen


def template_recipe(
    chosen: Chosen,
    *,
    band: str,
    grid: str,
    options: TemplateOptions,
    bright_objects: tuple[BrightObject, ...] = (),
) -> Recipe:
    """A template of ``chosen`` on ``grid`` (:meth:`app.pixels.grid.Grid.to_text`)."""
    return Recipe(
        kind="template",
        band=band,
        grid=grid,
        inputs=_identities(chosen),
        template=options,
        bright_objects=bright_objects,
    )


def difference_recipe(
    chosen: Chosen,
    science: Candidate,
    *,
    band: str,
    template: TemplateOptions,
    options: DifferenceOptions,
    bright_objects: tuple[BrightObject, ...] = (),
) -> Recipe:
    """``science`` minus a template of ``chosen``, on the grid of ``science``."""
    return Recipe(
        kind="difference",
        band=band,
        grid=science.ref.grid,
        inputs=_identities(chosen),
        science=_identity(science.ref),
        template=template,
        difference=options,
        bright_objects=bright_objects,
    )


def make_plan(
    recipe: Recipe,
    chosen: Chosen,
    *,
    shape: tuple[int, int],
    authority: str,
    root: str,
    max_pixels: int,
    science: ImageRef | None = None,
    tract: int | None = None,
    patch: int | None = None,
    explicit: bool = False,
) -> BuildPlan:
    """How to build ``recipe`` on a grid of ``shape`` (ny, nx); products lie below ``root``, a
    folder or an address.

    Raises LimitError when the pixels of the target times the number of images exceed
    ``max_pixels``: each image is kept on disk on the target grid while the template is made;
    ParameterError when the PSF asked for is sharper than an image is known to be.
    """
    asked_fwhm = recipe.template.model_fwhm_arcsec
    if asked_fwhm is not None:
        refs = [candidate.ref for candidate in chosen.inputs]
        refuse_sharpening(asked_fwhm, {ref.dataset_id: ref.fwhm_arcsec or 0.0 for ref in refs})
    images = len(chosen.inputs) + (science is not None)
    asked = shape[0] * shape[1] * images
    if asked > max_pixels:
        raise LimitError("pixels (target times images) of one build", asked, max_pixels)
    key = recipe.key()
    return BuildPlan(
        recipe=recipe,
        dataset_id=product_id(authority, recipe.kind, key),
        output_path=f"{root}/{product_path(key)}",
        inputs=tuple(candidate.ref for candidate in chosen.inputs),
        exposures=tuple(candidate.exposure for candidate in chosen.inputs),
        science=science,
        tract=tract,
        patch=patch,
        explicit=explicit,
        rejected=chosen.rejected,
        missing_patches=chosen.missing_patches,
    )


def refuse_sharpening(asked_arcsec: float, fwhm_arcsec: Mapping[str, float]) -> None:
    """Raise ParameterError when the PSF asked for is sharper than an input's, given by identifier:
    kernels that sharpen amplify noise."""
    name = max(fwhm_arcsec, key=fwhm_arcsec.__getitem__)
    if asked_arcsec < fwhm_arcsec[name]:
        raise ParameterError(
            "MODEL_FWHM",
            f"{asked_arcsec:.3f} arcsec is sharper than {name}, whose stars reach "
            f"{fwhm_arcsec[name]:.3f} arcsec; ask for more, or leave such images out (FWHM_MAX)",
        )


def product_id(authority: str, kind: str, key: str) -> str:
    """obs_publisher_did of a product."""
    return f"ivo://{authority}/products?{kind}/{key}"


def product_path(key: str) -> str:
    """Where a product lies below the data folder."""
    return f"products/{key[:2]}/{key}.fits"


def _identity(ref: ImageRef) -> tuple[str, str]:
    return ref.dataset_id, ref.checksum


def _identities(chosen: Chosen) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(_identity(candidate.ref) for candidate in chosen.inputs))
