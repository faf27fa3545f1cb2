"""The repeats of a study: which configurations are trained again once the search is over, and their training.

Confirm: the best configurations with fresh seeds, the only runs that look at the test set. Compare: for each value of
one parameter the best configurations found with it, trained with *every* value of it and otherwise equal, seed for seed,
so that the difference within a pair is due to the parameter. Baselines: the rows of the study file, with test figures.
All draw the seeds of a configuration from the same list; what several ask for is trained once.
"""

import json
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.trial import FrozenTrial

from sweeps.engine.events import Observer
from sweeps.engine.trial_loop import Clock, Rounds
from sweeps.results.best import ranked_trials
from sweeps.seeds import seed_of
from sweeps.storage.proposals import Proposal
from sweeps.storage.study_record import StoredStudy, study_record, write_study
from sweeps.storage.trial_record import Repeat, stored_repeat
from sweeps.study.space import Space
from sweeps.workload.protocol import Lanes

if TYPE_CHECKING:
    from sweeps.study.study_file import Study


@dataclass(frozen=True)
class _Configuration:
    number: int | None
    params: dict[str, Any]


def plan_repeats(stored: StoredStudy, study: "Study") -> list[Repeat]:
    """The runs that `study.confirm`, `.compare` and `.baselines` ask for, in this order, each (configuration, seed) once.

    Bases are the complete trials of the search in order of value, each configuration once. Comparing changes one value
    of a base; parameters that become inactive by it are dropped. Where a parameter becomes active for which the base has
    no value (its prior was `normal`, so there are no `components` to try `mixture` with), that run is left out, and with
    it the pair, unless two others remain. A baseline on the best setting is left out while no trial is complete. The plan
    depends on what is stored and the study alone.
    """
    seeds = _Seeds(study.seed, [trial.seed for trial in stored.trials if trial.seed is not None])
    bases = _distinct(stored, study.space)
    runs: dict[tuple[str, int], Repeat] = {}
    for run in (*_confirming(bases, study, seeds), *_comparing(bases, study, seeds), *_referring(bases, study, seeds)):
        key = _text(run.params), run.seed
        if key in runs:
            known = runs[key]
            run = replace(
                known,
                purposes=known.purposes + run.purposes,
                pair_id=known.pair_id or run.pair_id,
                test=known.test or run.test,
                baseline=known.baseline or run.baseline,
            )
        runs[key] = run
    return list(runs.values())


def _confirming(bases: list[_Configuration], study: "Study", seeds: "_Seeds") -> Iterator[Repeat]:
    if study.confirm is None:
        return
    for base in bases[: study.confirm.top]:
        yield from _tested(base, seeds.of(base.params, study.confirm.seeds), "confirm")


def _comparing(bases: list[_Configuration], study: "Study", seeds: "_Seeds") -> Iterator[Repeat]:
    if study.compare is None:
        return
    name = study.compare.parameter
    levels = study.space[name].listed()
    for level in levels:
        found_with = [base for base in bases if name in base.params and base.params[name] == level]
        for base in found_with[: study.compare.top]:
            changed = [_changed(base.params, name, other, study.space) for other in levels]
            variants = [params for params in changed if params is not None]
            if len(variants) < 2:
                continue
            for index, seed in enumerate(seeds.of(base.params, study.compare.seeds)):
                pair = f"{base.number}/{index}"
                for params in variants:
                    yield Repeat(
                        source_trial=base.number,
                        params=params,
                        seed=seed,
                        seed_index=index,
                        purposes=("compare",),
                        pair_id=pair,
                        test=False,
                    )


def _referring(bases: list[_Configuration], study: "Study", seeds: "_Seeds") -> Iterator[Repeat]:
    for row in study.baselines:
        if row.at == "best" and not bases:
            continue
        base = bases[0] if row.at == "best" else _Configuration(None, {})
        changed = _Configuration(base.number, {**base.params, **row.settings})
        yield from _tested(changed, seeds.of(changed.params, row.seeds), "baseline", row.name)


def _tested(
    configuration: _Configuration, seeds: list[int], role: str, baseline: str | None = None
) -> Iterator[Repeat]:
    """A configuration with each of these seeds, evaluated on test images."""
    for index, seed in enumerate(seeds):
        yield Repeat(
            source_trial=configuration.number,
            params=configuration.params,
            seed=seed,
            seed_index=index,
            purposes=(role,),
            pair_id=None,
            test=True,
            baseline=baseline,
        )


def _changed(params: Mapping[str, Any], name: str, value: Any, space: Space) -> dict[str, Any] | None:
    """The configuration with another value of one parameter; None when it lacks a parameter that is active then."""
    given = {**params, name: value}
    active = space.active(given)
    if any(other not in given for other in active):
        return None
    return {other: given[other] for other in active}


def _distinct(stored: StoredStudy, space: Space) -> list[_Configuration]:
    """Configurations of the complete trials, the best first; of equal ones the best."""
    found: dict[str, _Configuration] = {}
    for trial in ranked_trials(stored):
        active = space.active(trial.params)
        params = {name: trial.params[name] for name in active if name in trial.params}
        found.setdefault(_text(params), _Configuration(trial.number, params))
    return list(found.values())


class _Seeds:
    """The list of fresh seeds that each configuration has; the longer list begins with the shorter one."""

    def __init__(self, study_seed: int, used: Collection[int]) -> None:
        self.study_seed, self.used = study_seed, set(used)

    def of(self, params: Mapping[str, Any], count: int) -> list[int]:
        seeds: list[int] = []
        attempt = 0
        while len(seeds) < count:
            seed = seed_of(_text([self.study_seed, "confirm", params, attempt]))
            if seed not in self.used and seed not in seeds:
                seeds.append(seed)
            attempt += 1
        return seeds


def _text(content: Any) -> str:
    return json.dumps(content, sort_keys=True)


def run_repeats(
    repeat_study: optuna.Study,
    repeats: Sequence[Repeat],
    lanes: Lanes,
    observers: Sequence[Observer],
    *,
    runs: Path = Path("mlruns"),
    clock: Clock = time.time,
) -> None:
    """Train the planned repeats that the storage does not hold yet; those that were interrupted go on first.

    Raises:
        UserError: as `search`.
    """
    _reassign(repeat_study, repeats)
    stored = repeat_study.get_trials(deepcopy=False)
    source = _Repeats(repeats, stored)
    Rounds("repeats", repeat_study, lanes, observers, runs=runs, clock=clock, source=source).run()


class _Repeats:
    """The planned runs, in order. One that failed is not tried again: its seed would fail again."""

    def __init__(self, plan: Sequence[Repeat], stored: Sequence[FrozenTrial]) -> None:
        self.plan = plan
        # Runs of an earlier plan that this one has no use for count as well: they are among those that ended.
        self.planned: int | None = len(plan) + sum(
            not any(_serves(trial, repeat) for repeat in plan) for trial in stored
        )

    def propose(
        self, trials: Sequence[FrozenTrial], proposals: Sequence[Proposal], elapsed: float, round_: int
    ) -> Proposal | str:
        for repeat in self.plan:
            if not any(_serves(trial, repeat) for trial in trials):
                return Proposal(number=len(trials), seed=repeat.seed, repeat=repeat)
        return "Every repeat is done."

    def prepare(self, trials: Sequence[FrozenTrial], round_: int, seconds: float) -> None: ...

    def params(self, trial: FrozenTrial) -> dict[str, Any]:
        return dict(stored_repeat(trial).params)

    def duplicate_of(self, stored: Mapping[str, Any], earlier: Sequence[FrozenTrial]) -> None:
        return None


def _is_run_of(trial: FrozenTrial, repeat: Repeat) -> bool:
    stored = stored_repeat(trial)
    return (stored.source_trial, stored.seed, stored.params) == (repeat.source_trial, repeat.seed, dict(repeat.params))


def _serves(trial: FrozenTrial, repeat: Repeat) -> bool:
    """Whether this run makes the planned one needless: it is the same, and it saw the test images if that is wanted."""
    return _is_run_of(trial, repeat) and (stored_repeat(trial).test or not repeat.test)


def _reassign(repeat_study: optuna.Study, repeats: Sequence[Repeat]) -> None:
    """Give runs of an earlier plan the purposes that they have in this one, after a study was extended.

    Optuna lets no finished trial change, so the record of the study says so (`StudyRecord.reassigned`).
    """
    reassigned = dict(study_record(repeat_study).reassigned)
    for trial in repeat_study.get_trials(deepcopy=False):
        stored = stored_repeat(trial)
        repeat = next((repeat for repeat in repeats if _is_run_of(trial, repeat)), None)
        if repeat is None and stored.baseline:
            # Its setting is no longer the best, or its row stood in an older file.
            reassigned[str(trial.number)] = {"purposes": [], "pair_id": None, "baseline": None}
        elif repeat is not None:
            serves = _serves(trial, repeat)
            purposes = dict.fromkeys([*stored.purposes, *repeat.purposes])
            reassigned[str(trial.number)] = {
                "purposes": list(purposes) if serves else [],
                "pair_id": (repeat.pair_id or stored.pair_id) if serves else None,
                "baseline": repeat.baseline if serves else None,
            }
    write_study(repeat_study, reassigned=reassigned)
