"""What stands before all else in an answer: that nothing was learned, why, and what to do; or that
an unfinished trial came further.
"""

import math

import pytest

from sweeps.state.record import StudyRecord
from vaeexp.report.sentences import sentence
from vaeexp.results.verdict import SearchedTrial, Verdict

STUDY = StudyRecord(name="s", spec={"model": {"posterior": "gaussian"}})


def trials(*states, rate=5.0, objective=100.0, failure=None, message=None, epochs=4):
    return [
        SearchedTrial(
            number=number,
            state=state,
            epochs=epochs,
            objective=math.nan if state in ("failed", "running") else objective + number,
            rate=math.nan if state in ("failed", "running") else rate,
            failure=failure if state == "failed" else None,
            message=message if state == "failed" else None,
        )
        for number, state in enumerate(states)
    ]


def in_words(statements):
    return " ".join(map(sentence, statements))


FAILED = ("failed",) * 4


@pytest.mark.parametrize(
    ("failure", "message", "remedy"),
    [
        ("diverged", "The training loss became inf in epoch 1.", "learning_rate"),
        ("error", "RuntimeError: shapes differ.", "Correct the error in the message"),
        ("out_of_memory", "One trial needs more memory than the device has.", "batch_size"),
        ("crashed", "A worker died.", "--workers"),
        ("timed_out", "Its epoch took longer than 90 s.", "--trial-timeout"),
    ],
)
def test_where_every_trial_failed_the_first_line_says_of_what_and_what_to_do(
    failure, message, remedy
):
    ended = trials(*FAILED, failure=failure, message=message)
    assert Verdict(STUDY, ended).all_failed
    said = in_words(Verdict(STUDY, ended).nothing_learned)
    for part in ("all 4 trials failed", f"4 {failure.replace('_', ' ')}", message, remedy):
        assert part in said


@pytest.mark.parametrize(
    ("states", "says"),
    [
        (("pruned",) * 3, "3 pruned"),
        (("paused",) * 5, "5 paused"),
        (("pruned", "failed", "pruned"), "2 pruned and 1 failed"),
    ],
)
def test_where_no_trial_was_trained_to_its_end_the_first_line_says_so(states, says):
    ended = trials(*states, failure="diverged")
    assert not Verdict(STUDY, ended).all_failed
    said = in_words(Verdict(STUDY, ended).nothing_learned)
    assert said.startswith("No trial was trained to its end")
    assert says in said
    assert "--trials" in said


@pytest.mark.parametrize("states", [("complete",), ("complete", "complete", "pruned", "failed")])
def test_where_the_posterior_collapsed_in_all_ranked_trials_the_first_line_says_so(states):
    said = in_words(Verdict(STUDY, trials(*states, rate=0.099)).nothing_learned)
    for part in ("posterior collapsed", "below 0.1", "beta", "warmup_epochs", "free_nats"):
        assert part in said


@pytest.mark.parametrize(
    ("study", "ended"),
    [
        (STUDY, trials("complete", "pruned")),
        (STUDY, [*trials("complete", rate=0.0), *trials("complete", rate=0.2)]),
        (STUDY, trials("complete", rate=math.nan)),
        (
            StudyRecord(name="s", spec={"model": {"posterior": "deterministic"}}),
            trials("complete", rate=0.0),
        ),
        (STUDY, []),
        (STUDY, trials("running", "running")),
        (STUDY, trials("paused", "running")),
    ],
)
def test_what_has_taught_something_or_goes_on_has_no_such_line(study, ended):
    assert Verdict(study, ended).nothing_learned == ()


@pytest.mark.parametrize("state", ["paused", "pruned"])
def test_an_unfinished_trial_that_came_further_is_named(state):
    best, other = trials("complete"), trials("complete", state, state, objective=90.0)[1:]
    (said,) = Verdict(STUDY, [*best, *other]).came_further
    assert [said.values[name] for name in ("trial", "state", "epochs")] == [1, state, 4]
    assert (said.values["value"].value, said.values["best"].value) == (91.0, 100.0)
    behind = [*best, *trials("complete", state, objective=110.0)]
    for without in (behind, trials("complete", "complete"), trials(state)):
        assert Verdict(STUDY, without).came_further == ()
