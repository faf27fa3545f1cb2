"""How a study runs, decided from options, record and machine."""

import logging
import math

import pytest
import torch
from fused import BASE

from sweeps.errors import UserError, warn_once
from vaeexp.launch.execution import model_shapes, resolve_execution
from vaeexp.study import open_study_file, settings_of

DATA = type("Data", (), {"sizes": (100, 40, 40)})


CPU = {"device": "cpu"}


def test_a_long_study_that_cannot_be_compiled_says_why(monkeypatch, caplog):
    monkeypatch.setenv("CXX", "no-such-compiler")
    warn_once.cache_clear()
    with caplog.at_level(logging.WARNING):
        assert not decide({"device": "cpu", "lanes": 1}, 100_000).compile
    [line] = caplog.messages
    assert line.startswith("Trials train uncompiled; compiled it can be twice as fast, but ")
    assert "there is no C++ compiler" in line


@pytest.fixture
def cores(monkeypatch):
    """Sets the number of cores."""
    return lambda count: monkeypatch.setattr("vaeexp.launch.execution.usable_cores", lambda: count)


def decide(asked, trials=40, recorded=None, **more):
    return resolve_execution(asked, recorded or {}, DATA, BASE, {}, trials, **more)


@pytest.mark.parametrize(
    ("device", "trials", "compiled"),
    [("cpu", 4, False), ("cpu", 100_000, True), ("cuda", 4, False), ("cuda", 400_000, True)],
)
def test_a_study_is_compiled_when_it_is_long(device, trials, compiled, monkeypatch, cores):
    cores(2)
    monkeypatch.setattr("vaeexp.launch.execution.resolve_device", lambda name: torch.device(device))
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    asked, fuse = {"lanes": 2, "precision": "bf16"}, "on" if device == "cuda" else "off"
    decided = decide(asked, trials)
    assert (decided.fuse, decided.compile) == (device == "cuda", compiled)
    kept = decide(asked, trials, {"fuse": fuse, "compile": "off"})
    assert not kept.compile, "what a study was begun with stays"


@pytest.mark.parametrize(
    ("precision", "capability", "steps"),
    [("bf16", "AVX512", 6_000), ("float32", "AVX512", 15_000), ("float32", "AVX2", 4_000)],
)
@pytest.mark.parametrize(("shapes", "cores"), [(1, 1), (1, 2), (2, 2), (3, 2)])
def test_the_processor_and_the_shapes_decide_what_is_long(
    precision, capability, steps, shapes, cores, monkeypatch
):
    monkeypatch.setattr("vaeexp.launch.execution.usable_cores", lambda: cores)
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: capability)
    steps_of_a_trial = BASE.train.epochs * (100 // BASE.train.batch_size)
    enough = math.ceil(steps * math.ceil(shapes / cores) * cores / steps_of_a_trial)
    asked = {"device": "cpu", "precision": precision}
    for trials in (enough - 1, enough):
        assert decide(asked, trials, shapes=shapes).compile == (trials == enough)


@pytest.mark.parametrize("asked", [{"compile": "on"}, {}, {"fuse": "off"}])
def test_the_lanes_of_an_accelerator_are_measured_uncompiled(asked, monkeypatch):
    measured = []
    monkeypatch.setattr("vaeexp.launch.execution.resolve_device", lambda name: torch.device("cuda"))
    monkeypatch.setattr(
        "vaeexp.launch.execution._measure_lanes", lambda *_, **how: measured.append(how) or 4
    )
    assert decide({**asked, "precision": "bf16", "workers": 3}, 4).lanes == 12
    [how] = measured
    assert (how["fuse"], how["compile"]) == (asked.get("fuse") != "off", False)


@pytest.mark.parametrize(
    ("device", "asked"),
    [
        ("mps", {"compile": "on"}),
        ("cpu", {"fuse": "on", "compile": "on"}),
        ("cuda", {"fuse": "off", "compile": "on"}),
    ],
)
def test_a_compiled_step_that_there_is_not_is_refused(device, asked, monkeypatch):
    monkeypatch.setattr("vaeexp.launch.execution.resolve_device", lambda name: torch.device(device))
    with pytest.raises(UserError, match="--compile"):
        decide({**asked, "precision": "float32"}, 1)
    recorded = {**asked, "lanes": 1, "workers": 1, "precision": "float32"}
    assert not decide({}, 1, recorded).compile, "the study began on another device"


@pytest.mark.parametrize(
    ("asked", "shares"),
    [
        ({}, [2, 2]),
        ({"lanes": 3}, [2, 1]),
        ({"lanes": 1}, [1]),
        ({"lanes": 7, "workers": 3}, [3, 2, 2]),
        ({"workers": 3}, [2, 2, 2]),
    ],
)
def test_lanes_are_spread_evenly_over_workers(asked, shares, cores):
    cores(2)
    assert [arguments["lanes"] for arguments in decide(CPU | asked).worker_arguments()] == shares
    with pytest.raises(UserError, match="--lanes: got 2; must be at least 3"):
        decide(CPU | {"lanes": 2, "workers": 3})


def test_each_shape_of_model_is_compiled_once_by_workers_side_by_side():
    study = open_study_file("beta_mnist")
    shapes = model_shapes(study, settings_of(study))
    assert [shape.model.prior for shape in shapes] == ["normal", "mixture"]
    decided = decide(CPU | {"workers": 2, "compile": "on"}, shapes=len(shapes))
    assert [arguments["prepare"] for arguments in decided.worker_arguments(shapes)] == [
        shapes[:1],
        shapes[1:],
    ]


def test_a_searched_scale_is_a_shape_of_its_own():
    """The data set of the default scale, which no trial has, is not there."""
    study = open_study_file("scaled", text=SCALED)
    shapes = model_shapes(study, settings_of(study))
    assert [shape.data.key for shape in shapes] == [
        "none, range per global",
        "none, standard per global",
    ]


SCALED = """
question: Which scale?
data: {dataset: arrays, binarisation: none}
model: {likelihood: gaussian_learned}
search: {scale: {values: [range, standard]}}
budget: {trials: 4}
"""


def test_threads_stay_those_of_the_first_run_because_they_may_change_the_last_bits(cores):
    cores(8)
    asked = CPU | {"lanes": 4}
    begun = decide(asked | {"threads": 2})
    assert (begun.workers, begun.threads) == (4, 2)
    for more in ({}, {"workers": 1}):
        assert decide(asked | more, recorded=begun.as_dict()).threads == 2


@pytest.mark.parametrize(("trials", "lanes", "workers"), [(40, 10, 10), (400, 32, 16)])
def test_cores_that_lanes_leave_free_have_workers_and_lanes_stay_as_many(
    cores, trials, lanes, workers
):
    cores(16)
    decided = decide(CPU, trials)
    assert (decided.lanes, decided.workers, decided.threads) == (lanes, workers, 1)


def test_rows_of_a_fused_program_stay_those_of_the_first_run_whatever_the_number_of_workers():
    begun = decide(CPU | {"fuse": "on", "lanes": 12, "workers": 4})
    assert begun.rows == 3
    for workers in (1, 2, 12):
        later = decide({"workers": workers}, recorded=begun.as_dict())
        assert {arguments["rows"] for arguments in later.worker_arguments()} == {3}


def test_a_worker_on_a_cluster_has_one_thread_and_workers_are_as_many_as_fit(cores):
    cores(2)
    decided = decide(CPU, 100, places=5)
    assert (decided.workers, decided.lanes, decided.threads) == (5, 10, 1)
    waiting = decide(CPU | {"workers": 9}, 100, places=0)
    assert (waiting.workers, waiting.threads) == (9, 1)
    with pytest.raises(UserError, match="--workers: the cluster has no room for a worker yet"):
        decide(CPU, 100, places=0)
