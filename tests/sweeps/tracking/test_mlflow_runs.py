"""A study's runs in a real MLflow store: what the storage says is there once, however often and in
whatever pieces it comes.
"""

import json
import math
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tracked_study as small
from PIL import Image
from trials import changed

from sweeps.files import UNFINISHED
from sweeps.state.trial import Repeat
from sweeps.tracking.artifacts import ArtifactFolder, log_files, log_pictures
from sweeps.tracking.follower import _as_it_stands
from sweeps.tracking.mlflow_runs import StudyRuns
from sweeps.tracking.saved_view import saved_view


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """An address of an empty store, which all tests of this file share; each has a study of its
    own.
    """
    folder = tmp_path_factory.mktemp("store")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    small.client(folder, uri).search_experiments()
    return uri


@pytest.fixture
def study(tmp_path, request):
    name = request.node.name.replace("[", "_").replace("]", "")
    return small.SmallStudy(tmp_path / "runs", name=name, identity=name)


def bring(study, uri, runs=None, *, alive=True):
    """Bring the store up to what the storage says now; the object that did it."""
    stored = study.stored()
    record = _as_it_stands(stored, alive=alive)
    runs = runs or StudyRuns(uri, study.runs, record)
    runs.bring(record, [*stored.trials, *stored.repeats], lambda name: None)
    assert runs.pending(record, [*stored.trials, *stored.repeats]) == []
    return runs


def contents(study, uri):
    return small.contents(study.runs, uri, study.name)


def test_a_whole_study(study, store):
    study.tell_all()
    bring(study, store)
    found = contents(study, store)
    assert small.reduced(found) == small.expected(study.stored())
    parent = found.pop(study.name)
    assert parent["status"] == "FINISHED"
    assert parent["params"] == {"seed": "0", "budget": "{'trials': 4}", "epochs": "3"}, (
        "constants once, searched ones with trials"
    )
    assert parent["files"] == ["report/README.md", f"study/{study.name}.yaml"]
    assert parent["tags"]["mlflow.note.content"] == "Does it work?"
    assert parent["tags"]["sweeps.best_trial"] == "0"
    assert [(step, value) for step, _, value in parent["points"]["best_objective"]] == [
        (9, pytest.approx(11 / 3))
    ]
    assert all(run["nested"] and run["dataset"] == ["ab" * 8] for run in found.values())
    assert all(
        run["tags"]["git"] == "abc" and run["tags"]["model"] == "toy" for run in found.values()
    )
    assert found[f"{study.name}/1"]["params"] == {"beta": "0.2"}
    failed, duplicate = found[f"{study.name}/2"]["tags"], found[f"{study.name}/3"]
    assert (failed["sweeps.failure"], failed["sweeps.message"]) == (
        "diverged",
        "loss became infinite",
    )
    assert duplicate["tags"]["sweeps.duplicate_of"] == "0"
    assert (list(duplicate["points"]), duplicate["files"]) == (["objective"], [])
    assert [file for file in found[f"{study.name}/0"]["files"] if file.startswith("trial/")] == [
        "trial/settings.json",
        "trial/weights.safetensors",
    ]
    times = {name: (run["started"], run["ended"]) for name, run in found.items()}
    assert times == {
        r.name_in(study.name): (int(1000 * r.started), int(1000 * r.ended))
        for r in study.stored().trials
    }


def test_repeats_say_what_they_are_for_and_constants_are_no_metrics(study, store):
    study.write(
        no_metrics=("test/images",),
        tags={"git": "abc", "protocol": "own"},
        baseline_tags={"plain": {"protocol": "other"}},
    )
    base = {"source_trial": 35, "params": {"beta": 0.5}, "test": True}
    study.repeat(
        Repeat(
            **base, seed=7, seed_index=1, purposes=("confirm", "compare"), pair_ids=("prior:35/1",)
        )
    )
    fixed = base | {"source_trial": None, "params": {"beta": 0.0}}
    study.repeat(Repeat(**fixed, seed=6, seed_index=0, purposes=("baseline",), baseline="plain"))
    runs = bring(study, store)
    found = contents(study, store)
    name = study.name
    confirming = found[f"{name}/r0 confirm and compare of 35, seed 1"]
    plain = found[f"{name}/r1 baseline plain, seed 0"]
    roles = ("purposes", "source_trial", "seed_index", "baseline")
    assert [confirming["tags"].get(role) for role in roles] == ["confirm, compare", "35", "1", None]
    assert [plain["tags"].get(role) for role in roles] == ["baseline", None, "0", "plain"]
    assert plain["tags"]["protocol"] == "other"
    assert confirming["params"] == {"beta": "0.5", "test/images": "8.0"}
    assert set(confirming["points"]) == {"objective", "test/rate"}
    unused = {"purposes": [], "pair_ids": [], "baseline": None}
    study.reassign(r0=unused, r1=unused | {"purposes": ["baseline"], "baseline": "renamed"})
    bring(study, store, runs)
    again = contents(study, store)
    assert set(again) == {
        name,
        f"{name}/r0 of an earlier plan, seed 1",
        f"{name}/r1 baseline renamed, seed 0",
    }
    assert again[f"{name}/r0 of an earlier plan, seed 1"]["tags"]["purposes"] == ""


@pytest.mark.parametrize(
    "text", ["q" * 9_000, "which of them? " * 2_000, "😀\n" * 5_001], ids=["word", "words", "emoji"]
)
def test_long_texts_are_cut_to_what_mlflow_takes_and_come_once(study, store, text, monkeypatch):
    study.write(question=text, tags={"note": text}, dataset=small.DATASET | {"name": text})
    study.repeat(
        Repeat(
            source_trial=None,
            params={"beta": text},
            test=True,
            seed=6,
            seed_index=0,
            baseline="b" * 300,
            purposes=("baseline",),
        )
    )
    bring(study, store)
    found = contents(study, store)
    parent = found.pop(study.name)
    [repeat] = found.values()
    for shown in (
        parent["tags"]["mlflow.note.content"],
        parent["tags"]["note"],
        repeat["tags"]["note"],
    ):
        assert (shown[:-1], shown[-1]) == (text[:4_999], "…")
    assert (len(repeat["params"]["beta"]), len(repeat["tags"]["mlflow.runName"])) == (6_000, 250)
    client = small.client(study.runs, store)
    note = client.get_experiment_by_name(study.name).tags["mlflow.note.content"]
    assert note == parent["tags"]["mlflow.note.content"]
    again = StudyRuns(store, study.runs, study.stored().study)
    for write in (
        "log_batch",
        "set_tag",
        "set_experiment_tag",
        "create_run",
        "update_run",
        "set_terminated",
    ):
        monkeypatch.setattr(
            f"mlflow.MlflowClient.{write}",
            lambda *values, **options: pytest.fail(str(values)[:200]),
        )
    bring(study, store, again)


def test_in_pieces_and_again_by_another_process_it_is_the_same(study, store):
    runs = None
    study.start(0)
    for step in range(1, 4):
        study.epoch(0, step)
        runs = bring(study, store, runs if step == 2 else None)
        assert small.reduced(contents(study, store)) == small.expected(study.stored())
    study.end(0, "complete", epochs=3)
    study.conclude()
    bring(study, store, runs)
    whole = contents(study, store)
    assert small.reduced(whole) == small.expected(study.stored())
    bring(study, store)
    assert contents(study, store) == whole


def test_points_that_come_again_are_there_once(study, store):
    """As where a kill came between an epoch's metrics and the tag that counts them."""
    study.tell_all()
    bring(study, store)
    whole = contents(study, store)
    client = small.client(study.runs, store)
    for run in client.search_runs([client.get_experiment_by_name(study.name).experiment_id]):
        client.update_run(run.info.run_id, status="RUNNING")
        client.delete_tag(run.info.run_id, "sweeps.state")
        if "sweeps.epoch" in run.data.tags:
            client.delete_tag(run.info.run_id, "sweeps.epoch")
    bring(study, store)
    assert contents(study, store) == whole


def test_interrupted_and_resumed(study, store):
    study.start(0)
    study.start(1)
    for number in range(2):
        study.epoch(number, 1)
    study.end(1, "complete", epochs=1)
    study.session("interrupted")
    bring(study, store, bring(study, store))
    found = contents(study, store)
    assert {name: (run["status"], run["tags"]["sweeps.state"]) for name, run in found.items()} == {
        study.name: ("KILLED", "INTERRUPTED"),
        f"{study.name}/0": ("KILLED", "INTERRUPTED"),
        f"{study.name}/1": ("FINISHED", "COMPLETE"),
    }
    study.session("running")
    study.start(0)
    runs = bring(study, store)
    again = contents(study, store)
    assert [again[name]["status"] for name in (study.name, f"{study.name}/0")] == [
        "RUNNING",
        "RUNNING",
    ]
    assert again[f"{study.name}/0"]["tags"]["sweeps.state"] == "RUNNING"
    study.epoch(0, 2)
    study.end(0, "pruned", epochs=2)
    study.session("finished")
    bring(study, store, runs)
    assert small.reduced(contents(study, store)) == small.expected(study.stored())
    assert contents(study, store)[study.name]["status"] == "FINISHED"


@pytest.mark.parametrize("seen", [False, True])
def test_a_driver_that_died_leaves_nothing_running(study, store, seen):
    study.start(0)
    study.epoch(0, 1)
    if seen:
        bring(study, store)
    bring(study, store, alive=False)
    found = contents(study, store)
    assert {run["status"] for run in found.values()} == {"KILLED"}
    assert {run["tags"]["sweeps.state"] for run in found.values()} == {"INTERRUPTED"}
    assert {run["ended"] for run in found.values()} == {
        int(1000 * study.stored().trials[0].epochs[0].at)
    }


def test_a_session_that_failed_and_then_finished(study, store):
    """The report could not be written; the same command wrote it."""
    study.start(0)
    study.epoch(0, 1)
    study.end(0, "complete", epochs=1)
    study.session("failed")
    runs = bring(study, store)
    assert contents(study, store)[study.name]["status"] == "FAILED"
    study.conclude()
    bring(study, store, runs)
    parent = contents(study, store)[study.name]
    assert (parent["status"], parent["files"][0]) == ("FINISHED", "report/README.md")


def test_long_histories_arrive_whole(study, store):
    names, epochs = [f"group/metric_{number}" for number in range(18)], 150
    study.start(0)
    for step in range(1, epochs + 1):
        study.epoch(0, step, {name: step + number / 100 for number, name in enumerate(names)})
    study.end(0, "complete", epochs=epochs)
    bring(study, store)
    assert small.reduced(contents(study, store)) == small.expected(study.stored())


def test_infinite_figures_do_not_become_huge_numbers(study, store):
    study.start(0)
    study.epoch(0, 1)
    study.end(0, "complete", epochs=1, results={"test/fid": math.inf})
    bring(study, store)
    assert math.isnan(contents(study, store)[f"{study.name}/0"]["points"]["test/fid"][0][2])


def test_a_run_deleted_by_hand_stays_deleted_and_does_not_stop_the_others(study, store):
    for number in range(2):
        study.start(number)
        study.epoch(number, 1)
    runs, client = bring(study, store), small.client(study.runs, store)
    experiment = client.get_experiment_by_name(study.name).experiment_id
    [run] = client.search_runs([experiment], f"tags.`sweeps.trial` = '{study.name}/0'")
    client.delete_run(run.info.run_id)
    for number in range(2):
        study.epoch(number, 2)
    bring(study, store, runs)
    assert list(runs.refused) == [f"{study.name}/0"]
    assert "active" in runs.refused[f"{study.name}/0"]
    study.epoch(1, 3)
    assert bring(study, store).refused == {}
    found = contents(study, store)
    assert set(found) == {study.name, f"{study.name}/1"}
    assert [step for step, _, _ in found[f"{study.name}/1"]["points"]["val/neg_elbo"]] == [1, 2, 3]


def test_two_studies_of_one_name_in_a_store_stay_apart(tmp_path, store):
    for identity in ("one", "two"):
        study = small.SmallStudy(tmp_path / identity / "runs", identity=identity, name="shared")
        study.write(constants={"whose": identity})
        study.start(0)
        study.epoch(0, 1)
        said = bring(study, store).notices
        if identity == "one":
            assert said == []
    [notice] = said
    assert notice.startswith("MLflow's experiment 'shared' has another study of this name, too.")
    client = small.client(tmp_path, store)
    experiment = client.get_experiment_by_name("shared").experiment_id
    [shown] = re.findall("tags.`sweeps.id` = '.*?'", notice)
    own = client.search_runs([experiment], shown)
    assert [run.data.params.get("whose", "two") for run in own] == ["two", "two"]
    found = client.search_runs([experiment])
    assert len(found) == 4
    assert sorted(run.data.params["whose"] for run in found if "whose" in run.data.params) == [
        "one",
        "two",
    ]


LOADER = """
import json
from pathlib import Path

class Doubling:
    def __init__(self, factor):
        self.factor = factor
    def predict(self, inputs, params=None):
        return inputs * self.factor

def _load_pyfunc(folder):
    return Doubling(json.loads(Path(folder, "factor.json").read_text()))
"""


def test_the_registered_model_loads_and_predicts(study, store, tmp_path):
    (tmp_path / "doubling_model.py").write_text(LOADER)
    study.tell_all()
    bring(study, store)
    client = small.client(study.runs, store)
    study.write(report_at=time.time())
    bring(study, store)
    client.delete_tag(*_parent_and(client, study, "sweeps.model"))
    bring(study, store)  # the version is there: only the alias is set
    run = client.get_model_version_by_alias(f"{study.name}-best", "best").run_id
    versions = [
        version
        for version in client.search_model_versions(f"name = '{study.name}-best'")
        if version.run_id == run
    ]
    assert client.get_run(run).data.tags["sweeps.trial"] == f"{study.name}/0"
    assert len(versions) == 1
    assert client.get_registered_model(f"{study.name}-best").description == "Doubles."
    client.update_registered_model(f"{study.name}-best", "of a person")
    client.delete_tag(*_parent_and(client, study, "sweeps.model"))
    bring(study, store)
    assert client.get_registered_model(f"{study.name}-best").description == "of a person"
    script = (
        "import sys, numpy as np, mlflow\n"
        "mlflow.set_tracking_uri(sys.argv[1])\n"
        f"model = mlflow.pyfunc.load_model('models:/{study.name}-best@best')\n"
        "assert model.metadata.signature.inputs.inputs[0].shape == (-1, 3)\n"
        "print(model.predict(np.ones((4, 3), dtype=np.float32)).sum())\n"
    )
    command = [sys.executable, "-W", "ignore", "-c", script, store]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.strip() == "24.0", done.stderr


def _stranger(client, name, *, experiment=None, alias="best"):
    """A model of somebody else under this name, with the alias on it; returns its version."""
    run_id = client.create_run(experiment).info.run_id if experiment else None
    client.create_registered_model(name)
    version = client.create_model_version(name, "file:///elsewhere", run_id=run_id).version
    client.set_registered_model_alias(name, alias, version)
    return version


@pytest.mark.parametrize("whose", ["nobody's run", "a stranger's run", "another study's"])
def test_an_alias_of_somebody_else_stays(tmp_path, store, whose):
    client = small.client(tmp_path, store)
    name = f"lent_{''.join(filter(str.isalpha, whose))}"
    study, model = small.SmallStudy(tmp_path / "runs", identity="mine", name=name), f"{name}-best"
    if whose == "another study's":
        other = small.SmallStudy(tmp_path / "other" / "runs", identity="other", name=name)
        other.tell_all()
        bring(other, store)
        before = client.get_model_version_by_alias(model, "best").version
    else:
        experiment = (
            client.create_experiment("elsewhere")
            if "run" in whose and "stranger" in whose
            else None
        )
        before = _stranger(client, model, experiment=experiment)
    study.tell_all()
    runs = bring(study, store)
    *_, notice = runs.notices
    assert len(runs.notices) == 1 + (whose == "another study's")
    assert f"'{model}' has the alias 'best'" in notice
    assert "Delete the alias in MLflow" in notice
    assert client.get_model_version_by_alias(model, "best").version == before
    assert runs.pending(study.stored().study, study.stored().trials) == [], (
        "it is not asked for again and again"
    )
    client.delete_registered_model_alias(model, "best")
    again = bring(study, store).notices
    assert [notice for notice in again if "alias" in notice] == [], "the remedy works"
    version = client.get_model_version_by_alias(model, "best")
    assert client.get_run(version.run_id).data.tags["sweeps.id"] == "mine"


def test_a_note_of_somebody_else_stays(study, store, tmp_path):
    note, client = "mlflow.note.content", small.client(study.runs, store)

    def shown():
        return client.get_experiment_by_name(study.name).tags.get(note)

    study.start(0)
    study.epoch(0, 1)
    bring(study, store)
    assert shown() == study.stored().study.question
    study.write(question="Another question?")
    bring(study, store)
    assert shown() == "Another question?"
    client.set_experiment_tag(
        client.get_experiment_by_name(study.name).experiment_id, note, "Written by a person"
    )
    study.write(question="A third question?")
    bring(study, store)
    assert shown() == "Written by a person"
    other = small.SmallStudy(tmp_path / "other" / "runs", identity="other", name=study.name)
    other.start(0)
    other.epoch(0, 1)
    bring(other, store)
    assert shown() == "Written by a person"


def test_the_saved_view_has_columns_and_pictures_that_are_there(study, store):
    client = small.client(study.runs, store)
    for number in range(3):
        study.start(number)
        for epoch in range(1, 7):
            study.epoch(number, epoch)
    bring(study, store)
    tags = client.get_experiment_by_name(study.name).tags
    [(key, text)] = [
        (key, text) for key, text in tags.items() if key.startswith("mlflow.sharedViewState.")
    ]
    assert key == f"mlflow.sharedViewState.sweeps-{study.stored().study.identity[:8]}"
    envelope = json.loads(text)
    view = json.loads(envelope["state"])
    assert envelope["name"] == study.name
    assert view["selectedColumns"] == [
        "metrics.`objective`",
        *(f"params.`{name}`" for name in small.SPEC["search"]),
    ]
    assert (view["orderByKey"], view["orderByAsc"]) == ("metrics.`objective`", True)
    assert {chart["step"] for chart in view["compareRunCharts"]} == {1}
    drawn = {0: {2, 6}, 1: {5, 6}, 2: {5}}
    kept = [
        changed(
            trial,
            pictures=tuple(
                picture for picture in trial.pictures if picture.epoch in drawn[trial.number]
            ),
        )
        for trial in study.stored().trials
    ]
    charts = saved_view(study.stored().study, kept)["compareRunCharts"]
    assert {chart["step"] for chart in charts} == {5}, "the first step of most runs"
    assert "compareRunCharts" not in saved_view(
        study.stored().study, [changed(kept[0], pictures=())]
    )
    client.set_experiment_tag(
        client.get_experiment_by_name(study.name).experiment_id, key, "changed by a person"
    )
    study.epoch(0, 7)
    bring(study, store)
    assert client.get_experiment_by_name(study.name).tags[key] == "changed by a person"


def _parent_and(client, study, tag):
    [run] = client.search_runs(
        [client.get_experiment_by_name(study.name).experiment_id], "tags.`sweeps.trial` = 'study'"
    )
    return run.info.run_id, tag


# ---- pictures and files ----


@pytest.fixture
def run(tmp_path, store):
    """A client and a run without anything, and a run for comparison."""
    client = small.client(tmp_path, store)
    experiment = client.create_experiment(
        str(tmp_path), artifact_location=(tmp_path / "arti facts").as_uri()
    )
    return client, *(client.create_run(experiment).info for _ in range(2))


def test_pictures_are_named_as_mlflow_names_them(run, tmp_path):
    """The UI finds the slider's pictures by these names, so a new layout in MLflow must be noticed
    here.
    """
    client, own, other = run
    picture = tmp_path / "picture.png"
    Image.new("L", (60, 40)).save(picture)
    for _ in range(2):
        log_pictures(
            client, ArtifactFolder(own.run_id, own.artifact_uri), [(picture, "a/b c", 7, 123)]
        )
    client.log_image(other.run_id, Image.new("L", (60, 40)), key="a/b c", step=7, timestamp=123)
    ours, theirs = (
        sorted(item.path for item in client.list_artifacts(each.run_id, "images"))
        for each in (own, other)
    )
    length = len("images/a~b c+step+7+timestamp+123+")
    for names in (ours, theirs):
        assert [name[:length] for name in names] == ["images/a~b c+step+7+timestamp+123+"] * 2
        assert [name[length + 36 :] for name in names] == ["+compressed.webp", ".png"]
    sizes = [
        Image.open(client.download_artifacts(each.run_id, names[0])).size
        for each, names in ((own, ours), (other, theirs))
    ]
    assert sizes[0] == sizes[1]


def test_files_of_a_local_store_take_their_space_once(run, tmp_path):
    client, own, _ = run
    folder = tmp_path / "trial-0000"
    folder.mkdir()
    for name in ("weights.safetensors", "checkpoint.safetensors", f"{UNFINISHED}half", "shown.png"):
        (folder / name).write_bytes(b"x" * 1000)
    for _ in range(2):  # as after a kill in the midst of it
        log_files(
            client,
            ArtifactFolder(own.run_id, own.artifact_uri),
            folder,
            "trial",
            {folder / "shown.png"},
        )
    assert [item.path for item in client.list_artifacts(own.run_id, "trial")] == [
        "trial/weights.safetensors"
    ]
    kept = Path(client.download_artifacts(own.run_id, "trial/weights.safetensors"))
    assert kept.read_bytes() == b"x" * 1000
    assert (folder / "weights.safetensors").stat().st_nlink == 2
