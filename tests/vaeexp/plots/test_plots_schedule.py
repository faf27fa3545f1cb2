"""Figures of what the search took: its time without pauses, pruning, lanes in use, costs, and curves of many trials."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.patches import StepPatch
from scheduled_study import LANES, ROUND, scheduled
from synthetic_study import make_results, part, study_attributes, texts

from vaeexp.plots.progress import MOST_CURVES, learning_curves
from vaeexp.plots.schedule import (
    best_over_time,
    lane_times,
    lanes_in_use,
    mean_in_lanes,
    pruning_timeline,
    time_unit,
    trial_costs,
)
from vaeexp.results.frames import search_trials

LONGEST = 30 * ROUND
"""Seconds without a start or an end in the scheduled study."""


@pytest.fixture(scope="module")
def made():
    return make_results()


@pytest.fixture(scope="module")
def study(made):
    return scheduled(made)


def clock(study):
    return lane_times(study, study.trials).set_index(["repeat", "number"])[["entered", "left"]]


def steps(axes):
    return [patch.get_data() for patch in axes.patches if isinstance(patch, StepPatch)]


def legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_without_a_pause_the_clock_is_that_of_the_trials(study):
    times = lane_times(study, study.trials)
    assert set(times["duplicate_of"].isna()) == {True}
    assert len(times) == len(study.trials) - 1
    assert times["entered"].min() == 0
    assert (times["left"] - times["entered"]).to_numpy() == pytest.approx(times["epochs"] * ROUND)
    assert times["left"].max() == pytest.approx(study.study.elapsed + study.study.repeats_elapsed)


@pytest.mark.parametrize("moment", [37.0, 500.0])
def test_a_pause_through_which_trials_were_held_is_cut_out(made, study, moment):
    paused = scheduled(made, {moment: 30_000.0})
    held = (paused.trials["ended"] - paused.trials["started"] > 29_000) & paused.trials["duplicate_of"].isna()
    assert held.sum() == LANES
    pd.testing.assert_frame_equal(clock(paused), clock(study), atol=1e-3)
    unknown = study_attributes(elapsed=None)
    assert lane_times(replace(paused, study=unknown), paused.trials)["left"].max() > 30_000


def test_several_pauses_leave_the_right_total_and_small_errors(made, study):
    paused = scheduled(made, {37.0: 9000.0, 240.0: 50.0, 310.0: 4000.0, 700.0: 70_000.0})
    difference = (clock(paused) - clock(study)).abs()
    assert difference["left"].max() < LONGEST
    assert clock(paused)["left"].max() == pytest.approx(clock(study)["left"].max())


def test_time_in_which_nothing_was_in_a_lane_needs_no_record(made, study):
    """The night between search and confirmation, in a study that recorded no durations."""
    end = study.study.elapsed
    late = scheduled(made, {end - 1e-6: 40_000.0})
    trials = late.trials.copy()
    trials.loc[~trials["repeat"], "ended"] = study.trials.loc[~trials["repeat"], "ended"]
    bare = replace(late, trials=trials, study=study_attributes(elapsed=None))
    pd.testing.assert_frame_equal(clock(bare), clock(study), atol=1e-3)


def test_a_running_trial_is_in_its_lane_until_now(study):
    first = search_trials(study).head(LANES).assign(state="running", ended=math.nan)
    times = lane_times(part(study, first, study=study_attributes(elapsed=50.0)), first)
    assert list(times["left"]) == [50.0] * LANES


def test_trials_without_times_have_no_place_on_the_clock(study):
    untimed = study.trials.assign(started=math.nan, ended=math.nan)
    assert lane_times(study, untimed).empty
    assert lanes_in_use(replace(study, trials=untimed)) is None
    assert best_over_time(replace(study, trials=untimed)) is None
    half = study.trials.copy()
    half.loc[half["number"] % 2 == 0, "ended"] = math.nan
    assert set(lane_times(study, half)["number"] % 2) == {1}


def test_the_unit_of_time_follows_its_length():
    assert [time_unit(seconds)[1] for seconds in (10, 179, 181, 10_000, 20_000)] == ["s", "s", "min", "min", "h"]


def test_best_over_time_steps_down_as_trials_end(study):
    axes = best_over_time(study).axes[0]
    times = lane_times(study, search_trials(study))
    ended = times[times["state"] == "complete"].sort_values(["left", "number"])
    line = axes.lines[0]
    assert line.get_xdata()[:-1] == pytest.approx(ended["left"] / 60)
    assert list(line.get_ydata()[:-1]) == list(np.minimum.accumulate(ended["objective"]))
    assert line.get_xdata()[-1] == pytest.approx(times["left"].max() / 60)
    assert axes.get_xlabel() == "time since the first trial started (min)"
    best = ended.loc[ended["objective"].idxmin()]
    minutes, seconds = divmod(round(best["left"]), 60)
    assert f"best: trial {best['number']}, {best['objective']:.2f} after {minutes} min {seconds} s" in texts(
        axes.figure
    )
    points = sum(len(found.get_offsets()) for found in axes.collections if isinstance(found, PathCollection))
    assert points == len(ended)


def test_best_over_time_says_when_it_was_nearly_as_good(study):
    trials = study.trials.copy()
    trials.loc[trials["objective"].idxmin(), "objective"] += 0.5
    nearly = replace(study, trials=trials)
    winner = search_trials(nearly).query("state == 'complete'").sort_values("objective").iloc[0]
    late = trials.index[~trials["repeat"] & (trials["number"] == 39)][0]
    trials.loc[late, ["state", "objective"]] = ["complete", winner["objective"] - 0.25]
    (words,) = [text for text in texts(best_over_time(nearly)) if text.startswith("within 1 nat of the best\nafter ")]
    left = lane_times(nearly, search_trials(nearly)).set_index("number").loc[winner["number"], "left"]
    assert words.endswith(f"{left // 60:.0f} min {left % 60:.0f} s")
    assert not [text for text in texts(best_over_time(study)) if text.startswith("within")]


def test_pruning_shows_who_was_left_and_how_many_went(study):
    above, below = pruning_timeline(study).axes
    ended = search_trials(study)
    share = [100 * (ended["epochs"] > epoch).mean() for epoch in range(30)]
    for patch in above.patches:
        assert patch.get_data().values == pytest.approx(share)
        assert list(patch.get_data().edges) == list(range(31))
    assert f"{(ended['epochs'] == 30).sum()} ({share[-1]:.0f} %)\nto the end" in texts(above.figure)
    counts = ended[ended["state"] == "pruned"].groupby("epochs").size()
    assert {bar.get_x() + bar.get_width() / 2: bar.get_height() for bar in below.patches} == pytest.approx(
        counts.to_dict()
    )
    assert sorted(text.get_text() for text in below.texts) == sorted(str(count) for count in counts)
    assert f"{counts.sum()} of {len(ended)} trials pruned" in texts(above.figure)


def test_numbers_above_many_bars_are_few_and_those_of_the_highest(study):
    pruned = pd.concat([search_trials(study).iloc[[12]]] * 300, ignore_index=True)
    pruned = pruned.assign(number=range(300), state="pruned", epochs=np.repeat(np.arange(1, 61), 5))
    pruned.loc[pruned["number"] < 40, "epochs"] = 30
    below = pruning_timeline(replace(study, trials=pruned)).axes[1]
    assert 3 <= len(below.texts) <= 12
    assert below.texts[0].get_text() == "45"
    places = sorted(text.xy[0] for text in below.texts)
    assert min(np.diff(places)) >= 1


def test_nothing_pruned_is_no_figure(study):
    kept = study.trials[study.trials["state"] != "pruned"]
    assert pruning_timeline(part(study, kept)) is None


def test_lanes_in_use_add_up_to_the_time_that_trials_spent_there(study):
    axes = lanes_in_use(study).axes[0]
    search, repeats = (data for data in steps(axes) if data.baseline is not None)
    times = lane_times(study, study.trials)
    spent = (times["left"] - times["entered"]).groupby(times["repeat"]).sum() / 60
    width = np.diff(search.edges)
    assert (search.values * width).sum() == pytest.approx(spent[False])
    assert ((repeats.values - repeats.baseline) * width).sum() == pytest.approx(spent[True])
    assert search.edges[-1] == pytest.approx(times["left"].max() / 60)
    mean = spent.sum() / search.edges[-1]
    words = texts(axes.figure)
    assert "4 lanes of 2 workers" in words
    assert f"mean: {mean:.1f} of 4 lanes, {100 * mean / 4:.3g} %" in words
    assert [line.get_ydata()[0] for line in axes.lines] == [4]
    assert legend(axes) == ["search", "confirm, compare and baselines"]


def test_lanes_that_were_not_recorded_or_were_more_once_give_no_percentage(study):
    for execution, words in (({}, []), ({"workers": 1, "lanes": 1}, ["1 lane"])):
        figure = lanes_in_use(replace(study, study=replace(study.study, execution=execution)))
        (mean,) = [text for text in texts(figure) if text.startswith("mean: ")]
        assert mean.endswith("in training")
        assert [text for text in texts(figure) if text != mean] == words


def test_the_mean_in_lanes_is_exact_for_any_slices():
    times = pd.DataFrame({"entered": [0.0, 1.0, 1.0], "left": [4.0, 2.5, 1.0]})
    assert mean_in_lanes(times, np.array([0.0, 1.0, 2.0, 4.0])) == pytest.approx([1.0, 2.0, 1.25])


def test_costs_are_sorted_within_each_outcome_and_their_medians_named(study):
    axes = trial_costs(study).axes[0]
    trained = search_trials(study).query("seconds > 0")
    blocks = steps(axes)
    assert sum(len(block.values) for block in blocks) == len(trained)
    start, labels = 0, []
    for block, state in zip(blocks, ("complete", "pruned", "failed"), strict=True):
        own = trained[trained["state"] == state]["seconds"]
        assert list(block.values) == sorted(own, reverse=True)
        assert list(block.edges) == list(range(start, start + len(own) + 1))
        start += len(own)
        median = f"{'median ' if len(own) > 1 else ''}{own.median():.{0 if own.median() >= 10 else 1}f} s"
        share = 100 * own.sum() / trained["seconds"].sum()
        labels.append(f"{state} ({len(own)}): {median}, {share:.0f} % of the time")
    assert legend(axes) == labels
    assert [line.get_ydata()[0] for line in axes.lines] == [
        trained.query("state == @s")["seconds"].median() for s in ("complete", "pruned")
    ]
    assert axes.get_ylabel() == "training (s)"


def test_one_dear_trial_does_not_flatten_the_others(study):
    trials = study.trials.copy()
    trials.loc[0, "seconds"] = 7200.0
    axes = trial_costs(replace(study, trials=trials)).axes[0]
    assert axes.get_ylim()[1] < 300
    assert "the dearest took 2 h" in texts(axes.figure)
    assert trial_costs(replace(study, trials=trials.assign(seconds=0.0))) is None


def test_of_many_curves_some_are_drawn_evenly_and_all_are_counted(study):
    copies, epochs = [], []
    for copy in range(12):
        shift = {"number": search_trials(study)["number"] + 40 * copy}
        copies.append(search_trials(study).assign(**shift))
        own = study.epochs[~study.epochs["repeat"]]
        epochs.append(own.assign(number=own["number"] + 40 * copy, objective=own["objective"] + copy))
    for copy, trials in enumerate(copies):
        trials["objective"] += copy
    many = replace(study, trials=pd.concat(copies), epochs=pd.concat(epochs))
    axes = learning_curves(many).axes[0]
    pruned, failed, complete = (found.get_segments() for found in axes.collections if isinstance(found, LineCollection))
    assert (len(pruned), len(failed), len(complete)) == (MOST_CURVES, 12, MOST_CURVES)
    lowest = many.epochs.groupby("number")["objective"].min()
    states = many.trials.set_index("number")["state"]
    for drawn, state in ((pruned, "pruned"), (complete, "complete")):
        of_state = lowest[states[lowest.index] == state]
        shown = sorted(curve[:, 1].min() for curve in drawn)
        assert (shown[0], shown[-1]) == (of_state.min(), of_state.max())
        assert np.median(shown) == pytest.approx(of_state.median(), abs=2)
    assert legend(axes)[:3] == ["pruned (264)", "failed (12)", "complete (180)"]
    assert f"at most {MOST_CURVES} curves of an outcome are drawn" in texts(axes.figure)
    assert not [text for text in texts(learning_curves(study)) if "at most" in text]


def test_curves_of_pruned_trials_are_fainter_than_those_of_complete_ones(study):
    axes = learning_curves(study).axes[0]
    pruned, _, complete = (found.get_alpha() for found in axes.collections if isinstance(found, LineCollection))
    assert pruned < 0.7 * complete
