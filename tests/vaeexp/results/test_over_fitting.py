"""The rise of validation after its best epoch, in curves of a closed form."""

import math

import numpy as np
import pytest
from planted_rates import view_of

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
    return StudyView(type(results)(**{**vars(results), "epochs": epochs}))


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
