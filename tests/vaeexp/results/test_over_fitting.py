"""The rise of validation after its best epoch, in curves of a closed form."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from planted_rates import view_of
from planted_studies import at_most

from vaeexp.results.over_fitting import rise_of
from vaeexp.results.study_view import StudyView


def risen(after, slope):
    """A study whose curves fall by 0.01 an epoch up to this one, and then rise by the slope for
    each unit of log latent size above 1.
    """
    results = view_of("strong", 100, trials=25).results
    epochs, trials = results.epochs.copy(), results.trials.set_index(["repeat", "number"])
    keys = list(zip(epochs["repeat"], epochs["number"], strict=True))
    sizes = trials.loc[keys, "params.latent_size"].to_numpy(float)
    late = np.maximum(0, epochs["epoch"] - after)
    epochs["objective"] = (
        100 - 0.01 * np.minimum(epochs["epoch"], after) + slope * late * (1 + np.log(sizes))
    )
    return StudyView(replace(results, epochs=epochs))


def test_a_rise_is_named_with_its_epoch_its_nats_and_the_size():
    view = risen(6, 0.5)
    rise = rise_of(view)
    assert (rise.epoch, rise.rising) == (6, rise.runs)
    sizes = [*view.ranked["params.latent_size"], *view.retrained.confirm_runs["params.latent_size"]]
    assert rise.runs == len(sizes)
    assert rise.nats == pytest.approx(
        np.median([0.5 * 6 * (1 + math.log(size)) for size in sizes]), abs=1e-9
    )
    assert (rise.parameter, rise.grows) == ("latent_size", True)


@pytest.mark.parametrize(("after", "slope"), [(12, 0.5), (6, -0.1), (10, 0.5)])
def test_curves_that_fall_or_rise_at_the_last_epochs_alone_say_nothing(after, slope):
    assert rise_of(risen(after, slope)) is None


def test_of_plateaus_with_correlated_noise_few_are_said_to_rise():
    """Each curve falls within five epochs and then varies by a process of first order."""
    random, said = np.random.default_rng(31), 0
    results = view_of("strong", 100, trials=25).results
    first = results.epochs[["repeat", "number"]].drop_duplicates()
    for _ in range(60):
        epochs = first.merge(pd.DataFrame({"epoch": range(1, 61)}), how="cross")
        noise = random.normal(size=(len(first), 60))
        for epoch in range(1, 60):
            noise[:, epoch] += 0.5 * noise[:, epoch - 1]
        curve = 100 + 40 * np.exp(-1.5 * np.arange(60))
        epochs["objective"] = (curve + noise).ravel()
        said += rise_of(StudyView(replace(results, epochs=epochs))) is not None
    assert at_most(said, 0.05, 60), said


def test_a_step_up_after_which_validation_stays_is_no_rise():
    view = risen(6, 0.0)
    epochs = view.epochs.assign(
        objective=view.epochs["objective"] + 2.0 * (view.epochs["epoch"] > 6)
    )
    assert (
        rise_of(StudyView(type(view.results)(**{**vars(view.results), "epochs": epochs}))) is None
    )
