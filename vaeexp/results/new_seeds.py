"""What became of the runs with fresh seeds that a study asks for: of each configuration how many
were planned, are complete, and failed when.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import pandas as pd

from sweeps.results import Race
from vaeexp.results.statements import Statement, Statements
from vaeexp.words import format_value

PURPOSES = ("confirm", "compare", "baseline")


@dataclass(frozen=True, kw_only=True)
class Failures:
    """The runs of a configuration that failed of one kind."""

    kind: str
    """diverged, out_of_memory, crashed, timed_out or error."""
    epochs: tuple[int, ...]
    """The epoch in which each failed, in ascending order."""


@dataclass(frozen=True, kw_only=True)
class NewSeeds:
    """A configuration and the runs with fresh seeds that the study asks for, of one purpose."""

    purpose: Literal["confirm", "compare", "baseline"]
    source_trial: int | None
    """The trial of the search whose configuration it has or changes; None for the fixed
    settings.
    """
    baseline: str | None = None
    """Name of the baseline."""
    parameter: str | None = None
    """The parameter that is compared."""
    value: Any = None
    """Its value."""
    planned: int
    """Seeds that the study asks for."""
    complete: int
    failures: tuple[Failures, ...] = ()
    """Of each kind that occurred, the most frequent first."""

    @property
    def failed(self) -> int:
        return sum(len(failures.epochs) for failures in self.failures)

    @property
    def title(self) -> str:
        """Return `trial 7`, `baseline usual of trial 7` or `trial 7 with optimizer = adam`."""
        trial = "" if self.source_trial is None else f"trial {self.source_trial}"
        if self.purpose == "baseline":
            return f"baseline {self.baseline}" + (f" of {trial}" if trial else "")
        return (
            f"{trial} with {self.parameter} = {format_value(self.value)}"
            if self.purpose == "compare"
            else trial
        )


def failed_seeds(failures: Sequence[Failures], planned: int) -> Statements:
    """Return how many new seeds failed of each kind and when; empty where none did."""
    found = []
    for each in failures:
        first, last = each.epochs[0], each.epochs[-1]
        epochs = {"epoch": first} if first == last else {"first": first, "last": last}
        values = {"failed": len(each.epochs), "planned": planned, "kind": each.kind, **epochs}
        found.append(Statement("seeds.failed", values))
    return tuple(found)


def failures_of(runs: pd.DataFrame) -> tuple[Failures, ...]:
    """Return the failures among these runs by kind, the most frequent first."""
    failed = runs[runs["state"] == "failed"]
    # The epoch in which a run fails is not among those that it reported.
    kinds = [
        Failures(kind=str(kind), epochs=tuple(sorted(int(n) + 1 for n in own["epochs"])))
        for kind, own in failed.groupby("failure", dropna=False)
    ]
    return tuple(sorted(kinds, key=lambda each: -len(each.epochs)))


def new_seeds(
    trials: pd.DataFrame,
    spec: Mapping[str, Any],
    race: Race | None,
    sources: Mapping[int, Sequence[tuple[str, int | None]]],
) -> list[NewSeeds]:
    """Return each configuration that is confirmed, compared or a baseline, in this order, also
    those without a complete run.

    Args:
        trials: as `Results.trials`.
        spec: of the study.
        race: that of the confirmation.
        sources: place of a run in the table → name of each baseline that it belongs to, and the
            trial that this one changes.
    """
    made = []
    for asked, places in _grouped(trials, sources).items():
        runs = trials.loc[places]
        complete = int(((runs["state"] == "complete") & runs["objective"].notna()).sum())
        planned = _planned(spec, race, asked)
        own = NewSeeds(
            **asked._asdict(), planned=planned, complete=complete, failures=failures_of(runs)
        )
        made.append(replace(own, planned=max(planned, complete + own.failed)))
    return sorted(made, key=lambda each: PURPOSES.index(each.purpose))


class _Asked(NamedTuple):
    """What a study asks for, with the fields of `NewSeeds`."""

    purpose: Literal["confirm", "compare", "baseline"]
    source_trial: int | None
    baseline: str | None = None
    parameter: str | None = None
    value: Any = None


def _grouped(
    trials: pd.DataFrame, sources: Mapping[int, Sequence[tuple[str, int | None]]]
) -> dict[_Asked, list[int]]:
    """Return what the study asks for → places of its runs in the table."""
    groups: dict[_Asked, list[int]] = {}
    repeats = trials[trials["repeat"]]
    for place, (_, run) in zip(repeats.index.tolist(), repeats.iterrows(), strict=True):
        asked = [_Asked("baseline", source, name) for name, source in sources.get(place, ())]
        if "confirm" in run["purposes"]:
            asked.append(_Asked("confirm", int(run["source_trial"])))
        for pair in run["pair_ids"]:
            parameter, _, rest = pair.partition(":")
            value = run[f"params.{parameter}"]
            value = tuple(value) if isinstance(value, list) else value
            asked.append(_Asked("compare", int(rest.partition("/")[0]), None, parameter, value))
        for each in asked:
            groups.setdefault(each, []).append(place)
    return groups


def _planned(spec: Mapping[str, Any], race: Race | None, asked: _Asked) -> int:
    if asked.purpose == "baseline":
        return int(((spec.get("baselines") or {}).get(asked.baseline) or {}).get("seeds") or 0)
    if asked.purpose == "confirm" and race is not None:
        return race.seeds.get(asked.source_trial or 0, 0)
    return int((spec.get(asked.purpose) or {}).get("seeds") or 0)


def seeds_of(seeds: Sequence[NewSeeds], source: int | None, baseline: str | None) -> dict[str, Any]:
    """Return `planned` and `failures` of a confirmed configuration, or of a baseline; empty where
    they are not known.
    """
    own = [
        each
        for each in seeds
        if (each.source_trial, each.baseline, each.parameter) == (source, baseline, None)
    ]
    return {"planned": own[0].planned, "failures": own[0].failures} if own else {}
