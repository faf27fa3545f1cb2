"""`keep: {weights: N}`: which files are there while a search goes on and at its end, whenever it is
killed.
"""

import os
import subprocess
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from hostile_archives import after_each_kill
from toy_lanes import ToyLanes
from toy_study import search, toy_study

from sweeps.lanes import run_folder
from sweeps.results import ranked_trials
from sweeps.state.record import RegisteredModel
from sweeps.storage import hold_study, open_study
from sweeps.storage.study_record import read_state, write_study
from sweeps.tracking.artifacts import ArtifactFolder, log_files
from vaeexp.run_files import WEIGHTS
from vaeexp.runs import best_weights
from vaeexp.runs.best_weights import BestWeights
from vaeexp.runs.checks import check_files
from vaeexp.runs.tidy import freeable

BEST, TRIALS, EPOCHS, WIDTH = 2, 8, 4, 2


class WritingLanes(ToyLanes):
    """Lanes that leave weights and pictures, which MLflow's folder has under other names."""

    def __init__(self, runs):
        super().__init__(width=WIDTH, epochs=EPOCHS)
        self.runs = runs
        self.most = 0
        """The most files of weights at once."""

    def finish(self, ending):
        results = super().finish(ending)
        for number in ending:
            folder = self.runs / "trials" / "toy" / run_folder(number, repeat=False)
            mirrored = self.runs / "artifacts" / "toy" / f"{number:04d}" / "artifacts"
            links = {
                WEIGHTS: "trial",
                "epoch-0001-samples.png": "images",
                "epoch-0004-samples.png": "images",
            }
            for name, link in links.items():
                folder.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(f"{number} {name}".encode())
                (mirrored / link).mkdir(parents=True, exist_ok=True)
                os.link(folder / name, mirrored / link / name)
        self.most = max(self.most, len(on_disk(self.runs)))
        root = self.runs / "trials" / "toy"
        left = {
            "files": {WEIGHTS: "x"},
            "images": {epoch: {"samples": str(root / f"{epoch}.png")} for epoch in (1, 4)},
        }
        folders = {number: str(root / run_folder(number, repeat=False)) for number in ending}
        return [replace(result, folder=folders[result.number], **left) for result in results]


def on_disk(runs, name=WEIGHTS):
    return {path.parent.name for path in (runs / "trials" / "toy").glob(f"*/{name}")}


def linked(runs, name=WEIGHTS):
    return {
        run_folder(int(path.parents[2].name), repeat=False)
        for path in (runs / "artifacts").rglob(name)
    }


def best_of(stored, count=BEST):
    return {run_folder(trial.number, repeat=False) for trial in ranked_trials(stored)[:count]}


@contextmanager
def held(runs):
    with hold_study(None, runs, "toy") as storage:
        yield storage


def searched(runs, *, observed):
    """Do the search, with the observer or without; return its lanes."""
    study, lanes = toy_study(trials=TRIALS, fixed=None), WritingLanes(runs)
    with held(runs) as storage:
        opened = open_study(storage, study)
        observers = [BestWeights(runs, storage, "toy", BEST)] if observed else []
        search(opened, study, lanes, observers, runs=runs)
        for observer in observers:
            observer.conclude()
    return lanes


def concluded(runs):
    with held(runs) as storage:
        BestWeights(runs, storage, "toy", BEST).conclude()
        return read_state(storage, "toy")


def missed(runs, stored):
    words = [finding.words for finding in check_files(runs, stored) if WEIGHTS in finding.name]
    return [own for own in words if "missing" in own]


@pytest.fixture
def few_at_once(monkeypatch):
    monkeypatch.setattr(best_weights, "AT_ONCE", 2)


def test_the_best_keep_their_weights_and_earlier_pictures_while_the_search_goes_on_and_then(
    tmp_path, few_at_once
):
    lanes = searched(tmp_path, observed=True)
    assert lanes.most <= BEST + 2 * WIDTH < TRIALS, "a round is told while the next one trains"
    stored = concluded(tmp_path)
    best = best_of(stored)
    assert len(best) == BEST
    assert on_disk(tmp_path) == linked(tmp_path) == best
    assert (
        on_disk(tmp_path, "epoch-0001-samples.png")
        == linked(tmp_path, "epoch-0001-samples.png")
        == best
    )
    assert len(on_disk(tmp_path, "epoch-0004-samples.png")) == TRIALS, (
        "the last pictures of every trial"
    )
    assert missed(tmp_path, stored) == []
    assert {name for name, files in stored.study.freed.items() if WEIGHTS in files} == best_of(
        stored, TRIALS
    ) - best


def test_killed_anywhere_nobody_misses_a_file_and_the_same_files_are_left(tmp_path, few_at_once):
    searched(tmp_path / "searched", observed=False)
    assert len(on_disk(tmp_path / "searched")) == TRIALS
    (tmp_path / "kills").mkdir()

    def free(root):
        with held(root / "runs") as storage:
            observer = BestWeights(root / "runs", storage, "toy", BEST)
            observer.round_finished(None)
            observer.conclude()

    def begun(root):
        # It keeps hard links.
        subprocess.run(["cp", "-a", str(tmp_path / "searched"), str(root / "runs")], check=True)
        free(root)

    killed = 0
    for root in after_each_kill(tmp_path / "kills", begun):
        killed += 1
        with held(root / "runs") as storage:
            stored = read_state(storage, "toy")
        assert missed(root / "runs", stored) == []
        stored = concluded(root / "runs")
        assert on_disk(root / "runs") == linked(root / "runs") == best_of(stored)
    assert killed > TRIALS


def test_weights_of_a_registered_model_stay_and_a_later_best_is_no_reason_to_free_twice(
    tmp_path, few_at_once
):
    searched(tmp_path, observed=False)
    with held(tmp_path) as storage:
        stored = read_state(storage, "toy")
        worst = ranked_trials(stored)[-1]
        write_study(
            optuna.load_study(study_name="toy", storage=storage),
            model=RegisteredModel(
                name="toy",
                alias="best",
                run=f"toy/{worst.number}",
                folder=worst.folder,
                loader_module="",
                inputs={},
                outputs={},
                pip_requirements=(),
            ),
        )
    stored = concluded(tmp_path)
    assert on_disk(tmp_path) == {*best_of(stored), run_folder(worst.number, repeat=False)}
    assert freeable(tmp_path, stored, (), BEST) == []


def test_a_file_that_is_freed_while_the_mirror_copies_it_is_left_out(tmp_path):
    class Client:
        """An artifact store elsewhere; while the first file goes there, the driver frees the second
        one.
        """

        def log_artifact(self, run, path, target):
            if path.endswith("a"):
                (tmp_path / "b").unlink()
            came.append(Path(path).read_text())

    came = []
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text(name)
    log_files(Client(), ArtifactFolder("0", "http://elsewhere/0"), tmp_path, "trial")
    assert came == ["a", "c"]
