"""`--dry-run` refuses what the sweep itself would refuse, and leaves nothing behind."""

import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mnist_files import write_files
from PIL import Image
from rich.console import Console

from sweeps.errors import UserError
from sweeps.storage import open_storage, open_study
from sweeps.storage.study_record import write_study
from vaeexp.launch.options import SweepOptions
from vaeexp.launch.run import plan_sweep
from vaeexp.launch.study_log import StudyLog
from vaeexp.study import open_study_file

SMALL = ("validation_size=40", "batch_size=20", "hidden=[8]")


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SweepOptions:
    monkeypatch.setenv("VAEEXP_CACHE", str(tmp_path / "cache"))
    write_files(tmp_path / "data" / "MNIST" / "raw", training=160, test=30)
    places = {name: tmp_path / name for name in ("data", "runs", "reports")}
    return SweepOptions("smoke", overrides=(*SMALL, "train_size=120"), **places)


def planned(options: SweepOptions, **given: bool) -> str:
    console = Console(file=io.StringIO(), width=200)
    plan_sweep(options, StudyLog(console), **given)
    return console.file.getvalue()


def begin(options: SweepOptions, *changes: str, **fields: object) -> None:
    """Record the study in the runs folder, as a sweep that has begun."""
    study = open_study_file("smoke", overrides=[*options.overrides, *changes])
    write_study(open_study(open_storage(None, options.runs, "smoke"), study), **fields)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"storage": "postgresql+psycopg://me:secret@127.0.0.1:9/none"},
            r"postgresql\+psycopg://me:\*\*\*@.*cannot be reached",
        ),
        ({"storage": "mongodb://x"}, "is no storage of studies"),
        (
            {"tracking": "http://127.0.0.1:9"},
            "--tracking: http://127.0.0.1:9 cannot be reached: .*refused",
        ),
        ({"tracking": "sqlite:////nowhere/at/all.db"}, "the folder /nowhere/at does not exist"),
        ({"tracking": "ftp://x"}, "must start with http"),
    ],
)
def test_addresses_that_do_not_answer_are_found(options, changes, says):
    with pytest.raises(UserError, match=says):
        planned(replace(options, **changes))
    assert not options.runs.exists()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ((), "Validation: 40 images with 1 draw of z each; .* up to about 0.35 nats"),
        (("validation_draws=10",), "Validation: 40 images with 10 draws .* about 0.11 nats"),
        (("posterior=deterministic", "beta=0", "prior=normal", "components=1"), None),
    ],
)
def test_the_plan_says_how_far_draws_move_a_validation_value(options, changes, says):
    asked = (*options.overrides, "latent_size=10", *changes)
    found = planned(replace(options, overrides=asked))
    lines = [line for line in found.splitlines() if line.startswith("Validation: ")]
    assert len(lines) == (says is not None)
    assert says is None or re.match(says, lines[0])


BRANCHING = """
import math
from torch import nn


class Net:
    def encoder(self, settings, image_shape, outputs):
        within = nn.Sigmoid() if settings.latent_size % 2 else nn.Tanh()
        return nn.Sequential(nn.Flatten(), within, nn.Linear(math.prod(image_shape), outputs))

    def decoder(self, settings, image_shape, latent_size, parameters):
        shape = (image_shape[0] * parameters, *image_shape[1:])
        return nn.Sequential(nn.Linear(latent_size, math.prod(shape)), nn.Unflatten(1, shape))
"""


@pytest.mark.parametrize(
    ("space", "alone"),
    [
        ("{values: [2, 3, 7, 8]}", {3, 7}),
        ("{low: 2, high: 8}", {5}),
        ("{low: 3, high: 8}", {3, 5}),
    ],
)
def test_sizes_at_which_own_code_trains_alone_are_named_beforehand(
    options, tmp_path, monkeypatch, caplog, space, alone
):
    """Of a list all, of a range its ends and its middle."""
    module = f"branching_{len(space)}_{min(alone)}"
    (tmp_path / f"{module}.py").write_text(BRANCHING)
    monkeypatch.syspath_prepend(tmp_path)
    asked = (*options.overrides, f"network={module}:Net", f"search.latent_size={space}")
    planned(replace(options, overrides=asked, fuse="on"))
    sizes = re.findall(r"with latent_size (\d+), .* train alone, not fused", caplog.text)
    assert {*map(int, sizes)} == alone


def test_a_changed_study_is_found(options):
    begin(options, "search.beta.high=5")
    with pytest.raises(UserError, match=r"search.beta.high: 5.0 → 10.0"):
        planned(options)
    assert "Nothing was trained." in planned(replace(options, extend=True))


def test_a_study_on_other_images_is_found(options):
    begin(
        options,
        provenance={"data": {"fingerprint": "other", "title": "MNIST", "source": "elsewhere"}},
    )
    with pytest.raises(UserError, match="was made on MNIST"):
        planned(options)


def test_a_finished_study_says_so_at_once(options):
    budget = open_study_file("smoke").budget.model_dump()
    begin(options, finished=True, stopped="8 trials.", budget=budget)
    said = planned(options)
    assert "The study 'smoke' is complete: 8 trials." in said
    assert "--trials 16" in said
    assert "Nothing was trained." in planned(replace(options, trials=9))


def test_another_study_that_does_not_serve_is_found(options):
    def naming(entry: str) -> str:
        return planned(replace(options, name="second", overrides=(*options.overrides, entry)))

    with pytest.raises(
        UserError,
        match=r"smoke.yaml: start.1.study: got 'smoke', which is no study of this storage",
    ):
        naming("start=[{study: smoke}]")
    begin(options, protocol={"objective": "accuracy"})
    with pytest.raises(
        UserError, match="whose objective is accuracy; must be −ELBO at β = 1 on validation images"
    ):
        naming("start=[{study: smoke}]")
    with pytest.raises(
        UserError,
        match=r"whose protocol differs: objective is accuracy there and −ELBO.*; epochs is ",
    ):
        naming("learn_from=smoke")


def test_a_range_that_grows_is_planned_as_wide_as_it_may_become(options):
    grows = (*options.overrides, "search.latent_size={low: 2, high: 4, log: true, grow: true}")
    wide = (*options.overrides, "search.latent_size={low: 2, high: 64, log: true}")
    lines = [planned(replace(options, overrides=each)) for each in (grows, wide)]
    parameters = [
        next(line for line in text.splitlines() if "Largest model" in line) for text in lines
    ]
    assert parameters[0].split(" parameters")[0] == parameters[1].split(" parameters")[0]


def test_the_variable_of_mlflow_is_named_where_it_is_not_used(options, monkeypatch):
    """Runs never go to a server that the command does not name, and a person who set the variable
    is told so.
    """
    assert "MLFLOW_TRACKING_URI" not in planned(options)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:secret@mlflow.example")
    said = planned(options)
    assert f"not used: the runs go to {options.runs / 'mlflow.db'}" in " ".join(said.split())
    assert "--tracking https://me:***@mlflow.example" in " ".join(said.split())
    assert "secret" not in said
    store = f"sqlite:///{options.runs.parent / 'other.db'}"
    assert "MLFLOW_TRACKING_URI" not in planned(replace(options, tracking=store))


def test_the_plan_shows_nine_images_and_writes_nothing_else(options, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    said = planned(options, show=True)
    assert (
        "smoke-images.png  9 of the 120 training images as the models are given them "
        "(binarisation static)" in said
    )
    with Image.open("smoke-images.png") as image:
        assert image.info["Software"].startswith("vaeexp")
    assert [path.name for path in Path().iterdir()] == ["smoke-images.png"]
    assert not options.runs.exists()
    Image.new("L", (3, 3)).save("smoke-images.png")
    with pytest.raises(
        UserError, match=r"smoke-images\.png: is there already and is not from vaeexp"
    ):
        planned(options, show=True)


@pytest.mark.parametrize(
    ("changes", "later"),
    [
        ((), "Then up to 6 further runs, whatever the budget: 2 to confirm, 4 to compare."),
        (("confirm=null", "compare=null"), None),
        (
            ("compare=null", "baselines.plain.seeds=3", "baselines.plain.settings.beta=1.0"),
            "2 to confirm, 3 of baselines.",
        ),
    ],
)
def test_the_plan_counts_the_runs_after_the_search(options, changes, later):
    said = planned(replace(options, trials=2, overrides=(*options.overrides, *changes)))
    assert (later is None) == ("further run" not in said)
    assert later is None or later in said
    assert ("Altogether at most " in said) == (later is not None)
    assert "parameters. Memory: about 0." in said


@pytest.mark.parametrize(("pruner", "shortens"), [("none", False), ("median", True)])
def test_pruning_is_said_to_shorten_a_search_that_prunes(options, pruner, shortens):
    said = planned(replace(options, overrides=(*options.overrides, f"pruner={pruner}")))
    assert ("pruning shortens that" in said) == shortens


@pytest.mark.parametrize(("trials", "ends"), [(50, 6), (4, 4), (6, 6)])
def test_a_grid_says_when_it_is_exhausted(options, trials, ends):
    grid = (
        "sampler=grid",
        "pruner=none",
        "confirm=null",
        "compare=null",
        "search.beta={values: [0.5, 1, 2]}",
    )
    grid += (
        "search.prior={values: [normal, mixture]}",
        "latent_size=2",
        "learning_rate=0.001",
        "optimizer=adam",
    )
    small = replace(options, trials=trials, overrides=(*options.overrides, *grid, "components=2"))
    assert f"The grid has 6 settings; the search ends after {ends}." in planned(small)
    study = open_study_file("smoke", overrides=[*small.overrides, f"budget.trials={trials}"])
    stored = open_study(open_storage(None, options.runs, "smoke"), study)
    write_study(stored, finished=True, budget=study.budget.model_dump(), stopped="as a test says")
    said = planned(small)
    assert ("the grid has no other setting" in said) == (trials >= 6)
    assert ("To extend it: " in said) == (trials < 6)


@pytest.mark.parametrize(
    ("record", "execution", "offered"),
    [
        ({}, {"precision": "bf16"}, "--precision bf16 --trials"),
        ({}, {"precision": "float32", "lanes": 3}, "--lanes 3 --trials"),
        ({}, {"threads": 2, "device": "auto"}, "--device auto --trials"),
        ({"vaeexp": "0.0.9 (0123456789ab)"}, {}, "--trials 16 --extend"),
        ({"torch": "1.0"}, {"compile": "on"}, "--trials 16 --extend"),
    ],
)
def test_the_command_that_extends_a_study_is_one_that_its_workers_take(
    options, record, execution, offered
):
    study = open_study_file("smoke", overrides=options.overrides)
    stored = open_study(open_storage(None, options.runs, "smoke"), study)
    kind = {"device": "cpu", "precision": "bf16", "threads": 1, "compile": "off", **record}
    write_study(
        stored,
        finished=True,
        budget=study.budget.model_dump(),
        stopped="as a test says",
        worker_kind=kind,
    )
    (line,) = (
        line
        for line in planned(replace(options, **execution)).split("\n")
        if "To extend it" in line
    )
    assert offered in line
    assert line.endswith(("--trials 16", "--trials 16 --extend"))
    refused = {
        name: value
        for name, value in execution.items()
        if str(value) not in (*map(str, kind.values()), "auto", "3")
    }
    assert not [name for name, value in refused.items() if f"--{name} {value}" in line]


GREY = np.random.default_rng(0).integers(0, 256, (200, 8, 8))


@pytest.mark.parametrize(
    "numbers",
    [
        GREY.astype("f4"),
        (GREY // 16).astype("f8"),
        (GREY / 127.5 - 1).astype("f4"),
        GREY.astype("i8"),
    ],
    ids=["0 to 255", "0 to 15", "-1 to 1", "int64"],
)
@pytest.mark.parametrize("binarisation", ["static", "none"])
def test_numbers_that_are_no_grey_levels_are_taken_as_is_advised(
    options, tmp_path, numbers, binarisation
):
    def plan(array: np.ndarray, *changes: str) -> str:
        np.save(tmp_path / "mine.npy", array)
        overrides = (*SMALL, "dataset=arrays", *changes)
        return planned(replace(options, data=tmp_path / "mine.npy", overrides=overrides))

    with pytest.raises(UserError, match=r"got .*Try --set .*; of grey levels, save") as caught:
        plan(numbers, f"binarisation={binarisation}")
    advised = re.findall(r"--set (\S+=\w+)", caught.value.problem)
    assert len(advised) == 3
    assert "scaled by training mean and deviation; gaussian_learned" in plan(numbers, *advised)
    black, white = numbers.min(), numbers.max()
    assert "Nothing was trained" in plan((numbers - black) / (white - black))
