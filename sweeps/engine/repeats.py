"""Which configurations are trained once the search is over: to confirm the best, to compare in pairs, and for baseline.

Confirm: the best configurations with fresh seeds, the only runs that look at the test set. Compare: for each value of
one parameter the best configurations found with it, trained with *every* value of it and otherwise equal, seed for seed,
so that the difference within a pair is due to the parameter. Baselines: the rows of the study file, with test figures.
All draw the seeds of a configuration from the same list; what several ask for is trained once.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sweeps.seeds import seed_of
from sweeps.storage.study_record import StoredStudy
from sweeps.storage.trial_record import Repeat
from sweeps.study.space import Space

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
            variants = [_changed(base.params, name, other, study.space) for other in levels]
            variants = [params for params in variants if params is not None]
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
    complete = [
        (trial.objective, trial.number, trial)
        for trial in stored.trials
        if trial.state == "complete" and trial.duplicate_of is None and trial.objective is not None
    ]
    found: dict[str, _Configuration] = {}
    for _, number, trial in sorted(complete, key=lambda entry: entry[:2]):
        active = space.active(trial.params)
        params = {name: trial.params[name] for name in active if name in trial.params}
        found.setdefault(_text(params), _Configuration(number, params))
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
