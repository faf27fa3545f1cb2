"""What each searched parameter costs at equal epochs: nats behind the best settings, at the last
epoch that all ranked trials have reached.

A search moves to where trials are good. So its best quarter differs from the rest in everything
that was settled, and trials with a bad β may have the bad optimizer, too. Here the values of all
trials at one epoch are modelled over all parameters at once (`value_process`), and two
configurations are compared: the best settings, and the same with one parameter changed.

**Error rate.** The intervals of a study hold together: each has the level 1 − 5 % / P for P
parameters (Bonferroni). Under the default search at most 5 % of studies say of a parameter without
effect that it has one; the rates are those of docs/explain/statistics.md. The value that is
compared is the one that is furthest behind, chosen after looking: that choice is within these
rates.
"""

import functools
import math
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import ThreadpoolController

from sweeps.results import Interval, mean_interval
from vaeexp.results.effects import best_of
from vaeexp.results.holes import Holes
from vaeexp.results.parameters import Parameters, SearchedParameter, configuration_of
from vaeexp.results.value_process import Samples, sample_values
from vaeexp.words import format_value

MOST_TRIALS = 128
"""Trials that the process takes in, those nearest to the compared settings: its cost grows with the
cube of their number.
"""
LEAST_TRIALS = 5
"""Trials with a parameter active from which its cost can be said; and two for each parameter of the
study and two more in all (measured: with fewer, intervals hold less than 95 %)."""
_LEVEL = 0.05
_NOTHING = mean_interval([])

Configuration = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class EqualEpochEffect:
    """What one parameter costs where the others have the best settings."""

    parameter: str
    epoch: int
    """The epoch at which all trials are compared; 0 where none is common to them."""
    trials: int
    """Ranked trials that have reached it, with the parameter active."""
    best: tuple[Any, ...]
    """Where the best trials (`best_of`) have it, in the order of full training: the least and the
    largest, or the values.
    """
    trial: int | None
    """The trial whose settings the value is compared at: the best one, or the best with the
    parameter active.
    """
    at: Any | None
    """The value that is furthest behind: an end of what was tried, or a value of a choice. None
    where nothing can be said.
    """
    behind: Interval
    """Nats per image by which `at` is behind the settings of `trial` at that epoch. The mean is the
    median of the model's samples; n counts `trials`.

    Negative where the settings of `trial` are behind at that epoch, as those of a slow learner are.
    """


def equal_epoch_effects(
    parameters: Parameters,
    ranked: pd.DataFrame,
    found: pd.DataFrame,
    values: pd.DataFrame,
    holes: Holes,
    *,
    first: int | None,
    least_epoch: int,
    seed: int,
) -> list[EqualEpochEffect]:
    """Return what each searched parameter costs, in the order of the study file.

    Args:
        ranked: trials of the search that are complete, paused or pruned, the best first
            (`Influence.learned`).
        found: those that were trained to the end, or as far as any, the best first
            (`StudyView.found`).
        values: number, epoch and objective of each epoch of the trials of the search.
        holes: as `find_holes`. The values in them are compared with nothing.
        first: number of the trial with the best settings, which may have been confirmed as such;
            None: the first of `ranked`.
        least_epoch: the first epoch at which trials may be compared. Those that did not reach it
            are left out.
    """
    best_first = ranked.iloc[np.argsort((ranked["number"] != first).to_numpy(), kind="stable")]
    epoch, compared = at_common_epoch(best_first, values, least_epoch)
    questions = [_make_question(parameters, compared, each, holes) for each in parameters.values()]
    settings = list(chain.from_iterable(question.settings for question in questions))
    samples = _samples(parameters, compared, settings, seed) if settings else None
    level = _LEVEL / max(1, sum(bool(question.settings) for question in questions))
    effects = []
    place = 0
    for question in questions:
        at, behind = _furthest(question, samples, place, level)
        place += len(question.settings)
        parameter = question.parameter
        effects.append(
            EqualEpochEffect(
                parameter=parameter.name,
                epoch=epoch,
                trials=len(question.having),
                best=_reach(parameter, best_of(found[parameter.of(found).notna()])),
                trial=None if at is None else int(question.having["number"].iloc[0]),
                at=at,
                behind=behind,
            )
        )
    return effects


def at_common_epoch(
    ranked: pd.DataFrame, values: pd.DataFrame, least: int
) -> tuple[int, pd.DataFrame]:
    """Return the last epoch that all these trials have reached, and at least `least`; and the
    trials that have, with their `value` there.
    """
    reached = ranked[ranked["epochs"] >= least]
    epoch = int(reached["epochs"].min()) if len(reached) else 0
    then = values[values["epoch"] == epoch].set_index("number")["objective"]
    compared = reached.assign(value=reached["number"].map(then).astype(float))
    return epoch, compared[np.isfinite(compared["value"])].reset_index(drop=True)


@dataclass(frozen=True, kw_only=True)
class _Question:
    """The settings that are compared to learn what a parameter costs."""

    parameter: SearchedParameter
    having: pd.DataFrame
    """The compared trials with the parameter active, the best first."""
    values: list[Any]
    """The other values, one for each of the settings after the first."""
    settings: list[Configuration]
    """Those of the best trial, then the same with other values; empty where nothing is compared."""


def _make_question(
    parameters: Parameters, compared: pd.DataFrame, parameter: SearchedParameter, holes: Holes
) -> _Question:
    having = compared[parameter.of(compared).notna()]
    values: list[Any] = []
    settings: list[Configuration] = []
    enough = len(having) >= LEAST_TRIALS and len(compared) >= 2 * len(parameters) + 2
    if enough and compared["value"].nunique() > 1:
        own = configuration_of(parameters, having.iloc[0])
        fair = having[~having["number"].isin(holes.trials.get(parameter.name, ()))]
        for value in _reach(parameter, fair):
            if format_value(value) == format_value(own[parameter.name]):
                continue
            if changed := _changed(parameters, having, own, parameter.name, value):
                values.append(value)
                settings.append(changed)
        if settings:
            settings.insert(0, own)
    return _Question(parameter=parameter, having=having, values=values, settings=settings)


def _reach(parameter: SearchedParameter, trials: pd.DataFrame) -> tuple[Any, ...]:
    """Return the least and the largest number in these trials, or the values of a choice in the
    order of the file.
    """
    values = parameter.of(trials).dropna()
    if parameter.is_choice:
        there = {format_value(value): value for value in values}
        return tuple(there[text] for text in parameter.texts if text in there)
    as_number = int if parameter.kind == "int" else float
    return (as_number(values.min()), as_number(values.max())) if len(values) else ()


def _changed(
    parameters: Parameters, having: pd.DataFrame, own: Configuration, name: str, value: Any
) -> Configuration | None:
    """Return a configuration with another value of a parameter; None where what it then needs was
    never tried with it.

    Parameters whose condition fails drop out. Those whose condition holds now are as in the best
    trial that has this value and them.
    """
    changed: Configuration = {}
    for other, parameter in parameters.items():
        conditions = [
            (parent, wanted) for parent, wanted in parameter.when.items() if parent in parameters
        ]
        if not all(
            format_value(changed.get(parent)) in map(format_value, wanted)
            for parent, wanted in conditions
        ):
            continue
        if other == name:
            changed[other] = value
        elif other in own:
            changed[other] = own[other]
        else:
            same = having[parameters[name].of(having).map(format_value) == format_value(value)]
            given = parameter.of(same).dropna()
            if given.empty:
                return None
            changed[other] = given.iloc[0]
    return changed


def _samples(
    parameters: Parameters, compared: pd.DataFrame, settings: list[Configuration], seed: int
) -> Samples:
    """Return samples of the values of these settings, with the trials nearest to them where there
    are many.
    """
    wanted = pd.DataFrame(
        [{f"params.{name}": value for name, value in each.items()} for each in settings]
    )
    points, groups = _points(parameters, compared)
    asked, _ = _points(parameters, wanted)
    values = compared["value"].to_numpy(float)
    if len(points) > MOST_TRIALS:
        # By their settings alone: trials chosen by their values would be lucky ones.
        distances = ((asked[:, None, :] - points[None, :, :]) ** 2).sum(axis=2)
        ranks = distances.argsort(axis=1, kind="stable").argsort(axis=1, kind="stable").min(axis=0)
        nearest = np.sort(ranks.argsort(kind="stable")[:MOST_TRIALS])
        points = points[nearest]
        values = values[nearest]
    with _threads().limit(limits=1, user_api="blas"):  # their number decides the last bits
        return sample_values(points, values, asked, groups, seed=seed)


@functools.cache
def _threads() -> ThreadpoolController:
    from scipy import linalg, optimize  # noqa: F401  # before the controller looks for libraries

    return ThreadpoolController()


def _points(parameters: Parameters, trials: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return configurations as numbers [N, D] and the parameter of each coordinate [D].

    A number is its place on the axis, 0.5 where it is not active; each value of a choice √½ or 0,
    so that two values are 1 apart.
    """
    columns = []
    groups = []
    for index, parameter in enumerate(parameters.values()):
        places = parameter.places(trials).to_numpy(float)
        if parameter.is_choice:
            own = [math.sqrt(0.5) * (places == place) for place in range(len(parameter.texts))]
        else:
            own = [np.where(np.isnan(places), 0.5, places)]
        columns += own
        groups += [index] * len(own)
    return np.stack(columns, axis=1), np.array(groups)


def _furthest(
    question: _Question, samples: Samples | None, place: int, level: float
) -> tuple[Any | None, Interval]:
    """Return the value that is furthest behind the first of the settings, which stands at this
    place, and by how much. Where no number is surely behind, the end further away is the one that
    a person asks for.
    """
    found: tuple[Any | None, Interval] = None, _NOTHING
    others: dict[Any, Interval] = {}
    for step, value in enumerate(question.values, start=1):
        assert samples is not None
        difference = samples.values[:, place + step] - samples.values[:, place]
        low, mean, high = samples.quantiles(difference, [level / 2, 0.5, 1 - level / 2]).tolist()
        others[value] = Interval(mean=mean, low=low, high=high, n=len(question.having))
        if found[0] is None or mean > found[1].mean:
            found = value, others[value]
    if found[0] is None or found[1].low > 0 or question.parameter.is_choice:
        return found
    own = question.settings[0][question.parameter.name]
    places = question.parameter.places_of(pd.Series([own, *others], dtype=float))
    return [*others.items()][int((places[1:] - places[0]).abs().argmax())]
