"""What is shown of how a difference went."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from app.errors import NotFoundError
from app.pages.quality_view import panel_png, view_quality
from app.schema.rows import DatasetRow
from app.services.build_checks import (
    BuildChecks,
    check_difference,
    kernels_over,
    star_residuals,
)
from app.services.builds_rows import is_built_difference
from app.stores.images import ImageStore
from app.uws.job import Phase
from app.workers.embedded import EmbeddedEngine
from tests.services.builds_fixture import Field, open_field, standard_field
from tests.services.survey import standard_exposures

SCIENCE = standard_exposures()[4]


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory, engine: EmbeddedEngine) -> Iterator[Field]:
    with open_field(tmp_path_factory.mktemp("checks"), engine) as opened:
        standard_field(opened)
        yield opened


def built(field: Field, **options: str) -> DatasetRow:
    job = field.run("difference", ID=SCIENCE.dataset_id, **options)
    assert job.phase is Phase.COMPLETED, job.error
    return field.stores.datasets.get(str(job.results[0].dataset_id))


def images_of(field: Field) -> ImageStore:
    return ImageStore(data_dir=field.folder)


def checks_of(field: Field, row: DatasetRow) -> BuildChecks:
    return check_difference(images_of(field), row)


def test_a_difference_tells_how_it_went(field: Field) -> None:
    row = built(field)
    assert is_built_difference(row)
    checks = checks_of(field, row)
    told = {name: value for name, value, _ in checks.numbers}
    assert told["NSTAMPS"] == checks.kernel.used.sum()
    assert {"KERNSUM", "PULLSIG", "NOISE"} <= set(told)
    assert checks.pull_sigma == pytest.approx(1.0, abs=0.1)
    middle = np.average(np.arange(len(checks.pulls)), weights=checks.pulls)
    assert middle == pytest.approx((len(checks.pulls) - 1) / 2, abs=1)
    kernels, stars = (read(images_of(field), row) for read in (kernels_over, star_residuals))
    assert np.sum(kernels, axis=(1, 2)) == pytest.approx([told["KERNSUM"]] * 9, rel=1e-3)
    assert stars and all(star.shape == (31, 31) for star in stars)
    assert all(1 < place.fwhm_px < 8 for place in checks.psf)


def test_its_drawings_and_pictures_are_drawn(field: Field) -> None:
    images, row = images_of(field), built(field)
    checks = checks_of(field, row)
    view = view_quality(checks)
    assert view.panels == ["kernel", "stars"]
    assert f"{int(checks.kernel.used.sum())} stamps used" in view.stamps
    assert "robust scatter" in view.pulls and "FWHM" in view.whiskers
    assert view.stamps.count("<circle") == len(checks.kernel.x)
    kernel = np.array(Image.open(io.BytesIO(panel_png(images, row, "kernel"))))
    size = kernels_over(images, row)[0].shape[0]
    assert kernel.shape[:2] == (3 * (4 * size + 4) - 4,) * 2
    centre = kernel[4 * (size // 2) + 1, 4 * (size // 2) + 1]
    assert centre[0] == 255 and centre[2] < 100  # the middle of a kernel is red
    assert Image.open(io.BytesIO(panel_png(images, row, "stars"))).size[0] > 100


def test_a_proper_difference_has_no_kernel_to_show(field: Field) -> None:
    row = built(field, METHOD="zogy")
    checks = checks_of(field, row)
    assert checks.kernel is None
    view = view_quality(checks)
    assert view.panels == [] and view.stamps == "" and view.pulls
    assert panel_png(images_of(field), row, "kernel") == b""
    assert panel_png(images_of(field), row, "stars") == b""


def test_other_images_have_no_checks(field: Field) -> None:
    row = field.stores.datasets.get(SCIENCE.dataset_id)
    assert not is_built_difference(row)
    with pytest.raises(NotFoundError, match="no difference"):
        checks_of(field, row)
