"""The memory of a sweep is estimated before it starts: what does not fit is refused before it is
built, or narrowed.
"""

import io
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import without_mnist
from control_group import NoControlGroups, memory_group
from mnist_files import write_files
from rich.console import Console

from sweeps.errors import UserError
from sweeps.memory import FreeMemory
from sweeps.ray.worker import RayEngine
from vaeexp.launch.job import prepare_job
from vaeexp.launch.memory import MIRROR, WORKER, MemoryPlan, choose_execution
from vaeexp.launch.options import SweepOptions
from vaeexp.launch.run import plan_sweep
from vaeexp.launch.study_log import StudyLog
from vaeexp.models.vae import build_vae, count_parameters
from vaeexp.settings import ModelSettings

GIB = 2**30


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SweepOptions:
    monkeypatch.setenv("VAEEXP_CACHE", str(tmp_path / "cache"))
    write_files(tmp_path / "data" / "MNIST" / "raw", training=160, test=30)
    overrides = ("validation_size=40", "batch_size=20", "hidden=[8]", "train_size=120")
    execution = {"device": "cpu", "compile": "off"}
    return SweepOptions(study="smoke", overrides=overrides, data=tmp_path / "data", **execution)


@pytest.mark.parametrize(("network", "prior"), [("mlp", "mixture"), ("conv", "vampprior")])
def test_parameters_are_counted_without_building_the_model(network, prior):
    settings = ModelSettings(network=network, prior=prior, hidden=(16, 8))
    assert (
        count_parameters(settings, (1, 28, 28))
        == build_vae(settings, (1, 28, 28), seed=0).parameter_count()
    )


def test_a_model_that_cannot_fit_is_refused_before_it_is_built(options, monkeypatch):
    monkeypatch.setattr(
        "vaeexp.launch.memory.free_memory", lambda: FreeMemory(20 * GIB, "the container")
    )
    monkeypatch.setattr(
        "vaeexp.models.vae.build_vae", lambda *settings, **options: pytest.fail("it was built")
    )
    wide = SweepOptions(
        **{**vars(options), "overrides": (*options.overrides, "hidden=[16384,16384,16384]")}
    )
    with pytest.raises(
        UserError,
        match=r"model: the largest model has 1,\d+,\d+,\d+ parameters; one trial of it needs",
    ) as error:
        plan_sweep(wide, StudyLog(Console(file=io.StringIO())))
    assert "the container has 20.0 GiB free" in str(error.value)


def test_a_sweep_is_narrowed_with_a_line_or_refused_where_its_numbers_are_fixed(
    options, monkeypatch
):
    def choose(asked, recorded, free):
        monkeypatch.setattr("vaeexp.launch.memory.free_memory", lambda: free)
        return choose_execution(*place, asked, recorded, said.append)

    job = prepare_job(options, StudyLog(Console(quiet=True)))
    place = job.study, job.settings, job.dataset
    free, said = FreeMemory(MIRROR + 2 * WORKER - 1, "the container"), list[str]()
    asked = {**options.execution, "workers": 4, "lanes": 8}
    roomy = choose(asked, {}, FreeMemory(64 * GIB, "the machine"))
    assert (roomy.workers, roomy.lanes, said) == (4, 8, [])
    assert MemoryPlan(*place).fitting(roomy, free) == (1, 2)
    for fixed, recorded in ((asked, {}), (options.execution, {"workers": 4, "lanes": 8})):
        with pytest.raises(
            UserError,
            match=r"memory: 4 workers with 8 lanes need about .* Try --workers 1 --lanes 2",
        ):
            choose(fixed, recorded, free)
    narrow = choose({**options.execution}, {}, FreeMemory(GIB // 2, "the container"))
    assert (narrow.workers, narrow.lanes) == (1, 1)
    assert len(said) == 1
    assert said[0].endswith(
        "the container has 0.5 GiB free: the study runs with --workers 1 --lanes 1."
    )


class FakeCluster(RayEngine):
    """Four machines, each with 4 cores and 1 GiB."""

    @property
    def places(self) -> int:
        return 4 * min(int(4 // self.cpus), GIB // self.memory if self.memory else 4)


def test_a_cluster_has_no_more_workers_than_its_memory_has_room_for(options, tmp_path):
    job = prepare_job(options, StudyLog(Console(quiet=True)))
    place, cluster = (job.study, job.settings, job.dataset), FakeCluster(folder=tmp_path)
    plan = MemoryPlan(*place)
    assert cluster.places == 16
    for lanes, workers in ((8, 4), (2, 2)):  # a worker needs more than half of a machine's memory
        execution = choose_execution(
            *place, {**options.execution, "lanes": lanes}, {}, print, engine=cluster
        )
        assert (execution.workers, execution.lanes) == (workers, lanes)
        assert plan.asked(cluster, execution).memory == plan.needed(
            1, lanes // workers, compiled=False
        )
    asked = {**options.execution, "workers": 8, "lanes": 8}
    assert choose_execution(*place, asked, {}, print, engine=cluster).workers == 8, (
        "the study waits for them"
    )
    wide = {**options.execution, "threads": 3}
    assert plan.asked(cluster, choose_execution(*place, wide, {}, print, engine=cluster)).cpus == 3


@pytest.mark.parametrize(
    ("megabytes", "said"),
    [
        (600, "vaeexp: memory: `vaeexp sweep` needs about 0.8 GiB to load PyTorch, and the "
            "container has 0.5 GiB free. Give it more memory.\n"),
        (900, "parameters; one trial of it needs about 0.5 GiB more, and the container has 0."),
        pytest.param(1600, "Report: reports/smoke/report.html", marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_in_a_real_group_with_little_memory_a_sweep_says_so_or_runs_to_its_end(
    megabytes, said, tmp_path
):
    """On the first machine tried, the driver was killed after 9 s without a word."""
    study = ("smoke", "--device", "cpu", "--compile", "off")
    sweep = (sys.executable, "-P", "-m", "vaeexp", "sweep", *study)
    try:
        with memory_group(megabytes) as group:
            join = ("bash", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "join")
            environment = without_mnist(tmp_path) | {"VAEEXP_CACHE": str(tmp_path / "cache")}
            ended = subprocess.run(
                (*join, *sweep),
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
    except NoControlGroups as error:
        pytest.skip(str(error))
    assert ended.returncode == (2 if megabytes < 1000 else 0), ended.stderr
    assert said in ended.stdout + ended.stderr
    assert (tmp_path / "mlruns").exists() == (megabytes > 1000)
