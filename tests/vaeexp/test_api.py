"""`vaeexp.load_study`: tables, figures, answer and models of a real study and of thin ones, and the
example in docs/guide/notebook.md.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from matplotlib.figure import Figure
from safetensors.torch import load_file
from synthetic_study import make_results, thin_studies
from tiny_study import NAME

import vaeexp
from sweeps.errors import UserError
from sweeps.storage import open_storage
from sweeps.storage.study_record import read_state
from sweeps.study.space import frozen
from vaeexp.api import Study, _as_text, load_study
from vaeexp.plots import PLOTS
from vaeexp.report.chapters import compose
from vaeexp.results.study_view import StudyView
from vaeexp.results.tables import study_tables
from vaeexp.study import open_study_file

ROOT = Path(__file__).resolve().parent.parent.parent
Networks = type("Networks", (), {"__module__": "networks_of_a_user"})
METHODS = """
    def encoder(self, settings, image_shape, outputs): ...
    def decoder(self, settings, image_shape, latent_size, parameters): ...
"""
PAGE = (ROOT / "docs" / "guide" / "notebook.md").read_text(encoding="utf-8")


@pytest.fixture
def study(tiny_study: Path) -> Study:
    return load_study(NAME, runs=tiny_study / "mlruns")


def test_the_package_imports_nothing_heavy_and_completes_the_name() -> None:
    heavy = ("torch", "mlflow", "optuna", "pandas", "matplotlib", "pydantic", "numpy")
    code = (
        "import sys, vaeexp\nassert set(vaeexp.__all__) <= set(dir(vaeexp))\nprint([n for n in "
        f"{heavy!r} if n in sys.modules])\n"
        "try: vaeexp.load_studies\nexcept AttributeError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["[]", "module 'vaeexp' has no attribute 'load_studies'"]


def test_the_example_in_the_guide_runs(tiny_study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [*_, block] = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tiny_study)
    monkeypatch.setattr("builtins.print", lambda text: said.append(text))
    said: list[str] = []
    names: dict = {}
    exec(compile(block, "notebook.md", "exec"), names)
    shown = eval(
        'trials[trials["state"] == "complete"].sort_values("objective")[["name", "objective", '
        '"params.beta"]]',
        names,
    )
    assert list(shown["name"]) == [f"{NAME}/r0", f"{NAME}/1", f"{NAME}/3"]
    assert names["best"]["name"] == f"{NAME}/r0"
    assert list(names["curve"]["epoch"]) == [1, 2, 3, 4]
    assert names["pictures"].shape == (16, 1, 28, 28)
    assert said == [names["study"].answer()]


def test_tables_are_those_of_the_storage(study: Study, tiny_study: Path) -> None:
    runs = tiny_study / "mlruns"
    found = study_tables(read_state(open_storage(None, runs, NAME, must_exist=True), NAME), runs)
    assert study.name == NAME
    pd.testing.assert_frame_equal(
        study.trials.drop(columns="folder"), found.trials.drop(columns="folder")
    )
    pd.testing.assert_frame_equal(study.epochs, found.epochs)
    assert study.best["name"] == f"{NAME}/r0"
    assert study.best["objective"] == study.epochs.query("repeat")["objective"].min()
    assert vaeexp.load_study is load_study


def test_models_have_the_best_weights_and_evaluate(study: Study, tiny_study: Path) -> None:
    for model, run in (
        (study.best_model(), "repeat-0000"),
        (study.model(1), "trial-0001"),
        (study.model(np.int64(1)), "trial-0001"),
        (study.model(f"{NAME}/3"), "trial-0001"),
        (study.model("r0"), "repeat-0000"),
    ):
        assert isinstance(model, torch.nn.Module)
        assert not any(module.training for module in model.modules())
        kept = load_file(tiny_study / "mlruns" / "trials" / NAME / run / "weights.safetensors")
        for name, parameter in model.named_parameters():
            assert parameter.equal(kept[name]), (run, name)
    one, other = study.model(1), study.model(1)
    assert one is not other, "what is done to a model must not change the next one"


def test_a_trial_that_is_not_there_is_named_with_the_nearest(study: Study, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"has no trial '{NAME}/9'. Did you mean '{NAME}/.'?"):
        study.model(9)
    with pytest.raises(UserError, match="has no trial 'best'"):
        study.model("best")
    with pytest.raises(UserError, match="no such study 'beta_mnits'"):
        load_study("beta_mnits", runs=study.runs)
    moved = Study(study.view, tmp_path)
    with pytest.raises(UserError, match="no study 'beta_mnist'"):
        moved.best_model()


def test_figures_are_those_of_the_report(study: Study) -> None:
    assert study.figures == tuple(PLOTS)
    drawn = {name: study.figure(name) for name in study.figures}
    assert all(figure is None or isinstance(figure, Figure) for figure in drawn.values())
    assert drawn["learning_curves"] is not None
    assert drawn["best_samples"] is not None, "pictures are found in the runs folder"
    with pytest.raises(UserError, match="Did you mean 'learning_curves'"):
        study.figure("learning_curve")


@pytest.mark.usefixtures("no_figures")
def test_the_answer_is_that_of_the_report(study: Study) -> None:
    written, *_ = compose(study.view)
    *notices, lines = study.answer().split("\n\n")
    assert f"## Answer\n\n{lines}\n" in written
    assert all(notice in written for notice in notices)
    assert "trial 1" in lines.splitlines()[0]


def test_what_a_notebook_shows_reads_well(study: Study) -> None:
    value = f"{study.best['objective']:.2f}"
    words = "4 trials (2 complete, 1 failed, 1 pruned) and 1 repeat"
    assert repr(study) == f"{NAME}: {words}; best {NAME}/r0, −ELBO {value} nats per image"
    blocks = study._repr_markdown_().split("\n\n")
    assert blocks[0] == f"### {NAME}"
    assert blocks[1] == "*Does a trial that is trained again come out the same?*"
    assert study.answer() == "\n\n".join(blocks[2:-2])
    assert blocks[-2] == f"`.trials`: {words}. `.epochs`: 12 rows, one per trial and epoch."
    assert "`rate_distortion`" in blocks[-1]


@pytest.mark.parametrize("name", [*thin_studies(), "full"])
def test_any_study_can_be_shown(name: str, tmp_path: Path) -> None:
    results = make_results() if name == "full" else thin_studies()[name]
    study = Study(StudyView(results), tmp_path)
    assert repr(study).startswith(f"{results.name}: ")
    assert study.answer() in study._repr_markdown_()
    if study.best is None:
        with pytest.raises(UserError, match="no trial is complete"):
            study.best_model()
    else:
        assert study.best["state"] == "complete"


# ---- run_study ----

SMALL = """
question: Does a script run a study?
data: {dataset: mnist, binarisation: static, validation_size: 40}
model: {network: mlp, hidden: [8], latent_size: 2}
train: {epochs: 3, batch_size: 20}
evaluation: {importance_samples: 5, pictures_every: 100}
search:
  learning_rate: {low: 0.001, high: 0.01, log: true}
pruner: none
budget: {trials: 3}
confirm: {top: 1, seeds: 1}
"""
CALL = """
import sys
import vaeexp

options = {"device": "cpu", "precision": "float32", "compile": "off", "workers": 1, "lanes": 1}
study = vaeexp.run_study("small", overrides={"epochs": 80}, data="data", **options)
print(repr(study))
assert "IPython" not in sys.modules
"""


@pytest.fixture
def place(tiny_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a study file and its images, in which scripts run without the network."""
    (tmp_path / "data").symlink_to(tiny_study / "data")
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "small.yaml").write_text(SMALL, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "VAEEXP_OFFLINE": "1",
        "VAEEXP_CACHE": str(tmp_path / "cache"),
        "PYTHONPATH": str(ROOT),
    }.items():
        monkeypatch.setenv(name, value)
    return tmp_path


@pytest.fixture
def made_before(place: Path, tiny_study: Path, empty_store: Path) -> None:
    """MLflow's tables and the classifier, which every script would make for seconds."""
    (place / "mlruns").mkdir()
    shutil.copy(empty_store, place / "mlruns")
    shutil.copytree(tiny_study / "cache", place / "cache")


def script(place: Path) -> subprocess.Popen:
    """A program that runs the study; it has no `if __name__ == "__main__":`, as few scripts
    have.
    """
    (place / "script.py").write_text(CALL, encoding="utf-8")
    command = [sys.executable, "script.py"]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def interrupt(process: subprocess.Popen) -> tuple[str, str]:
    """Press Ctrl-C once the study has recorded an epoch, of hundreds; what the program wrote."""
    journal, deadline = Path("mlruns/journal/small.log"), time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        # `load_study` would take processor time from the program that it waits for.
        if journal.exists() and b'"intermediate_value":' in journal.read_bytes():
            break
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    return process.communicate(timeout=60)


@pytest.mark.slow
@pytest.mark.usefixtures("made_before")
def test_an_interrupted_script_is_continued_by_the_same_call_which_leaves_report_and_models(
    place: Path,
) -> None:
    out, err = interrupt(script(place))
    assert "KeyboardInterrupt" in err
    assert "running trials resume" in out
    before = load_study("small")
    assert not before.view.study.finished
    assert before.trials["state"].iloc[-1] == "running"
    process = script(place)
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    assert "small: Does a script run a study?" in out
    assert "[3/3]  small/2  complete" in out
    assert out.splitlines()[-1].startswith(
        "small: 3 trials (3 complete) and 1 repeat; best small/r0"
    )
    assert (place / "reports" / "small" / "README.md").exists()
    after = load_study("small").epochs
    assert list(after["epoch"]) == 4 * list(range(1, 81)), "it goes on where it stopped"
    assert len(before.epochs) > 0
    pd.testing.assert_series_equal(
        after["objective"].head(len(before.epochs)), before.epochs["objective"]
    )
    model = vaeexp.load_model("small/r0")
    assert isinstance(model, torch.nn.Module)
    assert not model.training
    kept = load_file(place / "mlruns" / "trials" / "small" / "repeat-0000" / "weights.safetensors")
    for other in (model, vaeexp.load_model(place / "mlruns" / "trials" / "small" / "repeat-0000")):
        assert all(parameter.equal(kept[name]) for name, parameter in other.named_parameters())


# ---- a study as a dict ----

DICT = {
    "question": "Is a dict a study?",
    "data": {"dataset": "mnist"},
    "budget": {"trials": np.int64(2)},
}


@pytest.mark.parametrize(
    ("search", "values"),
    [
        ({"latent_size": {"values": np.array([2, 4])}}, (2, 4)),
        ({"network": {"values": ["mlp", Networks]}}, ("mlp", "networks_of_a_user:Networks")),
        ({"batch_size": {"values": range(10, 30, 10)}}, (10, 20)),
        ({"hidden": {"values": ((8,), [16, 8])}}, ((8,), (16, 8))),
    ],
)
def test_a_dict_becomes_the_text_of_a_study_file(
    search: dict, values: tuple, tmp_path: Path
) -> None:
    text = _as_text(DICT | {"search": search}, "mine")
    assert yaml.safe_load(text)["budget"] == {"trials": 2}
    (tmp_path / "networks_of_a_user.py").write_text(f"class Networks:\n{METHODS}")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        study = open_study_file("mine", text=text)
    assert study.name == "mine"
    assert study.text == text
    [name] = search
    assert frozen(study.space[name].values) == frozen(values)


@pytest.mark.parametrize(
    ("study", "name", "words"),
    [
        (DICT, None, "name: is missing"),
        (DICT, "a/b", "name: got 'a/b' as name"),
        (DICT, "smoke", "name: 'smoke' is the study of"),
        (
            DICT | {"search": {"bta": {"low": 1, "high": 2}}},
            "mine",
            "mine: search.bta: unknown setting. Did you mean 'beta'?",
        ),
        (
            DICT | {"network": object()},
            "mine",
            "must be text, a number, a list, a dict, or a class or function that a file defines",
        ),
    ],
)
def test_a_dict_that_is_no_study_is_refused_before_anything_is_written(
    place: Path, study: dict, name: str | None, words: str
) -> None:
    with pytest.raises(UserError, match=re.escape(words)):
        vaeexp.run_study(study, name=name)
    assert not (place / "mlruns").exists()


def test_the_best_configuration_is_at_hand(study: Study) -> None:
    known = {"prior": "mixture", "components": 3, "learning_rate": 0.003, "free_nats": 0.0}
    assert study.best_params == {"beta": study.best["params.beta"], **known}
    assert [type(study.best_params[name]) for name in ("beta", "components")] == [float, int]


def test_a_model_needs_no_second_argument(study: Study) -> None:
    model = study.best_model()
    images = model.sample(3).mean
    assert images.shape == (3, 1, *images.shape[2:])
    assert model.sample().sample().shape == (1, *images.shape[1:])
    assert model.reconstruct(images).numpy().shape == images.shape
    assert model(images).rate.shape == (3,)
    assert model(images).rate.requires_grad, "it can be trained further"
    torch.manual_seed(0)
    first = model.sample(2).mean
    torch.manual_seed(0)
    assert model.sample(2).mean.equal(first)


def test_the_public_names_are_these_and_typed() -> None:
    assert dir(vaeexp) == sorted(vaeexp.__all__)
    assert isinstance(vaeexp.load_run, types.FunctionType)
    assert vaeexp.Study is Study


TYPOS = {
    "vaeexp.load_stduy('s')": 'Module has no attribute "load_stduy"',
    "vaeexp.run_study('s', trails=3)": 'Unexpected keyword argument "trails"',
    "vaeexp.run_study('s', device='gpu')": "Argument",
    "vaeexp.load_study('s').best_modle()": '"Study" has no attribute "best_modle"',
    "vaeexp.load_run('s/7').setings": '"Run" has no attribute "setings"',
    # PyTorch types any attribute of a module.
    "vaeexp.load_model('s/7').sampel(2)": '"Tensor" not callable',
}


@pytest.mark.slow
def test_a_typo_fails_in_mypy(tmp_path: Path) -> None:
    lines = [
        "import vaeexp",
        *TYPOS,
        "vaeexp.run_study({}, name='s', device='cpu').best_model().sample(2).mean.sum()",
    ]
    (tmp_path / "typos.py").write_text("\n".join(lines) + "\n")
    command = [sys.executable, "-m", "mypy", "--no-error-summary", str(tmp_path / "typos.py")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    said = dict(re.findall(r"typos\.py:(\d+): error: (.*)", done.stdout))
    for number, typo in enumerate(TYPOS, start=2):
        assert TYPOS[typo] in said.pop(str(number), ""), (typo, done.stdout)
    assert not said


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"lane": 2}, "lane: is no option of a sweep. Did you mean 'lanes'?"),
        ({"device": "tpu"}, "device: 'tpu' is not one of 'auto', 'cpu'"),
        ({"trials": 0}, "trials: 0 is not in the range x>=1."),
        ({"take_over": True, "data": "nowhere"}, "nowhere"),
        ({"overrides": {"epoch": 3}}, "Did you mean 'epochs'?"),
    ],
)
def test_a_wrong_argument_is_refused_before_anything_is_written(
    place: Path, options: dict, words: str
) -> None:
    with pytest.raises(UserError, match=re.escape(words)):
        vaeexp.run_study("small", **options)
    assert not (place / "mlruns").exists()
