"""The whole product as a user has it: the smoke study by the command line, then what it left
behind, read back.
"""

import csv
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from command_line import Forks, without_mnist

NAME = "beta_mnist"
STATUS = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "vaeexp", *arguments]


@pytest.fixture(scope="module")
def place(tmp_path_factory, swept_smoke):
    folder = tmp_path_factory.mktemp("whole")
    swept_smoke.copy_to(folder)
    return folder


@pytest.fixture(scope="module")
def vaeexp(place: Path) -> Iterator[Callable[..., subprocess.CompletedProcess]]:
    """Run a command in the folder of the study."""
    with closing(Forks(place)) as forks:
        yield forks.run


def results(place: Path, name: str = NAME):
    from sweeps.results import read_results
    from sweeps.storage import open_storage

    return read_results(open_storage(None, place / "mlruns", name, must_exist=True), name)


def table(place: Path, name: str) -> list[tuple]:
    """Return the facts that must be equal in two runs of one study: settings, states, every value
    of every epoch.
    """
    found = results(place, name)
    columns = [
        "repeat",
        "number",
        "state",
        "objective",
        "epochs",
        "seed",
        *(c for c in found.trials if c.startswith(("params.", "result.test/"))),
    ]
    rows = found.trials[columns].to_json(orient="records", double_precision=15)
    values = found.epochs[["repeat", "number", "epoch", "objective", "train/loss", "val/rate"]]
    return [json.loads(rows), values.to_json(orient="records", double_precision=15)]


def test_what_the_report_warns_of_is_recorded(place):
    from sweeps.storage import open_storage
    from sweeps.storage.study_record import read_state
    from vaeexp.report import failed_checks
    from vaeexp.results.study_view import StudyView

    record = read_state(open_storage(None, place / "mlruns", NAME, must_exist=True), NAME).study
    assert record.finished
    assert list(record.warnings) == failed_checks(StudyView(results(place)))


def test_the_first_run_says_what_it_did_and_where_it_is(place, swept_smoke):
    assert "5,000 real digits" in swept_smoke.said
    assert f"Report: reports/{NAME}/report.html" in swept_smoke.said
    assert "vaeexp ui" in swept_smoke.said
    assert not list((place / "mlruns").glob("mlflow.db-*")), (
        "MLflow's store can be copied as one file"
    )
    trials = results(place).trials
    assert len(trials[~trials["repeat"]]) == 8
    assert set(trials["state"]) <= {"complete", "pruned"}
    assert trials.loc[trials["repeat"], "result.test/iw_nll"].notna().sum() == 2


def test_mlflow_holds_what_the_study_holds(place, monkeypatch):
    from mlflow import MlflowClient

    monkeypatch.chdir(place)
    client = MlflowClient(tracking_uri=f"sqlite:///{place / 'mlruns' / 'mlflow.db'}")
    found, experiment = results(place), client.get_experiment_by_name(NAME)
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    parent = next(run for run in runs if "mlflow.parentRunId" not in run.data.tags)
    nested = {run.data.tags["sweeps.trial"]: run for run in runs if run is not parent}
    assert parent.info.status == "FINISHED"
    assert parent.data.params["network"] == "mlp"
    assert "learning_rate" not in parent.data.params
    assert [file.path for file in client.list_artifacts(parent.info.run_id, "study")] == [
        f"study/{NAME}.yaml"
    ]
    assert set(nested) == set(found.trials["name"])
    for row in found.trials.to_dict("records"):
        run = nested[row["name"]]
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.info.run_name.startswith(row["name"])
        assert ("seed" in run.info.run_name) == row["repeat"]
        assert not {"network", "batch_size"} & {*run.data.params}, (
            "what all trials share stands once, with the parent"
        )
        assert not {"test/images", "test/importance_samples"} & {*run.data.metrics}
        assert not {*run.data.metrics} & {*run.data.params, *parent.data.params}, (
            "MLflow's table shows both under one name"
        )
        assert run.info.status == STATUS[row["state"]]
        assert float(run.data.params["learning_rate"]) == pytest.approx(row["params.learning_rate"])
        assert "MNIST, 5,000-image subset" in run.data.tags["protocol.data"]
        mine = found.epochs[
            (found.epochs["number"] == row["number"]) & (found.epochs["repeat"] == row["repeat"])
        ]
        for metric in ("train/loss", "val/neg_elbo", "val/rate", "seconds"):
            history = {
                point.step: point.value
                for point in client.get_metric_history(run.info.run_id, metric)
            }
            assert history == pytest.approx(dict(zip(mine["epoch"], mine[metric], strict=True)))
        files = {file.path for file in client.list_artifacts(run.info.run_id, "trial")}
        heavy = {"trial/weights.safetensors", "trial/pictures.npz"}
        assert {"trial/settings.json", "trial/result.json"} <= files
        assert heavy & files == (heavy if row["state"] == "complete" else set()), (
            "of a pruned trial its figures alone"
        )
        assert len(client.list_artifacts(run.info.run_id, "images")) > 0 or row["state"] == "pruned"
        drawn = {file.path for file in client.list_artifacts(run.info.run_id, "trial/pictures")}
        if row["repeat"] and "confirm" in row["purposes"]:
            kinds = (
                "samples",
                "reconstructions",
                "latent_interpolations",
                "pixel_interpolations",
                "traversals",
            )
            assert {f"trial/pictures/{kind}.png" for kind in kinds} <= drawn
            assert "trial/evaluation.npz" in files
        else:
            assert not drawn, "only what has seen the test images"
        assert run.inputs.dataset_inputs[0].dataset.name == "MNIST, 5,000-image subset"


WITHOUT_US = (
    "import sys; sys.modules['vaeexp'] = sys.modules['sweeps'] = None  # as where they are not "
    "installed"
)
PREDICT = """
import numpy
images = numpy.random.default_rng(0).integers(0, 256, (3, 1, 28, 28)).astype("uint8")
numpy.save("reconstructions.npy", model.predict(images))
assert type(mlflow.pytorch.load_model("models:/NAME@best")).__name__ != "VAE"
"""


def test_the_snippet_of_the_guide_loads_the_registered_model_where_vaeexp_is_not_installed(
    place, vaeexp
):
    """It runs in the folder of the study, leaves no store there, and computes what the run itself
    computes.
    """
    import numpy as np

    from vaeexp.runs.raw_numbers import Reconstructor

    page = (Path(__file__).parent.parent / "docs" / "guide" / "mlflow.md").read_text(
        encoding="utf-8"
    )
    [snippet] = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    code = (
        "\n".join([WITHOUT_US, snippet, PREDICT]).replace("beta_mnist", NAME).replace("NAME", NAME)
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], cwd=place, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert not (place / "mlflow.db").exists()
    out = np.load(place / "reconstructions.npy")
    images = np.random.default_rng(0).integers(0, 256, (3, 1, 28, 28)).astype(np.uint8)
    [requirements] = (place / "mlruns" / "artifacts" / NAME).glob(
        "*/artifacts/model/requirements.txt"
    )
    assert "vaeexp" not in requirements.read_text()
    best = vaeexp("best", NAME, "--json")
    np.testing.assert_allclose(
        out, Reconstructor(place / json.loads(best.stdout)["folder"]).predict(images), atol=1e-3
    )


def test_the_numbers_of_the_report_are_those_of_the_files_beside_it(place, capsys):
    from recompute_report import main

    assert main([str(place / "reports" / NAME)]) == 0, capsys.readouterr().out


def test_every_metric_on_record_stands_in_the_table_of_metrics_and_the_other_way_round(place):
    from sweeps.storage import open_storage
    from sweeps.storage.study_record import read_state
    from vaeexp.evaluation.metrics import METRICS

    def places(name: str) -> tuple[str, ...]:
        return tuple(f"{place}/{name}".removeprefix("/") for place in METRICS[name].places)

    stored = read_state(open_storage(None, place / "mlruns", NAME, must_exist=True), NAME)
    trials = [*stored.trials, *stored.repeats]
    of_runs = {name.removesuffix("_se") for trial in trials for name in trial.results}
    of_epochs = {name for trial in trials for epoch in trial.epochs for name in epoch.metrics}
    on_record = of_runs | of_epochs
    assert on_record <= {column for name in METRICS for column in places(name)}
    assert {
        column for name, metric in METRICS.items() if metric.always for column in places(name)
    } <= on_record
    errors = {
        name.removesuffix("_se")
        for trial in trials
        for name in trial.results
        if name.endswith("_se")
    }
    assert errors == {f"test/{name}" for name, metric in METRICS.items() if metric.error}


def test_the_answer_is_the_same_in_the_report_in_commands_and_in_mlflow(
    place, vaeexp, swept_smoke, monkeypatch
):
    from mlflow import MlflowClient

    monkeypatch.chdir(place)
    shown = json.loads(vaeexp("status", NAME, "--json").stdout)["answer"]
    assert 5 <= len(shown) <= 15
    answer = "\n".join(shown)
    for said in (swept_smoke.said, vaeexp("status", NAME).stdout, vaeexp("best", NAME).stdout):
        assert answer in said
    client = MlflowClient(tracking_uri=f"sqlite:///{place / 'mlruns' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(NAME)
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    parent = next(run for run in runs if "mlflow.parentRunId" not in run.data.tags)
    assert parent.data.tags["mlflow.note.content"].endswith(f"\n\n{answer}")
    summary = json.loads((place / "reports" / NAME / "summary.json").read_text(encoding="utf-8"))
    texts = " ".join(statement["text"] for statement in summary["statements"])
    for line in shown:
        words = line.removeprefix("- ").strip()
        words = re.sub(r"^(Use|Get|Doubts|Next): ", "", words)
        assert words in texts or "more: all findings below" in words


def test_the_next_command_passes_a_dry_run(vaeexp):
    shown = json.loads(vaeexp("status", NAME, "--json").stdout)["answer"]
    (line,) = [line for line in shown if line.startswith("- Next: ")]
    named = shlex.split(line.removeprefix("- Next: vaeexp "))
    assert vaeexp(*named, "--dry-run").returncode == 0


def test_the_report_says_what_the_store_says(place):
    folder = place / "reports" / NAME
    text = (folder / "README.md").read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        if not link.startswith("http"):
            assert (folder / link).exists(), link
    assert "subset" in text.split("## Answer")[0]
    found = results(place)
    best = (
        found.trials[~found.trials["repeat"] & (found.trials["state"] == "complete")]
        .sort_values("objective")
        .iloc[0]
    )
    first_row = re.search(r"^\| 1 \| (\d+) \| ([\d.]+) \|", text, re.MULTILINE)
    assert (int(first_row[1]), first_row[2]) == (best["number"], f"{best['objective']:.2f}")
    with (folder / "trials.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(found.trials)
    confirmed = found.trials[found.trials["result.test/neg_elbo"].notna()]
    assert f"{confirmed['result.test/neg_elbo'].mean():.2f}" in text.split("## Tables")[0]


def test_a_finished_study_trains_nothing_and_says_how_to_extend(place, vaeexp):
    before = table(place, NAME)
    (place / "mlruns" / "mlflow.db").unlink()
    again = vaeexp("sweep", "--study", "smoke", "--name", NAME)
    assert again.returncode == 0
    runs = len(before[0]) + 1
    assert (
        f"MLflow lacked {runs} of {runs} runs; it has them now.\nThe study '{NAME}' is complete"
        in again.stdout
    )
    assert "--trials" in again.stdout
    assert "trials at once" not in again.stdout, "nothing is trained"
    assert table(place, NAME) == before


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_same_study_gives_the_same_table_even_when_killed(place):
    """Kill the driver with no warning while trials run, flip a bit of each newest checkpoint,
    continue, compare.
    """
    code = "import vaeexp; vaeexp.run_study('smoke', name='killed', checkpoint_seconds=0.01)"
    arguments, trials = [sys.executable, "-c", code], place / "mlruns" / "trials" / "killed"
    running = subprocess.Popen(
        arguments, cwd=place, env=without_mnist(place), stdout=subprocess.PIPE, text=True
    )
    for line in running.stdout:
        if line.startswith("[3/8]"):
            break
    while not list(trials.glob("*/checkpoint.safetensors")):
        assert running.poll() is None
        time.sleep(0.002)
    children = psutil.Process(running.pid).children()
    running.kill()
    running.wait()
    running.stdout.close()
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not [child for child in alive if child.status() != psutil.STATUS_ZOMBIE]
    left = results(place, "killed").trials
    assert (left["state"] == "complete").sum() >= 1
    damaged = list(trials.glob("*/checkpoint.safetensors"))
    for path in damaged:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    again = command("sweep", "--study", "smoke", "--name", "killed")
    continued = subprocess.run(
        again, cwd=place, env=without_mnist(place), capture_output=True, text=True, check=False
    )
    assert continued.returncode == 0, continued.stderr
    assert (
        0
        < (continued.stdout + continued.stderr).count("does not match its checksum")
        <= len(damaged)
    )
    assert table(place, "killed") == table(place, NAME)


def test_ctrl_c_stops_within_seconds_and_says_how_to_continue(place):
    arguments = command("sweep", "--study", "smoke", "--name", "stopped", "--set", "epochs=50")
    running = subprocess.Popen(
        arguments,
        cwd=place,
        env=without_mnist(place),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    output = []
    for line in running.stdout:
        output.append(line)
        if "trials at once" in line:
            break
    time.sleep(2)
    started = time.monotonic()
    os.killpg(running.pid, signal.SIGINT)
    rest, _ = running.communicate(timeout=60)
    assert time.monotonic() - started < 15
    assert running.returncode == 130, rest
    assert re.search(r"Continue with: \S*vaeexp sweep smoke --name stopped --set epochs=50", rest)
    assert "Traceback" not in rest
