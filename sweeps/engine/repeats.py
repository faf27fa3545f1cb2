"""The repeats of a study: which configurations are trained again once the search is over, and their
training.

Confirm: the best configurations with fresh seeds, the only runs that look at the test set; in a
race with as many seeds as it asks for (`sweeps.engine.races`). Compare: the best configuration
found with each value of a parameter, then the next best, trained with *every* value of it and
otherwise equal, seed for seed, so that the difference within a pair is due to the parameter.
Baselines: the rows of the study file, with test figures; a row `at: best` changes the best trial of
the search, and once more the winner of the confirmation where that is another trial, because a
change is measured against the configuration that it changes. Late: paused trials, trained to their
end with their own seeds, which tells whether the pruner stopped slow learners. The others draw from
one list of fresh seeds: seed index i is the same seed everywhere in a study, so that any two
configurations can be compared seed for seed. What several ask for is trained once.
"""

import itertools
import json
import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from sweeps.engine.events import Observer, Source
from sweeps.engine.trial_loop import Rounds
from sweeps.lanes import Lanes, joined_baselines
from sweeps.results.candidates import found_trials
from sweeps.search.proposals import proposed_repeat
from sweeps.seeds import seed_of
from sweeps.state.state import State
from sweeps.state.trial import Repeat, Trial
from sweeps.storage.store import Store
from sweeps.study.space import Space, dependents

if TYPE_CHECKING:
    from sweeps.study.study import Study


_Configuration = tuple[int | None, dict[str, Any]]
"""Number of the trial that found it, None for the fixed settings; and its parameters."""
_Seeds = Callable[[int], list[int]]
"""A number of seeds → the study's fresh seeds; the longer list begins with the shorter one."""
Replan = Callable[[Sequence[Trial]], tuple[Sequence[Repeat], bool]]
"""The repeats so far → the plan by now, and whether it is the last. The same object as before where
nothing has changed.
"""


def plan_repeats(
    stored: State, study: "Study", raced: Mapping[int, int] | None = None, winner: int | None = None
) -> list[Repeat]:
    """Plan the runs that `study.confirm`, `.compare`, `.baselines` and `.confirm.late` ask for, in
    this order, each (configuration, seed) once.

    Bases are the trials of the search that `found_trials` gives, the best first, each configuration
    once. Comparing changes one value of a base; parameters that become inactive by it are dropped.
    Bases that are equal but for the compared parameter (and for parameters that depend on it) make
    one comparison, not two: the better one stands for both. Where a parameter becomes active for
    which the base has no value (its prior was `normal`, so there are no `components` to try
    `mixture` with), that run is left out, and with it the pair, unless two others remain. A
    baseline on the best setting is left out while no trial is complete; of that setting, too,
    parameters that become inactive are dropped. A run to compare looks at the test images, too,
    where it is a baseline on a configuration that the confirmation may find to be the best. The
    plan depends on what is stored, the study and these arguments alone.

    Args:
        raced: trial → seeds with which its configuration is confirmed; their runs then stand seed
            by seed. By default each has all seeds.
        winner: trial whose configuration the confirmation found to be the best, once it has.
            Baselines on the best setting are then trained on this one as well, after all others.
    """
    seeds = partial(fresh_seeds, study.seed, {trial.seed for trial in stored.trials})
    bases = distinct_configurations(stored, study.space)
    confirmed = bases[: study.confirm.top] if study.confirm else []
    confirming = _confirming(confirmed, study, seeds, raced)
    comparing = _comparing(bases, confirmed, study, seeds)
    referring = _referring(bases[0] if bases else None, study, seeds)
    winners = [base for base in bases[1:] if base[0] == winner]
    at_winner = chain.from_iterable(_referring(base, study, seeds) for base in winners)
    return _each_once([*confirming, *comparing, *referring, *_late(stored, study), *at_winner])


def identity_of(run: Repeat | Trial) -> tuple[str, int | None]:
    """Return configuration (as text) and seed, which make a run the same training as another."""
    return _text(run.params), run.seed


def _each_once(planned: Sequence[Repeat]) -> list[Repeat]:
    """Return the planned runs, each training once, with all that it is planned for."""
    runs: dict[tuple[str, int | None], Repeat] = {}
    for run in planned:
        key = identity_of(run)
        runs[key] = _both(runs[key], run) if key in runs else run
    return list(runs.values())


def _both(earlier: Repeat, run: Repeat) -> Repeat:
    """Return one run for two purposes; two baselines that come to one configuration share it.

    Of a configuration that is confirmed, it is the trial that found it that counts.
    """
    return replace(
        earlier,
        source_trial=run.source_trial
        if run.baseline and "confirm" not in earlier.purposes
        else earlier.source_trial,
        purposes=tuple(dict.fromkeys(earlier.purposes + run.purposes)),
        pair_ids=earlier.pair_ids + run.pair_ids,
        test=earlier.test or run.test,
        baseline=joined_baselines(earlier.baseline, run.baseline),
    )


def _confirming(
    confirmed: list[_Configuration],
    study: "Study",
    seeds: _Seeds,
    raced: Mapping[int, int] | None,
) -> list[Repeat]:
    """Return the runs of the best configurations with fresh seeds; in a race seed by seed, as many
    as it asks for.
    """
    runs = list[Repeat]()
    for base in confirmed:
        assert study.confirm is not None
        runs += _seeded(base, seeds(study.confirm.seeds), purposes=("confirm",), test=True)
    if raced is None:
        return runs
    asked = [run for run in runs if run.seed_index < raced[run.source_trial or 0]]
    return sorted(asked, key=lambda run: run.seed_index)


def _comparing(
    bases: list[_Configuration], confirmed: list[_Configuration], study: "Study", seeds: _Seeds
) -> list[Repeat]:
    """Return the matched pairs of each compared parameter; those that are also baselines on a
    confirmed configuration look at the test images.
    """
    tested = set[tuple[str, int | None]]()
    for base in confirmed:
        tested |= {identity_of(run) for run in _referring(base, study, seeds)}
    runs = list[Repeat]()
    for name in study.compare.parameters if study.compare else ():
        runs += _pairs_of(name, bases, study, seeds)
    return [replace(run, test=identity_of(run) in tested) for run in runs]


def _pairs_of(
    name: str, bases: list[_Configuration], study: "Study", seeds: _Seeds
) -> Iterator[Repeat]:
    """Pair the best configuration found with each value of one parameter, then the next best, up to
    `compare.top` of them.
    """
    assert study.compare is not None
    for source, variants in _bases_to_compare(name, bases, study.space, study.compare.top):
        for index, seed in enumerate(seeds(study.compare.seeds)):
            for params in variants:
                yield Repeat(
                    source_trial=source,
                    params=params,
                    seed=seed,
                    seed_index=index,
                    purposes=("compare",),
                    pair_ids=(f"{name}:{source}/{index}",),
                )


def _bases_to_compare(
    name: str, bases: list[_Configuration], space: Space, top: int
) -> list[tuple[int | None, list[dict[str, Any]]]]:
    """Return the trials whose configurations are compared, and each configuration with all values
    of the parameter: two at least.
    """
    levels = space[name].listed()
    left_out = (name, *dependents(name, space.as_dict()))
    others = [other for other in space.names if other not in left_out]
    candidates: dict[str, tuple[int | None, str, list[dict[str, Any]]]] = {}
    for source, base in (entry for entry in bases if name in entry[1]):
        rest = _text({other: base[other] for other in others if other in base})
        changed = (_changed(base, name, level, space) for level in levels)
        variants = [params for params in changed if params is not None]
        if len(variants) > 1:
            candidates.setdefault(rest, (source, _text(base[name]), variants))
    # A configuration was tuned for its own value, so each value brings its best one.
    tuned_for: dict[str, int | None] = {}
    for source, level, _ in candidates.values():
        tuned_for.setdefault(level, source)
    order = sorted(candidates.values(), key=lambda entry: entry[0] != tuned_for[entry[1]])
    return [(source, variants) for source, _, variants in order[: max(top, len(tuned_for))]]


def _referring(base: _Configuration | None, study: "Study", seeds: _Seeds) -> Iterator[Repeat]:
    """Train each baseline, those on the best setting by changing this configuration; they are left
    out without one.
    """
    for row in study.baselines:
        if row.at == "best" and base is None:
            continue
        number, params = base if base is not None and row.at == "best" else (None, {})
        changed = (number, study.space.changed(params, row.settings))
        yield from _seeded(
            changed, seeds(row.seeds), purposes=("baseline",), test=True, baseline=row.name
        )


def _late(stored: State, study: "Study") -> Iterator[Repeat]:
    """Train those trials to their end that the search left paused and that fell most in their last
    epoch.

    A run has the seed of its trial, so that it ends as the trial would have, had it not been
    paused.
    """
    falls = []
    for trial in stored.trials:
        values = [epoch.objective for epoch in trial.epochs[-2:]]
        paused = trial.counts and (trial.state == "paused" or trial.resumable)
        if paused and len(values) == 2 and all(map(math.isfinite, values)):
            falls.append((values[1] - values[0], trial.number, trial))
    count = study.confirm.late if study.confirm else 0
    for _, number, trial in sorted(falls, key=lambda each: each[:2])[:count]:
        assert trial.seed is not None
        yield Repeat(
            source_trial=number,
            params=dict(trial.params),
            seed=trial.seed,
            seed_index=-1,
            purposes=("late",),
        )


def _seeded(base: _Configuration, seeds: Sequence[int], **fields: Any) -> Iterator[Repeat]:
    """Repeat a configuration with each of these seeds; `fields`: further ones of `Repeat`."""
    number, params = base
    for index, seed in enumerate(seeds):
        yield Repeat(source_trial=number, params=params, seed=seed, seed_index=index, **fields)


def _changed(
    params: Mapping[str, Any], name: str, value: Any, space: Space
) -> dict[str, Any] | None:
    """Return the configuration with another value of one parameter; None when it lacks a parameter
    that is active then.
    """
    values = {**params, name: value}
    active = space.active(values)
    if any(other not in values for other in active):
        return None
    return {other: values[other] for other in active}


def distinct_configurations(stored: State, space: Space) -> list[_Configuration]:
    """Return the configurations that a search has found, the best first (`found_trials`); of equal
    ones the best.
    """
    first_of: dict[str, _Configuration] = {}
    for trial in found_trials(stored):
        params = {
            name: trial.params[name] for name in space.active(trial.params) if name in trial.params
        }
        first_of.setdefault(_text(params), (trial.number, params))
    return list(first_of.values())


def fresh_seeds(study_seed: int, used: Collection[int | None], count: int) -> list[int]:
    """Return the first fresh seeds of a study, which all its configurations share, without those
    that are used.
    """
    seeds = (seed_of(_text([study_seed, "repeat", attempt])) for attempt in itertools.count())
    return list(itertools.islice((seed for seed in seeds if seed not in used), count))


def _text(content: Any) -> str:
    return json.dumps(content, sort_keys=True)


def run_repeats(
    store: Store,
    plan: Sequence[Repeat] | Replan,
    lanes: Lanes,
    observers: Sequence[Observer],
    *,
    warmup: Callable[[Mapping[str, Any]], int] = lambda params: 0,
    retry_failed: bool = False,
    **options: Any,
) -> None:
    """Train the planned repeats that the storage does not hold yet; those that were interrupted go
    on first.

    Args:
        plan: all runs, or how they follow from those that have ended.
        warmup: how many epochs at the beginning of a run with these parameters do not count
            (`Study.warmup_of`).
        retry_failed: train the planned runs that have failed once more, each in the place of the
            failed one.
        options: further fields of `Rounds`.

    Raises UserError as `search` does.
    """
    replan: Replan = plan if callable(plan) else lambda trials: (plan, True)
    if retry_failed:
        planned = _Repeats(replan, store, warmup).plan
        store.retry(time.time(), lambda trial: any(_serves(trial, repeat) for repeat in planned))
    source = _Repeats(replan, store, warmup)
    first = source.plan
    _reassign(store, first)
    Rounds(store, lanes, observers, source, **options).run()
    if source.plan is not first:
        _reassign(store, source.plan)


class _Repeats(Source):
    """The planned runs, in order. One that failed is not proposed again: its seed would fail
    again.
    """

    def __init__(
        self, replan: Replan, store: Store, warmup: Callable[[Mapping[str, Any]], int]
    ) -> None:
        self.replan = replan
        self.store = store
        self.warmup = warmup
        self._turn_to(store.trials(), *self._replan(store.trials()))

    def _replan(self, trials: Sequence[Trial]) -> tuple[Sequence[Repeat], bool]:
        # The plan of a race looks at runs by configuration and seed.
        return self.replan([trial for trial in trials if trial.counts])

    def _turn_to(self, trials: Sequence[Trial], plan: Sequence[Repeat], last: bool) -> None:
        self.plan = plan
        # Runs of an earlier plan that this one has no use for count as well: they are among those
        # that ended.
        missing = sum(not any(_serves(trial, repeat) for trial in trials) for repeat in plan)
        self.planned = len(trials) + missing if last else None

    def propose(
        self, known: Sequence[Trial], proposals: Sequence[Trial], elapsed: float, round_: int
    ) -> Trial | str:
        trials = [*known, *proposals]
        plan, last = self._replan(trials)
        if plan is not self.plan:
            self._turn_to(trials, plan, last)
        for repeat in self.plan:
            if not any(_serves(trial, repeat) for trial in trials):
                number = 1 + max((trial.number for trial in trials), default=-1)
                return proposed_repeat(
                    self.store, repeat, number, warmup=self.warmup(repeat.params)
                )
        return "Every repeat is done." if last else "More depends on runs that train now."


def _serves(trial: Trial, repeat: Repeat) -> bool:
    """Whether this run makes the planned one needless: it is the same, and it saw the test images
    if that is wanted.
    """
    same = trial.seed == repeat.seed and trial.params == dict(repeat.params)
    return trial.counts and same and (trial.test or not repeat.test)


def _reassign(store: Store, repeats: Sequence[Repeat]) -> None:
    """Give runs of an earlier plan the purposes that they have in this one, after a study was
    extended; the others have none.

    Optuna lets no finished trial change, so the record of the study says so
    (`StudyRecord.reassigned`). Of several runs that serve, one that is complete takes the purposes.
    """
    every = chain.from_iterable(trial.chain for trial in store.trials())
    records = sorted(every, key=lambda trial: trial.number)
    stored = sorted(records, key=lambda trial: trial.state == "failed")
    reassigned: dict[str, Any] = {str(trial.number): _USELESS for trial in stored}
    for repeat in repeats:
        serving = next((trial for trial in stored if _serves(trial, repeat)), None)
        if serving is not None:
            purposes = {name: getattr(repeat, name) for name in _USELESS}
            reassigned[str(serving.number)] = {"source_trial": repeat.source_trial, **purposes}
    store.write(reassigned=reassigned)


_USELESS: dict[str, Any] = {"purposes": (), "pair_ids": (), "baseline": None}
