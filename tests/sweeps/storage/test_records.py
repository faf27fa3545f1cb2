"""What the storage holds of a study and its trials, read back as records; and that nobody else
knows how it is kept.
"""

import errno
import re
from dataclasses import replace
from pathlib import Path

import pytest
from optuna.trial import TrialState, create_trial
from toy_lanes import SimulatedClock, ToyLanes
from toy_study import MemoryJournal, in_memory, search, toy_study

from sweeps.engine import open_sweep, run_study
from sweeps.errors import UserError
from sweeps.schema import SCHEMA, VERSION
from sweeps.state.decisions import RoundDecisions, outcome_by
from sweeps.state.record import Description, RegisteredModel
from sweeps.state.trial import Picture
from sweeps.storage import open_storage, open_study
from sweeps.storage.optuna_internals import storage_of
from sweeps.storage.study_record import (
    attributes_of,
    read_state,
    record_of,
    study_record,
    write_study,
)
from sweeps.storage.trial_record import read_trial

ROOT = Path(__file__).parents[3]
PRIVATE = r"\._(storage|study_id|trial_id|backend|replay_result|thread_lock|cached_frozen_trial|log_number_offset)\b"  # noqa: E501
ATTRIBUTES = r"user_attr|system_attr|\.study\[|\.study\.get\("


@pytest.mark.parametrize(
    ("pattern", "homes"),
    [
        (ATTRIBUTES, ("sweeps/storage/", "sweeps/search/proposals.py")),
        (r"FrozenTrial", ("sweeps/storage/", "sweeps/search/")),
        (PRIVATE, ("sweeps/storage/optuna_internals.py",)),
    ],
    ids=["attributes", "trials of Optuna", "private parts of Optuna"],
)
def test_nobody_else_knows_how_a_study_is_kept(pattern: str, homes: tuple[str, ...]) -> None:
    modules = [path for package in ("sweeps", "vaeexp") for path in (ROOT / package).rglob("*.py")]
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in modules
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(pattern, line) and not str(path.relative_to(ROOT)).startswith(homes)
    ]
    assert found == []


class Painting(ToyLanes):
    """Lanes that leave a picture of every epoch, and one of the end, below a runs folder."""

    runs = Path("mlruns")

    def advance(self, numbers):
        for done in super().advance(numbers):
            yield [
                replace(p, images={p.epoch: {"samples": f"{self.runs}/p/{p.number}-{p.epoch}.png"}})
                for p in done
            ]

    def finish(self, ending):
        results = super().finish(ending)
        return [replace(r, images={2: {"last": f"/elsewhere/{r.number}.png"}}) for r in results]


def test_a_record_has_times_pictures_and_folders_that_can_move():
    study, clock = toy_study(trials=2), SimulatedClock(100.0)
    optuna_study = in_memory(study)
    search(optuna_study, study, Painting(width=2, epochs=2, clock=clock), [], clock=clock)
    first = read_state(storage_of(optuna_study), "toy").trials[0]
    assert (first.name_in("toy"), first.state, first.outcome.state) == (
        "toy/0",
        "complete",
        "complete",
    )
    assert [(epoch.epoch, epoch.at) for epoch in first.epochs] == [(1, 101.0), (2, 102.0)]
    assert (first.started, first.ended) == (100.0, 102.0)
    assert first.folder == "trials/trial-0000"
    assert first.pictures == (
        Picture(epoch=1, name="samples", path="p/0-1.png"),
        Picture(epoch=2, name="samples", path="p/0-2.png"),
        Picture(epoch=2, name="last", path="/elsewhere/0.png"),
    )
    assert (
        first.objective
        == first.best.objective
        == first.outcome.objective
        == optuna_study.trials[0].value
    )
    assert first.spec.params == first.params


def test_records_of_trials_that_ended_are_not_read_again():
    study = toy_study(trials=2)
    optuna_study = in_memory(study)
    search(optuna_study, study, ToyLanes(), [])
    storage = storage_of(optuna_study)
    before = read_state(storage, "toy")
    search(optuna_study, toy_study(trials=3), ToyLanes(), [])
    after = read_state(storage, "toy", earlier=before)
    assert [new is old for new, old in zip(after.trials, before.trials, strict=False)] == [
        True,
        True,
    ]
    assert after == read_state(storage, "toy")
    with pytest.raises(UserError, match=r"study 'toy' has no toy/3. It has toy/0 to toy/2."):
        after.run(3, repeat=False)


def test_a_study_record_comes_back_as_it_was_written():
    optuna_study = in_memory(toy_study(), MemoryJournal())
    model = RegisteredModel(
        name="toy",
        alias="best",
        run="toy/1",
        folder="trials/toy/trial-0001",
        loader_module="loader",
        inputs={"dtype": "float32", "values": [[0.5]]},
        outputs={"dtype": "float32", "values": [1.0]},
        pip_requirements=("numpy",),
        description="halves",
    )
    write_study(
        optuna_study, model=model, tags={"device": "cpu"}, report="/reports/toy", report_at=5.0
    )
    record = study_record(optuna_study)
    assert (record.model, record.tags, record.report, record.report_at) == (
        model,
        {"device": "cpu"},
        "/reports/toy",
        5.0,
    )
    assert record.question == "What is it?"
    assert record.identity
    assert record_of("toy", attributes_of(record)) == record
    with pytest.raises(TypeError):
        write_study(optuna_study, colour="red")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"schema": 3, "version": "9.1"},
            rf"is stored in schema 3, and sweeps {VERSION} reads schema 1 and 2. Use sweeps 9.1,",
        ),
        (
            {"schema": None},
            "has no schema number, because an older version of sweeps wrote it; sweeps .* reads "
            "schema 1",
        ),
    ],
)
def test_a_study_of_another_version_is_refused_in_one_line(tmp_path, changes, problem):
    optuna_study = open_study(open_storage(None, tmp_path, "toy"), toy_study())
    assert (optuna_study.user_attrs["schema"], optuna_study.user_attrs["version"]) == (
        SCHEMA,
        VERSION,
    )
    for name, value in changes.items():
        optuna_study.set_user_attr(name, value)
    before = dict(optuna_study.user_attrs)
    reading = lambda: read_state(open_storage(None, tmp_path, "toy", must_exist=True), "toy")  # noqa: E731
    for use in (reading, lambda: run_study(toy_study(), ToyLanes, runs=tmp_path)):
        with pytest.raises(UserError, match=rf"^study 'toy': {problem}") as error:
            use()
        assert "\n" not in str(error.value)
    storage = open_storage(None, tmp_path, "toy")
    assert storage.get_study_user_attrs(storage.get_study_id_from_name("toy")) == before


def test_a_whole_sweep_records_what_it_ran_with_and_how_it_ended(tmp_path):
    study = toy_study(trials=3)
    description = Description(
        execution={"lanes": 1}, tags={"device": "toy"}, constants={"size": (3, 4)}
    )
    stored = run_study(study, ToyLanes, runs=tmp_path, description=description)
    assert [trial.state for trial in stored.trials] == ["complete"] * 3
    record = stored.study
    assert (record.session, record.finished, record.execution) == ("finished", True, {"lanes": 1})
    assert (record.tags, record.constants, record.budget["trials"]) == (
        {"device": "toy"},
        {"size": [3, 4]},
        3,
    )
    assert record.stopped == "The budget of 3 trials is used up."
    again = run_study(study, lambda: pytest.fail("nothing is left to train"), runs=tmp_path)
    assert again == stored


@pytest.mark.parametrize(
    ("error", "session"), [(KeyboardInterrupt, "interrupted"), (RuntimeError, "failed")]
)
def test_a_sweep_that_does_not_reach_its_end_says_so(tmp_path, error, session):
    def stop(event):
        raise error

    with pytest.raises(error):
        run_study(toy_study(), lambda: ToyLanes(before=stop), runs=tmp_path)
    assert (
        read_state(open_storage(None, tmp_path, "toy", must_exist=True), "toy").study.session
        == session
    )
    assert run_study(toy_study(), ToyLanes, runs=tmp_path).study.session == "finished"


def test_a_sweep_whose_report_could_not_be_written_ends_with_the_same_command(tmp_path):
    def train_and_fail():
        with open_sweep(toy_study(), runs=tmp_path) as sweep:
            sweep.begin(Description())
            sweep.train(ToyLanes(), [])
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(UserError, match="the disk is full"):
        train_and_fail()
    storage = open_storage(None, tmp_path, "toy", must_exist=True)
    before = read_state(storage, "toy")
    assert (before.study.session, before.study.finished) == ("failed", False)
    after = run_study(toy_study(), ToyLanes, runs=tmp_path)
    assert (after.study.session, after.study.finished, after.trials) == (
        "finished",
        True,
        before.trials,
    )


def test_a_runs_folder_that_is_deleted_under_a_sweep_is_named(tmp_path):
    import shutil

    def delete(event):
        shutil.rmtree(tmp_path / "runs", ignore_errors=True)

    with pytest.raises(UserError, match=rf"^{tmp_path}/runs: the folder is gone. Put it back"):
        run_study(toy_study(), lambda: ToyLanes(before=delete), runs=tmp_path / "runs")


def test_a_second_driver_of_a_sweep_is_refused(tmp_path):
    with (
        open_sweep(toy_study(), runs=tmp_path),
        pytest.raises(UserError, match="is running it already"),
        open_sweep(toy_study(), runs=tmp_path),
    ):
        pass


def test_a_pause_that_was_carried_out_is_not_carried_out_again():
    """A process that continues finds the decisions of the round before, and trials that have gone
    on since.
    """
    decisions = RoundDecisions(3, pruned=(), pruner_state={}, paused=(0,))
    pause = {"epoch": 2, "round": 3, "until": 4}

    def stored(epochs, pauses):
        values = {epoch: 1.0 / epoch for epoch in range(1, epochs + 1)}
        attributes = {"seed": 1, "round": 2, "pauses": pauses}
        trial = create_trial(
            state=TrialState.RUNNING, user_attrs=attributes, intermediate_values=values
        )
        trial.number = 0
        return read_trial(trial, dict, repeat=False)

    decided = [
        outcome_by(stored(*given), decisions) for given in ((2, []), (2, [pause]), (3, [pause]))
    ]
    assert [outcome and outcome.state for outcome in decided] == ["paused", None, None]
