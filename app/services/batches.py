"""Which templates and differences a batch builds: see :mod:`app.services.build_runs`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.errors import CoverageError
from app.recipes.recipe import PatchNumber
from app.recipes.request import parse_difference, parse_template
from app.recipes.select import Candidate
from app.recipes.selection import LEAST_INPUTS
from app.recipes.values import Parameters
from app.services.build_runs import BatchReport, Item, Pairs, Progress, run_all
from app.services.builds import BuildService
from app.services.builds_candidates import CandidateFinder
from app.services.jobs import JobService
from app.services.skymap import SkyMapService
from app.sky.predicates import shapes_intersect
from app.sky.shapes import Shape
from app.sky.skymap import SkyMap


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRequest:
    """Which patches: those that ``shape`` touches, those of a tract, one of them, or the whole
    sky map. ``parameters`` select the inputs and say how they are combined."""

    band: str
    shape: Shape | None = None
    tract: int | None = None
    patch: int | None = None
    parameters: Parameters = ()


class TemplateBatch:
    """Builds templates patch by patch. ``in_flight`` jobs are in the queue or run at a time."""

    def __init__(
        self,
        *,
        skymap: SkyMap,
        patches: SkyMapService,
        builds: BuildService,
        jobs: JobService,
        in_flight: int,
    ) -> None:
        self._skymap = skymap
        self._patches = patches
        self._builds = builds
        self._jobs = jobs
        self._in_flight = in_flight

    def run(self, request: BatchRequest, progress: Progress) -> BatchReport:
        """Build the templates that are missing.

        Raises ParameterError for wrong parameters, RegionError for numbers that no patch has,
        LimitError for a region that is too large, CoverageError where the band has no image.
        """
        parse_template(_patch_parameters(request, (0, 0)))
        return run_all(
            "template",
            lambda: [_patch_item(request, number) for number in self._worth_building(request)],
            builds=self._builds,
            jobs=self._jobs,
            in_flight=self._in_flight,
            progress=progress,
        )

    def _worth_building(self, request: BatchRequest) -> list[PatchNumber]:
        """The patches that two exposures of the band overlap."""
        images = self._patches.images_of_band(request.band, self._numbers(request))
        if not images:
            raise CoverageError(
                f"No image of band {request.band} there to make templates of", 0, LEAST_INPUTS
            )
        enough = (n for n, found in images.items() if _exposures(found) >= LEAST_INPUTS)
        return sorted(enough)

    def _numbers(self, request: BatchRequest) -> list[PatchNumber] | None:
        """None for the whole sky map."""
        if request.shape is not None:
            return self._skymap.find_numbers(request.shape)
        if request.tract is None:
            return None
        patches = range(self._skymap.patches) if request.patch is None else (request.patch,)
        numbers = [(request.tract, patch) for patch in patches]
        self._skymap.get_patch(*numbers[0])
        return numbers


def _exposures(images: Sequence[Candidate]) -> int:
    return len({image.exposure for image in images})


def _patch_item(request: BatchRequest, number: PatchNumber) -> Item:
    tract, patch = number
    return Item({"tract": tract, "patch": patch}, _patch_parameters(request, number))


def _patch_parameters(request: BatchRequest, number: PatchNumber) -> Pairs:
    tract, patch = number
    where = (("TRACT", str(tract)), ("PATCH", str(patch)), ("BAND", request.band))
    return (*where, *request.parameters)


@dataclass(frozen=True, slots=True, kw_only=True)
class DifferenceBatchRequest:
    """The calibrated exposures of a band, those that ``shape`` touches if it is given.
    ``parameters`` select the template and say how it is matched."""

    band: str
    shape: Shape | None = None
    parameters: Pairs = ()


class DifferenceBatch:
    """Builds the differences of exposures, in order of time. ``in_flight`` as above.

    Each run of one batch looks at the exposures that an earlier run has not seen, and again at
    those that had no template then.
    """

    def __init__(
        self, *, finder: CandidateFinder, builds: BuildService, jobs: JobService, in_flight: int
    ) -> None:
        self._finder = finder
        self._builds = builds
        self._jobs = jobs
        self._in_flight = in_flight
        self._settled: set[str] = set()
        self._known: set[str] = set()

    def run(self, request: DifferenceBatchRequest, progress: Progress) -> BatchReport:
        """Build the differences that are missing. Raises ParameterError for wrong parameters."""
        parse_difference(_science_parameters(request, "any"))
        report = run_all(
            "difference",
            lambda: self._left(request),
            builds=self._builds,
            jobs=self._jobs,
            in_flight=self._in_flight,
            progress=progress,
        )
        lacking = "not enough exposures"
        self._settled |= {str(e.of["science"]) for e in report.outcomes if e.state != lacking}
        return report

    def _left(self, request: DifferenceBatchRequest) -> list[Item]:
        """Nothing when no exposure came since the last run."""
        images = [c for c in self._finder.of_band(request.band) if _touches(c, request.shape)]
        names = {image.ref.dataset_id for image in images}
        if names == self._known:
            return []
        self._known = names
        images.sort(key=lambda image: (image.ref.t_min or 0.0, image.ref.dataset_id))
        wanted = (i.ref.dataset_id for i in images if i.ref.dataset_id not in self._settled)
        return [Item({"science": n}, _science_parameters(request, n)) for n in wanted]


def _touches(image: Candidate, shape: Shape | None) -> bool:
    if shape is None:
        return True
    return image.region is not None and shapes_intersect(image.region, shape)


def _science_parameters(request: DifferenceBatchRequest, science: str) -> Pairs:
    return (("ID", science), *request.parameters)
