"""From what is asked to a recipe and a plan: the inputs are chosen before anything is built."""

from __future__ import annotations

from dataclasses import replace

from app.errors import ParameterError, RecipeError, RegionError
from app.pixels.bright_shapes import BrightObject
from app.pixels.grid import Grid
from app.recipes.coadds import select_coadds
from app.recipes.matching_parameters import check_widths
from app.recipes.plan import difference_recipe, make_plan, template_recipe
from app.recipes.recipe import BuildKind, BuildPlan, Recipe, TemplateOptions
from app.recipes.registered import refuse_warping
from app.recipes.request import (
    BrightRequest,
    DifferenceRequest,
    TemplateRequest,
    parse_request,
)
from app.recipes.select import Candidate, Chosen, check_listed, check_snap, select_inputs
from app.recipes.selection import Selection
from app.recipes.target import choose_patch, cut_to_inputs, grown, patch_grid
from app.recipes.values import Parameters
from app.schema.access import ANYBODY, UNRESTRICTED, Identity, Rights
from app.schema.obscore import CALIBRATED
from app.services.access import GATE, Gate
from app.services.bright_objects import BrightObjectFinder
from app.services.builds_candidates import CandidateFinder
from app.services.kernel_candidates import KernelCandidateFinder
from app.sky.shapes import Region, Shape
from app.sky.skymap import SkyMap
from app.sky.tracts import Patch


def default_difference(exposure_id: str) -> Parameters:
    """The parameters of the difference that an exposure is listed with."""
    return (("ID", exposure_id),)


def matched_template(exposure_id: str) -> Parameters:
    """The parameters of the template of that difference, as it is subtracted."""
    return (*default_difference(exposure_id), ("PRODUCT", "matched"))


class BuildPlanner:
    """Prepares builds of the images that ``finder`` knows; ``max_pixels`` bounds each. Products lie
    below ``root``, a folder or an address."""

    def __init__(
        self,
        *,
        finder: CandidateFinder,
        bright_objects: BrightObjectFinder,
        kernel_candidates: KernelCandidateFinder,
        skymap: SkyMap,
        authority: str,
        root: str,
        max_pixels: int,
        gate: Gate = GATE,
    ) -> None:
        self._gate = gate
        self._finder = finder
        self._bright_objects = bright_objects
        self._kernel_candidates = kernel_candidates
        self._skymap = skymap
        self._authority = authority
        self._root = root
        self._max_pixels = max_pixels

    def prepare(
        self, kind: BuildKind, parameters: Parameters, identity: Identity = ANYBODY
    ) -> tuple[Recipe, BuildPlan]:
        """What someone asks for by parameters, and how it is to be built.

        Images that are named must be theirs to see. What is chosen for them everybody may see who
        may see the science image (without one: everybody): the recipe is the same whoever asks.

        Raises
        ------
        ParameterError
            A parameter cannot be read.
        DatasetNotFoundError
            An identifier is not known.
        AuthenticationError, ForbiddenError
            They may not have the pixels of an image that is named.
        RecipeError, CoverageError
            There is nothing to build this from; the message says what is missing.
        LimitError
            The build is larger than this service allows.
        """
        request = parse_request(kind, parameters)
        if isinstance(request, DifferenceRequest):
            return self._difference(request, identity)
        if request.science_id is not None:
            return self._template_of_image(request, request.science_id, identity)
        return self._template_of_patch(request, identity)

    def _template_of_patch(
        self, request: TemplateRequest, identity: Identity
    ) -> tuple[Recipe, BuildPlan]:
        band = _required_band(request.band)
        patch = self._patch(request)
        chosen = self._choose(
            request.selection,
            target=patch.outline,
            band=band,
            position=request.target,
            science=None,
            identity=identity,
        )
        inputs = [Grid.from_text(candidate.ref.grid) for candidate in chosen.inputs]
        grid = cut_to_inputs(patch_grid(patch), inputs)
        recipe = template_recipe(
            chosen,
            band=band,
            grid=grid.to_text(),
            options=request.options,
            bright_objects=self._marked(request.bright, grid),
        )
        return recipe, self._plan(recipe, chosen, grid, request.selection, patch=patch)

    def _patch(self, request: TemplateRequest) -> Patch:
        if request.target is not None:
            return choose_patch(self._skymap, request.target)
        if request.patch is None:
            raise ParameterError("POS", "required")
        try:
            return self._skymap.get_patch(*request.patch)
        except RegionError as fault:
            name = str(fault.args[0]).partition(" ")[0].upper()
            raise ParameterError(name, str(fault.args[1])) from None

    def _template_of_image(
        self, request: TemplateRequest, science_id: str, identity: Identity
    ) -> tuple[Recipe, BuildPlan]:
        science = self._named(self._finder.get(science_id), identity)
        band = _required_band(request.band or science.ref.band)
        grid = grown(Grid.from_text(science.ref.grid), request.border_px)
        chosen = self._choose_for_image(
            request.selection, request.options, science, grid, band, identity
        )
        options = _options_for(chosen, request.options)
        recipe = template_recipe(
            chosen,
            band=band,
            grid=grid.to_text(),
            options=options,
            bright_objects=self._marked(request.bright, grid),
        )
        return recipe, self._plan(recipe, chosen, grid, request.selection)

    def _marked(self, bright: BrightRequest, grid: Grid) -> tuple[BrightObject, ...]:
        """The bright objects that the product is to mark."""
        if bright.table is None:
            return bright.regions
        return (*self._bright_objects.find(bright.table, grid.footprint()), *bright.regions)

    def _difference(
        self, request: DifferenceRequest, identity: Identity
    ) -> tuple[Recipe, BuildPlan]:
        science = self._named(self._finder.get(request.science_id), identity)
        if science.calib_level != CALIBRATED:
            raise ParameterError(
                "ID", f"a calibrated exposure (calib_level 2) is needed, not {science.calib_level}"
            )
        band = _required_band(science.ref.band)
        if request.band not in (None, band):
            raise ParameterError("BAND", f"the science image is of band {band}")
        grid = Grid.from_text(science.ref.grid)
        check_widths(request.options, grid.pixel_scale_arcsec)
        if request.options.method == "snap":
            listed = self._listed(request.selection, identity)
            chosen = check_snap(listed, science=science, band=band)
        else:
            chosen = self._choose_for_image(
                request.selection,
                request.template,
                science,
                grid,
                band,
                identity,
                difference=True,
            )
        if not request.warp_template:
            refuse_warping(chosen.inputs, science)
        template = _options_for(chosen, request.template)
        candidates = self._kernel_candidates.find(request.candidates, grid.footprint())
        recipe = difference_recipe(
            chosen,
            science,
            band=band,
            template=template,
            options=replace(request.options, candidates=candidates),
            bright_objects=self._marked(request.bright, grid),
        )
        return recipe, self._plan(recipe, chosen, grid, request.selection, science=science)

    def _choose_for_image(
        self,
        selection: Selection,
        options: TemplateOptions,
        science: Candidate,
        grid: Grid,
        band: str,
        identity: Identity,
        *,
        difference: bool = False,
    ) -> Chosen:
        """The exposures, or the coadds, under a science image, for the pixels of ``grid``."""
        region = _region_of(science)
        if options.source == "coadds":
            return select_coadds(
                [
                    each
                    for each in self._finder.find_coadds(region, band)
                    if self._is_for_all(each.candidate, science.rights)
                ],
                target=region,
                grid=grid,
                band=band,
                science_exposure=science.exposure if difference else None,
                skymap=self._skymap,
            )
        return self._choose(
            selection,
            target=region,
            band=band,
            position=None,
            science=science,
            identity=identity,
            difference=difference,
        )

    def _choose(
        self,
        selection: Selection,
        *,
        target: Region,
        band: str,
        position: Shape | None,
        science: Candidate | None,
        identity: Identity,
        difference: bool = False,
    ) -> Chosen:
        """By list or by limits. A template with a listed input of the ID's own exposure is the
        user's choice; a difference never has one."""
        exposure = None if science is None else science.exposure
        if selection.template_ids:
            return check_listed(
                self._listed(selection, identity),
                target=target,
                band=band,
                science_exposure=exposure if difference else None,
                products=science is not None,
            )
        rights = UNRESTRICTED if science is None else science.rights
        found = self._finder.find(target, band)
        return select_inputs(
            tuple(each for each in found if self._is_for_all(each, rights)),
            target=target,
            band=band,
            selection=selection,
            position=position,
            science_exposure=exposure,
        )

    def _named(self, candidate: Candidate, identity: Identity) -> Candidate:
        """An image that someone names, if they may have its pixels."""
        self._gate.require_rights(identity, candidate.rights, candidate.dataset_id)
        return candidate

    def _listed(self, selection: Selection, identity: Identity) -> tuple[Candidate, ...]:
        found = self._finder.get_listed(selection.template_ids)
        return tuple(self._named(each, identity) for each in found)

    def _is_for_all(self, candidate: Candidate, rights: Rights) -> bool:
        """Whether all who may see what has certain rights may see a candidate too."""
        return self._gate.may_read(self._gate.audience(rights), candidate.rights)

    def _plan(
        self,
        recipe: Recipe,
        chosen: Chosen,
        grid: Grid,
        selection: Selection,
        *,
        science: Candidate | None = None,
        patch: Patch | None = None,
    ) -> BuildPlan:
        inputs = chosen.inputs if science is None else (*chosen.inputs, science)
        held = tuple(each.rights for each in inputs if each.rights != UNRESTRICTED)
        plan = make_plan(
            recipe,
            chosen,
            shape=grid.shape,
            authority=self._authority,
            root=self._root,
            max_pixels=self._max_pixels,
            science=None if science is None else science.ref,
            tract=None if patch is None else patch.tract,
            patch=None if patch is None else patch.patch,
            explicit=bool(selection.template_ids),
        )
        return replace(plan, rights=held)


def _options_for(chosen: Chosen, options: TemplateOptions) -> TemplateOptions:
    """Listed templates are warped as coadds are."""
    coadds = all(candidate.calib_level > CALIBRATED for candidate in chosen.inputs)
    return replace(TemplateOptions(), kernel=options.kernel, source="coadds") if coadds else options


def _required_band(band: str | None) -> str:
    if band is None:
        raise ParameterError("BAND", "the image has no band; say which band the template is of")
    return band


def _region_of(science: Candidate) -> Region:
    if science.region is None:
        raise RecipeError(f"{science.dataset_id} has no footprint on the sky")
    return science.region
