"""Both engines, with real worker processes: results, errors, progress, stop, killed workers."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
from dask.typing import Key
from distributed import Client, LocalCluster, Worker

from app.errors import ComputationError, EngineBusyError, ImageFormatError, StoppedError
from app.pixels.grid import Grid
from app.recipes.plan import make_plan
from app.recipes.recipe import BuildPlan, Recipe, TemplateOptions
from app.recipes.select import Candidate, Chosen
from app.workers.cluster import ClusterEngine
from app.workers.dask_client import LOST_CHECK_S, DaskBuild
from app.workers.embedded import DASK_SETTINGS, EmbeddedEngine
from app.workers.engine import Build, Engine
from app.workers.graph import Graph
from app.workers.remote import Submission, run_warp
from app.workers.work import DEFAULT_LIMITS, STAGES
from tests.services.survey import (
    AUTHORITY,
    Exposure,
    exposure_header,
    image_ref,
    write_exposure,
)
from tests.waiting import PATIENCE_S, wait_for


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


def plan_of(
    folder: Path,
    data_dir: Path,
    *,
    copies: int = 1,
    statistic: Literal["meanclip", "safeclip"] = "meanclip",
) -> BuildPlan:
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
        template=TemplateOptions(statistic=statistic),
    )
    return make_plan(
        recipe,
        Chosen(inputs=candidates),
        shape=Grid.from_text(grid).shape,
        authority=AUTHORITY,
        root=str(data_dir),
        max_pixels=10**9,
    )


def is_warping(build: Build) -> bool:
    """True when the build reported a stage."""
    return build.progress() is not None


def test_a_build_runs_in_a_worker_process(
    engine: EmbeddedEngine, folder: Path, tmp_path: Path
) -> None:
    plan = plan_of(folder, tmp_path)
    build = engine.submit("one", plan)
    assert build.wait(PATIENCE_S)
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
    assert build.wait(PATIENCE_S)
    with pytest.raises(ImageFormatError) as caught:
        build.result()
    assert caught.value.args[0] == plan.inputs[0].dataset_id


def test_a_failed_build_leaves_no_tasks(
    engine: EmbeddedEngine, folder: Path, tmp_path: Path
) -> None:
    plan = plan_of(folder, tmp_path, copies=400)
    absent = tuple(replace(plane, path="/absent") for plane in plan.inputs[0].planes)
    inputs = (replace(plan.inputs[0], planes=absent), *plan.inputs[1:])
    shutil.rmtree(engine_folder(engine) / "cache", ignore_errors=True)
    build = engine.submit("failing", replace(plan, inputs=inputs, explicit=True))
    assert build.wait(PATIENCE_S)
    with pytest.raises(ImageFormatError):
        build.result()
    wait_for(lambda: not tasks_of(engine))
    assert len(warps_of(engine)) < 400


def test_a_stopped_build_stops_and_frees_its_worker(
    engine: EmbeddedEngine, folder: Path, tmp_path: Path
) -> None:
    long = [plan_of(folder, tmp_path / name, copies=400) for name in ("a", "b")]
    builds = [engine.submit(name, plan) for name, plan in zip("ab", long, strict=True)]
    wait_for(lambda: all(map(is_warping, builds)))
    for build in builds:
        build.stop()
        with pytest.raises(StoppedError):
            build.result()
    wait_for(lambda: not tasks_of(engine))
    short = engine.submit("c", plan_of(folder, tmp_path / "c"))
    assert short.wait(PATIENCE_S)
    assert short.result().size_bytes > 0
    assert not any(Path(plan.output_path).exists() for plan in long)


@pytest.mark.parametrize("statistic", ["safeclip", "comparewarp"])
def test_a_build_that_searches_artefacts_hears_the_stop(
    engine: EmbeddedEngine,
    folder: Path,
    tmp_path: Path,
    statistic: Literal["safeclip", "comparewarp"],
) -> None:
    """On a target so wide that the search of all of it would outlast what else is built here."""
    plan = plan_of(folder, tmp_path, copies=20)
    wide = replace(
        plan.recipe,
        grid=standard_grid(6000).to_text(),
        template=TemplateOptions(statistic=statistic),
    )
    build = engine.submit(statistic, replace(plan, recipe=wide))
    wait_for(lambda: searched(build) > 0)
    build.stop()
    both = [engine.submit(name, plan_of(folder, tmp_path / name)) for name in ("a", "b")]
    assert all(each.wait(PATIENCE_S) for each in both)
    wait_for(lambda: not busy(engine))
    assert 0 < searched(build) < 6000
    with pytest.raises(StoppedError):
        build.result()
    assert not Path(plan.output_path).exists()


def searched(build: Build) -> int:
    """Up to which row artefacts were searched when the build told last."""
    told = build.progress()
    return told[1] if told is not None and told[0] == "artefacts" else 0


def busy(engine: EmbeddedEngine) -> bool:
    """Whether a worker runs a task."""
    return any(engine._runner.client().processing().values())


def standard_grid(size_px: int) -> Grid:
    """A square about the exposures, of their pixels."""
    header = exposure_header(Exposure(visit=0))
    header["CRPIX1"] = header["CRPIX2"] = size_px / 2
    return Grid.from_header(header, (size_px, size_px))


def test_a_killed_worker_loses_its_own_task_alone(folder: Path, tmp_path: Path) -> None:
    engine = EmbeddedEngine(workers=2, data_dir=tmp_path / "engine")
    whole = engine.submit("whole", plan_of(folder, tmp_path / "whole", copies=12))
    assert whole.wait(PATIENCE_S)
    expected, made = whole.result(), warps_of(engine)
    shutil.rmtree(engine_folder(engine) / "cache")
    build = engine.submit("killed", plan_of(folder, tmp_path, copies=12))
    wait_for(lambda: is_warping(build))
    victim = engine.worker_pids()[0]
    os.kill(victim, signal.SIGKILL)
    kept = warps_of(engine)
    assert build.wait(PATIENCE_S)
    assert build.result().checksum == expected.checksum
    after = warps_of(engine)
    assert after.keys() == made.keys() and len(made) == 24
    assert kept and kept.items() <= after.items()
    wait_for(lambda: len(engine.worker_pids()) == 2)
    assert victim not in engine.worker_pids()
    engine.close()


def engine_folder(engine: EmbeddedEngine) -> Path:
    """Where it keeps warps."""
    return engine._data_dir


def tasks_of(engine: EmbeddedEngine) -> set[str]:
    """Keys of the tasks that wait or run somewhere."""
    tasks = engine._cluster.scheduler.tasks.copy()
    waiting = {str(key) for key, task in tasks.items() if task.state not in ("memory", "erred")}
    return waiting | running_in(engine._runner.client())


def running_in(client: Client) -> set[str]:
    """Keys of the tasks that workers are in."""
    keys = client.run(active_keys, on_error="ignore")
    return {str(key) for each in keys.values() for key in each}


def active_keys(dask_worker: Worker) -> list[Key]:
    """In a worker: the tasks that its threads are in."""
    return list(dask_worker.active_keys)


def warps_of(engine: EmbeddedEngine) -> dict[str, int]:
    """Name and inode of each warp: one that is made again is another file."""
    folder = engine_folder(engine) / "cache" / "warps"
    return {path.name: path.stat().st_ino for path in folder.glob("*.warp")}


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

    wait_for(kill_until_done)
    with pytest.raises(EngineBusyError):
        build.result()


def test_an_engine_without_workers_is_made_anew(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.workers.embedded.RESTART_LIMIT_S", 0.5)
    engine = EmbeddedEngine(workers=1, data_dir=tmp_path)
    assert engine.submit("first", plan_of(folder, tmp_path / "first")).wait(PATIENCE_S)
    for nanny in engine._cluster.workers.values():
        nanny.process.worker_kwargs["preload"] = ["no_such_module"]
    os.kill(engine.worker_pids()[0], signal.SIGKILL)
    wait_for(lambda: not engine.worker_pids())
    stranded = engine.submit("stranded", plan_of(folder, tmp_path / "stranded"))
    assert stranded.wait(PATIENCE_S)
    with pytest.raises(EngineBusyError):
        stranded.result()
    again = engine.submit("again", plan_of(folder, tmp_path / "again"))
    assert again.wait(PATIENCE_S)
    assert again.result().size_bytes > 0
    engine.close()


def test_a_worker_that_dask_gave_up_is_replaced(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DASK_SETTINGS, "distributed.deploy.lost-worker-timeout", "1ms")
    engine = EmbeddedEngine(workers=1, data_dir=tmp_path)
    assert engine.submit("before", plan_of(folder, tmp_path / "before")).wait(PATIENCE_S)
    os.kill(engine.worker_pids()[0], signal.SIGKILL)
    wait_for(lambda: not engine._cluster.workers)
    build = engine.submit("after", plan_of(folder, tmp_path))
    assert build.wait(PATIENCE_S)
    assert build.result().size_bytes > 0
    engine.close()


def test_an_interrupt_from_the_terminal_leaves_workers_alone(
    engine: EmbeddedEngine, folder: Path, tmp_path: Path
) -> None:
    engine.submit("warm", plan_of(folder, tmp_path / "warm")).wait(PATIENCE_S)
    wait_for(lambda: len(engine.worker_pids()) == 2)
    build = engine.submit("interrupted", plan_of(folder, tmp_path, copies=60))
    wait_for(lambda: is_warping(build))
    before = engine.worker_pids()
    for pid in before:
        os.kill(pid, signal.SIGINT)
    assert build.wait(PATIENCE_S)
    assert Path(build.result().path).is_file()
    assert engine.worker_pids() == before


def test_engines_of_any_size_give_the_same_bytes(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one task, with the warps alone in tasks, and with sub-regions in tasks, too."""

    def built(engine: Engine, name: str, *, least_values: int) -> list[bytes]:
        monkeypatch.setattr("app.workers.sub_regions.LEAST_VALUES", least_values)
        builds = [
            engine.submit(name, plan_of(folder, tmp_path / name, copies=3, statistic=statistic))
            for statistic in ("meanclip", "safeclip")
        ]
        assert all(build.wait(PATIENCE_S) for build in builds)
        paths = [build.result().path for build in builds]
        engine.close()
        return [Path(path).read_bytes() for path in paths]

    products = [
        built(EmbeddedEngine(workers=count, data_dir=tmp_path / name), name, least_values=least)
        for name, count, least in (("one", 1, 1), ("whole", 2, 10**9), ("parts", 2, 1))
    ]
    with LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
    ) as cluster:
        there = ClusterEngine(address=cluster.scheduler_address, data_dir=tmp_path / "cluster")
        products.append(built(there, "far", least_values=1))
    assert all(each == products[0] for each in products)
    assert products[0][0] != products[0][1]


def test_the_warps_of_a_build_are_tasks_of_their_own(
    engine: EmbeddedEngine, folder: Path, tmp_path: Path
) -> None:
    build = engine.submit("many", plan_of(folder, tmp_path, copies=12))
    seen = set()

    def ended() -> bool:
        seen.add(build.progress())
        return build.wait(0.01)

    wait_for(ended)
    warped = [told[1:] for told in seen if told is not None and told[0] == "warp"]
    assert warped and {total for _, total in warped} == {24}
    assert build.result().size_bytes > 0


def test_sub_regions_are_tasks_of_their_own(
    engine: EmbeddedEngine, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.workers.sub_regions.LEAST_VALUES", 1)
    build = engine.submit("divided", plan_of(folder, tmp_path, copies=12))
    keys, told = set(), []

    def ended() -> bool:
        keys.update(tasks_of(engine))
        told.append(build.progress())
        return build.wait(0.01)

    wait_for(ended)
    assert sum("rows-build-divided" in key for key in keys) == 4
    stages = [each[0] for each in told if each is not None]
    assert stages == sorted(stages, key=STAGES.index)
    assert {each[2] for each in told if each is not None and each[0] == "coadd"} <= {4}
    assert build.result().size_bytes > 0
    assert not list((engine_folder(engine) / "cache" / "warps").glob("*.rows"))


def test_a_worker_killed_while_rows_are_stacked(
    engine: EmbeddedEngine, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.workers.sub_regions.LEAST_VALUES", 1)
    whole = engine.submit("intact", plan_of(folder, tmp_path / "intact", copies=40))
    assert whole.wait(PATIENCE_S)
    expected = whole.result()
    build = engine.submit("bereft", plan_of(folder, tmp_path, copies=40))
    folder_of_rows = engine_folder(engine) / "cache" / "warps"
    wait_for(lambda: bool(list(folder_of_rows.glob("*.rows"))) or build.done())
    os.kill(engine.worker_pids()[0], signal.SIGKILL)
    assert build.wait(PATIENCE_S)
    assert build.result().checksum == expected.checksum


def test_a_worker_that_dies_with_its_report(folder: Path, tmp_path: Path) -> None:
    engine = EmbeddedEngine(workers=1, data_dir=tmp_path)
    build = engine.submit("report", plan_of(folder, tmp_path))
    assert build.wait(PATIENCE_S)
    os.kill(engine.worker_pids()[0], signal.SIGKILL)
    wait_for(lambda: not build.done())
    assert build.result().size_bytes > 0
    engine.close()


def test_a_report_that_takes_long_to_come() -> None:
    """A worker on a busy machine needs longer to send it than the caller waits at once; a build
    that itself ended with a TimeoutError is not asked again."""

    class Slow:
        def __reduce__(self) -> tuple[type[str], tuple[str]]:
            time.sleep(2.5 * LOST_CHECK_S)
            return str, ("here",)

    def fail() -> None:
        raise TimeoutError("its own")

    def built(made: Callable[[], object]) -> DaskBuild:
        task = client.submit(made, pure=False)
        graph = Graph(task, (), (), ())
        build = DaskBuild(graph=graph, token="one", latest={}, lost=lambda: False)
        assert build.wait(60)
        return build

    with (
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        assert built(Slow).result() == "here"
        with pytest.raises(TimeoutError, match="its own"):
            built(fail).result()


def test_a_stopped_build_finds_its_warps_when_it_is_run_again(
    engine: EmbeddedEngine, folder: Path, tmp_path: Path
) -> None:
    shutil.rmtree(engine_folder(engine) / "cache", ignore_errors=True)
    build = engine.submit("stopped", plan_of(folder, tmp_path, copies=25))
    wait_for(lambda: bool(warps_of(engine)))
    build.stop()
    kept = warps_of(engine)
    again = engine.submit("again", plan_of(folder, tmp_path, copies=25))
    assert again.wait(PATIENCE_S)
    assert again.result().size_bytes > 0
    after = warps_of(engine)
    assert len(after) >= 50 and kept.items() <= after.items()  # others may still end theirs


@pytest.mark.parametrize("explicit", [False, True])
def test_an_input_deleted_while_others_are_warped(
    engine: EmbeddedEngine, folder: Path, tmp_path: Path, explicit: bool
) -> None:
    plan = plan_of(folder, tmp_path, copies=12)
    last = tmp_path / "last.fits"
    last.write_bytes((folder / "i-2.fits").read_bytes())
    planes = tuple(replace(plane, path=str(last)) for plane in plan.inputs[-1].planes)
    inputs = (*plan.inputs[:-1], replace(plan.inputs[-1], planes=planes))
    shutil.rmtree(engine_folder(engine) / "cache", ignore_errors=True)
    build = engine.submit(f"deleted-{explicit}", replace(plan, inputs=inputs, explicit=explicit))
    wait_for(lambda: is_warping(build))
    last.unlink()
    assert build.wait(PATIENCE_S)
    name = inputs[-1].dataset_id
    if explicit:
        with pytest.raises(ImageFormatError) as caught:
            build.result()
        assert caught.value.args[0] == name
        return
    (rejected,) = [use for use in build.result().uses if use.rejected]
    assert rejected.dataset_id == name and "does not exist" in str(rejected.rejected)


def test_a_worker_that_is_told_to_stop_says_goodbye(tmp_path: Path) -> None:
    with LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address=None) as cluster:
        worker = subprocess.Popen(
            [sys.executable, "-m", "app.cli", "worker", cluster.scheduler_address],
            env=os.environ | {"SKYLOOM_DATA_DIR": str(tmp_path)},
        )
        wait_for(lambda: cluster.scheduler.workers)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(PATIENCE_S) == 0
        wait_for(lambda: not cluster.scheduler.workers)


def test_a_killed_server_leaves_no_tasks(folder: Path, tmp_path: Path) -> None:
    with LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
    ) as cluster:
        server = subprocess.Popen(
            [sys.executable, "-c", SERVER, cluster.scheduler_address, str(folder), str(tmp_path)]
        )
        warps = tmp_path / "cache" / "warps"
        wait_for(lambda: len(list(warps.glob("*.warp"))) > 2)
        server.kill()
        server.wait()
        with Client(cluster, set_as_default=False) as client:
            wait_for(lambda: not running_in(client) and not cluster.scheduler.tasks)
        assert len(list(warps.glob("*.warp"))) < 800


SERVER = """
import sys, time
from pathlib import Path
from app.workers.cluster import ClusterEngine
from tests.workers.test_engines import plan_of
address, folder, data_dir = sys.argv[1:]
engine = ClusterEngine(address=address, data_dir=Path(data_dir))
engine.submit("lost", plan_of(Path(folder), Path(data_dir), copies=400)).wait(600)
"""


def test_a_worker_without_the_data_folder_says_so(folder: Path, tmp_path: Path) -> None:
    elsewhere = Submission(
        token="t",
        job_id="j",
        data_dir=str(tmp_path),
        mark=str(tmp_path / "absent"),
        limits=DEFAULT_LIMITS,
    )
    with pytest.raises(ComputationError, match=f"does not see the server's .* {tmp_path}"):
        run_warp(elsewhere, plan_of(folder, tmp_path), None, 1)


def test_a_cluster_that_is_not_there_is_busy(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.workers.cluster.CONNECT_TIMEOUT_S", 0.5)
    engine = ClusterEngine(address="tcp://127.0.0.1:9", data_dir=tmp_path)
    with pytest.raises(EngineBusyError):
        engine.submit("one", plan_of(folder, tmp_path))
