"""Both engines, with real worker processes: results, errors, progress, stop, killed workers."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from app.errors import EngineBusyError, ImageFormatError, StoppedError
from app.pixels.grid import Grid
from app.recipes.plan import make_plan
from app.recipes.recipe import BuildPlan, Recipe
from app.recipes.select import Candidate, Chosen
from app.workers.cluster import ClusterEngine
from app.workers.embedded import EmbeddedEngine
from app.workers.engine import Build
from tests.services.survey import AUTHORITY, Exposure, image_ref, write_exposure


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two exposures."""
    path = tmp_path_factory.mktemp("pair")
    for visit in (1, 2):
        write_exposure(path, Exposure(visit=visit))
    return path


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedEngine]:
    """Two workers, shared by the tests: it is reusable."""
    made = EmbeddedEngine(workers=2, data_dir=tmp_path_factory.mktemp("engine"))
    yield made
    made.close()


def plan_of(folder: Path, data_dir: Path, *, copies: int = 1) -> BuildPlan:
    """A template of the two exposures, each taken ``copies`` times to make it last."""
    exposures = [Exposure(visit=visit) for visit in (1, 2)]
    candidates = tuple(
        Candidate(
            ref=replace(
                image_ref(folder / f"i-{exposure.visit}.fits", exposure),
                dataset_id=f"{exposure.dataset_id}/{copy}",
            ),
            region=None,
            exposure=str(exposure.visit),
        )
        for copy in range(copies)
        for exposure in exposures
    )
    grid = candidates[0].ref.grid
    recipe = Recipe(
        kind="template",
        band="i",
        grid=grid,
        inputs=tuple((c.dataset_id, c.ref.checksum) for c in candidates),
    )
    return make_plan(
        recipe,
        Chosen(inputs=candidates),
        shape=Grid.from_text(grid).shape,
        authority=AUTHORITY,
        data_dir=data_dir,
        max_pixels=10**9,
    )


def wait_until(condition: Callable[[], bool], limit_s: float = 60.0) -> None:
    """Return when the condition holds."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def is_warping(build: Build) -> bool:
    """True when the build reported a stage."""
    return build.progress() is not None


def test_a_build_runs_in_a_worker_process(
    engine: EmbeddedEngine, folder: Path, tmp_path: Path
) -> None:
    plan = plan_of(folder, tmp_path)
    build = engine.submit("one", plan)
    assert build.wait(60)
    report = build.result()
    assert Path(report.path).is_file() and report.dataset_id == plan.dataset_id
    pids = engine.worker_pids()
    assert len(pids) == 2 and os.getpid() not in pids
    assert "2 worker processes" in engine.describe()


def test_errors_arrive_as_themselves(engine: EmbeddedEngine, folder: Path, tmp_path: Path) -> None:
    plan = plan_of(folder, tmp_path)
    broken = tmp_path / "broken.fits"
    broken.write_bytes((folder / "i-1.fits").read_bytes()[:50_000])
    planes = tuple(replace(plane, path=str(broken)) for plane in plan.inputs[0].planes)
    inputs = (replace(plan.inputs[0], planes=planes), plan.inputs[1])
    build = engine.submit("broken", replace(plan, inputs=inputs, explicit=True))
    assert build.wait(60)
    with pytest.raises(ImageFormatError) as caught:
        build.result()
    assert caught.value.args[0] == plan.inputs[0].dataset_id


def test_a_stopped_build_stops_and_frees_its_worker(
    engine: EmbeddedEngine, folder: Path, tmp_path: Path
) -> None:
    long = [plan_of(folder, tmp_path / name, copies=400) for name in ("a", "b")]
    builds = [engine.submit(name, plan) for name, plan in zip("ab", long, strict=True)]
    wait_until(lambda: all(map(is_warping, builds)))
    for build in builds:
        build.stop()
        with pytest.raises(StoppedError):
            build.result()
    short = engine.submit("c", plan_of(folder, tmp_path / "c"))
    assert short.wait(20)
    assert short.result().size_bytes > 0
    assert not any(Path(plan.output_path).exists() for plan in long)


def test_a_killed_worker_is_replaced_and_its_build_run_again(
    engine: EmbeddedEngine, folder: Path, tmp_path: Path
) -> None:
    plan = plan_of(folder, tmp_path, copies=60)
    engine.submit("warm", plan_of(folder, tmp_path / "warm")).wait(60)
    build = engine.submit("killed", plan)
    wait_until(lambda: is_warping(build))
    victim = busy_pid(engine)
    os.kill(victim, signal.SIGKILL)
    assert build.wait(90)
    assert Path(build.result().path).is_file()
    wait_until(lambda: len(engine.worker_pids()) == 2)
    assert victim not in engine.worker_pids()


def busy_pid(engine: EmbeddedEngine) -> int:
    """The process that works now."""
    tasks = engine._runner.client().processing()
    nannies = engine._cluster.workers.values()
    (busy,) = [nanny.pid for nanny in nannies if tasks.get(nanny.worker_address)]
    return int(busy)


def test_a_build_whose_workers_keep_dying_is_reported_lost(
    engine: EmbeddedEngine, folder: Path, tmp_path: Path
) -> None:
    build = engine.submit("doomed", plan_of(folder, tmp_path, copies=400))

    killed_at = None

    def kill_until_done() -> bool:
        nonlocal killed_at
        if is_warping(build) and build.progress() != killed_at:
            killed_at = build.progress()
            for pid in engine.worker_pids():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        return build.wait(0.1)

    wait_until(kill_until_done, 90)
    with pytest.raises(EngineBusyError):
        build.result()


def test_an_engine_without_workers_is_made_anew(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.workers.embedded.RESTART_LIMIT_S", 0.5)
    engine = EmbeddedEngine(workers=1, data_dir=tmp_path)
    assert engine.submit("first", plan_of(folder, tmp_path / "first")).wait(60)
    engine._cluster.scale(0)
    wait_until(lambda: not engine.worker_pids())
    stranded = engine.submit("stranded", plan_of(folder, tmp_path / "stranded"))
    assert stranded.wait(60)
    with pytest.raises(EngineBusyError):
        stranded.result()
    again = engine.submit("again", plan_of(folder, tmp_path / "again"))
    assert again.wait(60)
    assert again.result().size_bytes > 0
    engine.close()


def test_an_interrupt_from_the_terminal_leaves_workers_alone(
    engine: EmbeddedEngine, folder: Path, tmp_path: Path
) -> None:
    engine.submit("warm", plan_of(folder, tmp_path / "warm")).wait(60)
    wait_until(lambda: len(engine.worker_pids()) == 2)
    build = engine.submit("interrupted", plan_of(folder, tmp_path, copies=60))
    wait_until(lambda: is_warping(build))
    before = engine.worker_pids()
    for pid in before:
        os.kill(pid, signal.SIGINT)
    assert build.wait(60)
    assert Path(build.result().path).is_file()
    assert engine.worker_pids() == before


def test_the_same_builds_run_on_a_cluster_by_address(folder: Path, tmp_path: Path) -> None:
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=1, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
    ) as cluster:
        engine = ClusterEngine(address=cluster.scheduler_address, data_dir=tmp_path)
        build = engine.submit("one", plan_of(folder, tmp_path))
        assert build.wait(60)
        assert Path(build.result().path).is_file()
        assert "1 workers" in engine.describe()
        engine.close()


def test_a_cluster_that_is_not_there_is_busy(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.workers.cluster.CONNECT_TIMEOUT_S", 0.5)
    engine = ClusterEngine(address="tcp://127.0.0.1:9", data_dir=tmp_path)
    with pytest.raises(EngineBusyError):
        engine.submit("one", plan_of(folder, tmp_path))
