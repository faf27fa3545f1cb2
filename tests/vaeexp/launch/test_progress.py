"""The live display: what it says, that it fits, and that no terminal makes it fail."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from toy_lanes import ToyLanes
from toy_study import in_memory, search, toy_study

from sweeps.engine.events import Running, Snapshot
from sweeps.lanes import Failure, Outcome, Progress, TrialResult, TrialSpec
from vaeexp.launch.progress import BarProgress, LiveProgress, time_left


def trial(number: int, **params: object) -> TrialSpec:
    return TrialSpec(number=number, params=params or {"beta": 0.31234, "optimizer": "adam"}, seed=1)


def snapshot(**changes: object) -> Snapshot:
    running = (
        Running(trial=trial(6), epoch=10, objective=104.5),
        Running(trial=trial(7), epoch=0, objective=None),
    )
    counts = {"paused": 0, "complete": 4, "pruned": 2, "failed": 0, "planned": 40}
    values = {
        "phase": "search",
        "running": running,
        "best_objective": 97.9,
        "best_number": 3,
        "epochs": 130,
        **counts,
    }
    return Snapshot(**(values | {"elapsed": 65.0} | changes))


def end(
    progress: LiveProgress, number: int, outcome: Outcome, duplicate_of: int | None = None
) -> None:
    progress.trial_ended(trial(number), outcome, TrialResult(number=number), duplicate_of)


def failed(epoch: int, objective: float | None, kind: str) -> Outcome:
    return Outcome(
        state="failed", epoch=epoch, objective=objective, failure=Failure(kind=kind, message="")
    )


def text(console: Console) -> str:
    return console.file.getvalue()  # type: ignore[attr-defined]


def screen(**options: object) -> Console:
    return Console(
        file=io.StringIO(),
        force_terminal=True,
        color_system=None,
        **{"width": 120, "height": 30} | options,
    )


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def rendered(progress: LiveProgress, **options: object) -> str:
    console = screen(**options)
    console.print(progress.render())
    return text(console)


def test_the_table_shows_running_and_finished_trials():
    progress = LiveProgress(screen(), study="beta_mnist", epochs=30, clock=Clock())
    progress.trial_started(trial(6), resumed=False)
    progress.epoch_finished(trial(6), Progress(number=6, epoch=3, objective=120.25))
    assert "3/30" in rendered(progress)
    assert "120.25" in rendered(progress)
    end(progress, 5, Outcome(state="pruned", epoch=6, objective=130.0))
    progress.round_finished(snapshot())
    shown = rendered(progress)
    said = ["beta_mnist", "search", "6/40 trials", "best −ELBO 97.90 (beta_mnist/3)"]
    said += ["2 pruned", "0 failed", "2 epochs/s", "1 min 5 s", "10/30"]
    assert [part for part in said if part not in shown] == []
    assert "beta_mnist/5" in shown
    assert "pruned" in shown.split("beta_mnist/5")[1].splitlines()[0]


def test_settings_are_cut_before_anything_else():
    progress = LiveProgress(screen(), study="s", epochs=30, clock=Clock())
    progress.trial_started(
        trial(6, **{f"setting_{number}": number for number in range(20)}), resumed=False
    )
    end(progress, 5, failed(6, 130.0, "out_of_memory"))
    shown = [line.split() for line in rendered(progress, width=60).splitlines()]
    assert ["s/6", "0/30", "running"] in [line[:3] for line in shown]
    assert ["s/5", "6", "130.00", "failed:", "out_of_memory"] in [line[:5] for line in shown]
    assert len(shown) == 4


def test_a_trial_has_its_own_number_of_epochs_and_says_in_its_last_epoch_that_it_will_be_tested():
    progress = LiveProgress(screen(), study="beta_mnist", epochs=30, clock=Clock())
    progress.trial_started(trial(1, epochs=12), resumed=False)
    assert "0/12" in rendered(progress)
    tested = replace(trial(6), repeat=True, test=True)
    for each, epoch in ((tested, 28), (trial(7), 29)):
        progress.trial_started(replace(each, epoch=epoch), resumed=True)
    assert "then test" not in rendered(progress)
    for epoch in (29, 30):  # the last epoch, and the test after it
        done = Progress(number=6, epoch=epoch, objective=100.0, finished=epoch == 30)
        progress.epoch_finished(tested, done)
        assert "last epoch, then test" in rendered(progress)


def test_the_newest_finished_trials_stay_and_more_trials_than_lines_are_counted():
    progress = LiveProgress(screen(height=20), study="s", clock=Clock())
    for number in range(12):
        end(progress, number, Outcome(state="complete", epoch=3, objective=100.0 + number))
    for number in range(12, 76):
        progress.trial_started(trial(number), resumed=False)
    shown = rendered(progress)
    assert "s/11 " in shown
    assert "s/7 " in shown
    assert "s/6 " not in shown
    assert "and 55 more" in shown
    assert len(shown.splitlines()) <= 20


def test_plain_lines_where_there_is_no_terminal():
    clock, console = Clock(), Console(file=io.StringIO(), width=40)
    with LiveProgress(console, study="beta_mnist", clock=clock) as progress:
        end(progress, 4, Outcome(state="complete", epoch=30, objective=98.314))
        end(progress, 5, failed(2, None, "diverged"))
        end(progress, 6, Outcome(state="complete", epoch=30, objective=98.314), duplicate_of=4)
        progress.round_finished(snapshot(complete=5, pruned=0, failed=1))
        clock.now = 29.0
        progress.round_finished(snapshot())
        assert len(text(console).splitlines()) == 3
        clock.now = 31.0
        progress.round_finished(snapshot())
        progress.round_finished(snapshot())
    lines = text(console).splitlines()
    assert (
        lines[0]
        == "[4/40]  beta_mnist/4  complete  epoch 30  −ELBO 98.31  beta=0.312 optimizer=adam"
    )
    assert (
        lines[1]
        == "[5/40]  beta_mnist/5  failed: diverged  epoch 2  no value  beta=0.312 optimizer=adam"
    )
    assert lines[2].startswith("[6/40]  beta_mnist/6  same as beta_mnist/4")
    assert lines[3].startswith("beta_mnist  search  6/40 trials")
    assert len(lines) == 4
    assert "\x1b" not in text(console)


def test_a_line_says_that_a_trained_repeat_is_being_tested(capsys):
    tested = replace(trial(6), repeat=True, test=True)
    failure = Failure(kind="diverged", message="m")
    ends = {
        "trained": Progress(number=6, epoch=9, objective=1.0, finished=True),
        "trains": Progress(number=6, epoch=9, objective=1.0),
        "failed": Progress(number=6, epoch=9, objective=1.0, finished=True, failure=failure),
    }
    for name, done in ends.items():
        console = Console(file=io.StringIO(), width=200)
        for kind in (LiveProgress, BarProgress):
            with kind(console, study="s", clock=Clock()) as progress:
                progress.trial_started(tested, resumed=False)
                progress.epoch_finished(tested, done)
        assert text(console) == ("s/r6  trained; testing it\n" if name == "trained" else "")
    assert "testing" not in capsys.readouterr().out


def test_trials_that_end_after_the_last_round_of_a_phase_are_counted_in_it():
    """Paused ones, and those that take the result of an equal one."""
    console = Console(file=io.StringIO(), width=200)
    done = Outcome(state="complete", epoch=30, objective=98.314)
    with LiveProgress(console, study="s", clock=Clock()) as progress:
        end(progress, 5, done)
        progress.round_finished(snapshot(complete=5, pruned=0, planned=8))
        for number in (6, 7, 8):
            end(progress, number, done, duplicate_of=5)
        again = replace(trial(0), repeat=True)
        progress.trial_ended(again, done, TrialResult(number=0), None)
        progress.round_finished(snapshot(phase="repeats", complete=1, pruned=0, planned=2))
    starts = [line.split("  ")[:2] for line in text(console).splitlines()]
    assert starts == [
        ["[5/8]", "s/5"],
        ["[6/8]", "s/6"],
        ["[7/8]", "s/7"],
        ["[8/8]", "s/8"],
        ["[1/2]", "s/r0"],
    ]


def test_a_trial_that_ended_in_the_last_round_is_not_lost_and_a_warning_is_said_once():
    console = Console(file=io.StringIO())
    with LiveProgress(console, study="s", clock=Clock()) as progress:
        end(progress, 4, Outcome(state="complete", epoch=30, objective=98.314))
        assert text(console) == ""
        for _ in range(2):
            progress.warn("look [retrying]")
    assert "s/4" in text(console)
    assert text(console).count("warning: look [retrying]\n") == 1


@pytest.mark.parametrize(("width", "height"), [(1, 1), (20, 5), (300, 24)])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_no_terminal_makes_it_fail(width, height, encoding):
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding)
    console = Console(file=stream, force_terminal=True, width=width, height=height)
    with LiveProgress(console, study="β-study", epochs=30) as progress:
        progress.trial_started(trial(8, prior="gemischt über β"), resumed=True)
        end(progress, 4, Outcome(state="pruned", epoch=30, objective=98.3))
        progress.round_finished(snapshot())
        progress.warn("MLflow at http://127.0.0.1:5000 does not answer: β")
    stream.flush()
    assert raw.getvalue()


def test_time_left_counts_what_is_to_come_and_what_is_under_way():
    # Six trials ended after 120 epochs: 20 each. To come: 32 trials of 20; under way: 10 + 20. At 2
    # epochs a second.
    assert time_left(snapshot(), 2.0) == pytest.approx((32 * 20 + 10 + 20) / 2)
    # After the search come runs of 90 epochs together; they are counted once.
    assert time_left(snapshot(), 2.0, 90) == pytest.approx((32 * 20 + 10 + 20 + 90) / 2)
    assert time_left(snapshot(phase="repeats"), 2.0, 90) == time_left(
        snapshot(phase="repeats"), 2.0
    )


@pytest.mark.parametrize(
    "changes",
    [{"planned": None}, {"complete": 0, "pruned": 0}, {"complete": 1, "pruned": 0}, {"paused": 1}],
)
def test_time_left_is_unknown_without_grounds(changes):
    assert time_left(snapshot(**changes), 2.0) is None
    assert time_left(snapshot(), None) is None


def test_the_rate_is_that_of_the_phase():
    progress = LiveProgress(screen(), study="s", clock=Clock())
    progress.round_finished(snapshot(elapsed=200.0, epochs=1000))
    assert "5 epochs/s" in progress.summary()
    progress.round_finished(snapshot(phase="repeats", elapsed=2.0, epochs=6, planned=9))
    assert "confirm, compare and baselines" in progress.summary()
    assert "3 epochs/s" in progress.summary()
    assert "best" not in progress.summary()  # baselines are of other protocols


@pytest.mark.parametrize(
    ("changes", "said", "unsaid"),
    [
        ({"planned": 6}, "6/6 trials", "paused"),
        ({"planned": 5}, " 6 trials", "/5"),
        ({"paused": 3}, "3 paused  2 pruned  0 failed", "0 paused"),
    ],
)
def test_paused_trials_are_counted_and_a_number_of_trials_that_is_too_small_is_not_said(
    changes, said, unsaid
):
    progress = LiveProgress(screen(), study="s", clock=Clock())
    progress.round_finished(snapshot(**changes))
    assert said in progress.summary()
    assert unsaid not in progress.summary()


def test_a_notebook_gets_one_bar_a_study_and_no_line_a_trial(capsys):
    console = Console(file=io.StringIO(), width=100)
    with BarProgress(console, study="beta_mnist") as progress:
        progress.round_finished(snapshot(complete=0, pruned=0, best_objective=None))
        end(progress, 5, Outcome(state="complete", epoch=6, objective=130.0))
        progress.round_finished(snapshot(paused=3, failed=1))
        progress.round_finished(snapshot(phase="repeats", planned=9, complete=9, pruned=0))
    assert text(console) == ""
    bars = capsys.readouterr().err.replace("\r", "\n").splitlines()
    said = ("search", "7/40", "best −ELBO 97.90 (beta_mnist/3), 3 paused, 1 failed")
    assert any(all(part in bar for part in said) for bar in bars)
    last = [bar for bar in bars if bar.strip()][-1]
    assert last.startswith("beta_mnist: confirm, compare and baselines: ")
    assert "9/9" in last


@pytest.mark.parametrize("width", [30, 60, 100])
def test_a_narrow_terminal_marks_where_it_cuts_settings(width):
    progress = LiveProgress(screen(), study="study", epochs=30, clock=Clock())
    shown = trial(6, beta=0.31234, learning_rate=0.003, prior="mixture", hidden="512")
    progress.round_finished(snapshot(running=(Running(trial=shown, epoch=10, objective=104.5),)))
    lines = rendered(progress, width=width).splitlines()
    [line] = [line for line in lines if "study/6" in line]
    settings = line.partition("running")[2].strip()
    whole = "beta=0.312 learning_rate=0.003 prior=mixture hidden=512"
    assert settings in ("", whole) or (settings[-1] == "…" and whole.startswith(settings[:-1]))
    assert "104.5 " not in f"{line} "
    if width >= 60:
        assert "104.50" in line


@pytest.mark.parametrize(("values", "lanes", "trials"), [([0.0], 1, 8), ([0.0, 0.5], 4, 8)])
def test_trials_that_repeat_a_configuration_are_counted_like_others(values, lanes, trials):
    console = Console(file=io.StringIO(), width=300)
    study = toy_study({"x": {"kind": "choice", "values": values}}, trials=trials)
    with LiveProgress(console, study="study", clock=Clock()) as progress:
        search(in_memory(study), study, ToyLanes(width=lanes, epochs=2), [progress], runs=Path())
    lines = text(console).splitlines()
    positions = [line[1:].split("/")[0] for line in lines if line.startswith("[")]
    assert positions == [str(position) for position in range(1, len(positions) + 1)]
    assert sum("same as" in line for line in lines) == trials - len(values)
