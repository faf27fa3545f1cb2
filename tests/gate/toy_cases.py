"""The toy studies of the gate: the matrix of lanes, pruners and samplers, and one study for each
further feature.
"""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

LANES = (1, 4, 16, 64)
PRUNERS = {
    "none": "none",
    "median": "{name: median, startup_trials: 3, warmup_epochs: 1}",
    "hyperband": "{name: hyperband, min_epochs: 1, factor: 2}",
    "promotion": "{name: promotion, rungs: [1, 3], factor: 2}",
}
SAMPLERS = {
    "tpe": "{name: tpe, startup_trials: 5}",
    "gp": "{name: gp, startup_trials: 6}",
    "qmc": "qmc",
    "curves": "{name: curves, startup_trials: 4}",
}
KILLS = ("none", "early", "mid-round", "late")
TRIALS = {1: 12, 4: 16, 16: 34, 64: 84}
"""Lanes → trials of the search."""
EPOCHS = 6


class Training(BaseModel):
    """The settings of the toy."""

    epochs: int = EPOCHS
    x: float = 0.5
    y: float = 0.01
    n: int = 3
    c: str = "a"
    d: str = "p"
    warm: int = 0


@dataclass(frozen=True)
class Step:
    """One call of `run_study`."""

    study: str
    """The study file."""
    name: str = "toy"
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of `run_study`."""
    load: Mapping[str, Any] = field(default_factory=dict)
    """Of `load_study`."""


@dataclass(frozen=True)
class Case:
    name: str
    steps: tuple[Step, ...]
    lanes: int
    kills: tuple[str, ...] = ("none",)
    make: str = "plain"
    """Which lanes: `plain`, `eager` (each of two workers begins its next round at once) or
    `workers` (processes).
    """
    failing: bool = True


SPACE = "x: {low: 0.0, high: 1.0}, y: {low: 1.0e-4, high: 1.0, log: true}, n: {low: 1, high: 5}"


def study(
    sampler: str = SAMPLERS["tpe"],
    pruner: str = "none",
    trials: int = 12,
    space: str = SPACE + ", c: {values: [a, b, c]}",
    more: str = "",
    confirm: str = "{top: 2, seeds: 2}",
    budget: str = "",
) -> str:
    return f"""
question: Which settings of the toy are best?
train: {{epochs: {EPOCHS}}}
search: {{{space}}}
seed: 7
sampler: {sampler}
pruner: {pruner}
budget: {{{budget or f"trials: {trials}"}}}
confirm: {confirm}
{more}
"""


def matrix(quick: bool) -> Iterator[Case]:
    """Yield each pair of a sampler and a pruner with each number of lanes; quick: the sampler and
    the kill go round.
    """
    turns = itertools.count()
    for (sampler, sampled), (pruner, pruned), lanes in itertools.product(
        SAMPLERS.items(), PRUNERS.items(), LANES
    ):
        if quick and (lanes in (1, 64) or (sampler == "gp" and lanes != 4)):
            continue
        kills = ("none", KILLS[1 + next(turns) % 3]) if quick else KILLS
        trials = TRIALS[lanes]
        if sampler == "gp":  # a model takes a tenth of a second
            trials = lanes + 10
        yield Case(
            f"{sampler} {pruner} {lanes} lanes",
            (Step(study(sampled, pruned, trials)),),
            lanes,
            kills,
        )


RACE = "{top: 3, seeds: 5, race: true, late: 2}"
REPEATS = """
compare: {parameters: [c], top: 2, seeds: 2}
baselines:
  plain: {title: plain, seeds: 2, settings: {x: 0.9, c: b}}
  best_n: {at: best, seeds: 2, settings: {n: 5}}
"""
CONDITIONAL = "c: {values: [a, b]}, d: {values: [p, q], when: {c: b}}, n: {low: 1, high: 3}"
ALL_KILLS = ("none", "early", "mid-round", "late", "add", "discard", "interrupt")


def features(quick: bool) -> Iterator[Case]:
    """Yield a study for each feature that the matrix lacks."""
    kills = ("none", "mid-round") if quick else ALL_KILLS
    for lanes in (4,) if quick else (1, 4, 16):
        yield from _features(lanes, kills)
    for make, lanes in (("eager", 16), ("workers", 4), ("workers", 16)):
        for pruner in ("median", "promotion"):
            if quick and (make, pruner) == ("workers", "median"):
                continue
            name = f"{make} {pruner} {lanes} lanes"
            text = study("tpe", PRUNERS[pruner], 2 * lanes + 6)
            slow = make == "workers"
            yield Case(
                name, (Step(text),), lanes, kills if not slow else ("none", "mid-round"), make
            )


def _features(lanes: int, kills: tuple[str, ...]) -> Iterator[Case]:
    trials, tpe, curves = 14 + lanes, SAMPLERS["tpe"], SAMPLERS["curves"]
    promotion, median = PRUNERS["promotion"], PRUNERS["median"]

    def case(
        name: str, *steps: Step | str, failing: bool = True, ends: tuple[str, ...] = kills
    ) -> Case:
        whole = tuple(step if isinstance(step, Step) else Step(step) for step in steps)
        return Case(f"{name} {lanes} lanes", whole, lanes, ends, failing=failing)

    # the repeats
    yield case("repeats", study(tpe, median, trials, more=REPEATS))
    yield case("race", study(tpe, promotion, trials, more=REPEATS, confirm=RACE), failing=False)
    # two objectives
    two = "objectives: [rate, distortion]"
    metrics = {"metrics": {"rate": "val/rate", "distortion": "val/distortion"}}
    for pruner in ("none", "median", "promotion"):
        text = study(tpe, PRUNERS[pruner], trials, confirm="", more=two)
        yield case(f"two objectives {pruner}", Step(text, load=metrics))
    # ranges that grow
    growing = (
        "x: {low: 0.6, high: 1.0, grow: true}, y: {low: 0.1, high: 1.0, log: true, grow: true}"
    )
    for pruner in ("median", "promotion"):
        yield case(f"grow {pruner}", study(tpe, PRUNERS[pruner], trials + 16, space=growing))
    # larger budgets, changed studies
    for pruner in ("median", "promotion"):
        first, more = (study(curves, PRUNERS[pruner], count) for count in (trials, trials + 10))
        yield case(f"extend {pruner}", first, Step(more, options={"extend": True}))
    fixed = (
        study(tpe, promotion, trials),
        study(tpe, promotion, trials + 8, more="start: [{x: 0.31}]"),
    )
    yield case("changed", fixed[0], Step(fixed[1], options={"extend": True}))
    # transfer
    protocol = {"protocol": {"objective": "toy", "data": "none"}}
    for name, entry in (
        ("learn", "learn_from: source"),
        ("start", "start: [{study: source, top: 3}, {x: 0.3}]"),
    ):
        source = Step(study(tpe, median, trials), "source", protocol)
        yield case(name, source, Step(study(tpe, "none", trials, more=entry), options=protocol))
    # samplers and pruners beside those of the matrix
    yield case("duplicates", study(tpe, median, trials + 20, space=CONDITIONAL), failing=False)
    # A row of failures ends the study; it is counted in each process anew, so this one is not
    # killed.
    yield case(
        "failures", study("random", "none", 40, space="n: {low: 2, high: 3}"), ends=("none",)
    )
    yield case("grid", study("grid", "none", 60, space=CONDITIONAL))
    yield case(
        "random", study("random", "{name: percentile, percentile: 40, startup_trials: 2}", trials)
    )
    yield case(
        "halton",
        study("{name: qmc, sequence: halton}", "{name: successive_halving, factor: 2}", trials),
    )
    yield case(
        "cmaes", study("cmaes", "{name: patient, patience: 1, min_delta: 0.3}", trials, space=SPACE)
    )
    yield case(
        "threshold", study("random", "{name: threshold, upper: 4.2, warmup_epochs: 1}", trials)
    )
    univariate = "{name: tpe, multivariate: false, startup_trials: 3}"
    yield case(
        "univariate", study(univariate, "{name: patient, patience: 1, inner: median}", trials)
    )
    # warm-up, trials of different length, other budgets
    for pruner in ("median", "promotion"):
        warm = SPACE + ", warm: {values: [0, 2]}"
        yield case(
            f"warm-up {pruner}",
            Step(study(tpe, PRUNERS[pruner], trials, space=warm), load={"warmup": "warm"}),
        )
    lengths = "epochs: {low: 2, high: 6}, x: {low: 0.0, high: 1.0}"
    text = study(tpe, "none", trials, space=lengths).replace(f"train: {{epochs: {EPOCHS}}}", "")
    yield case("lengths", text)
    yield case("epochs", study(curves, promotion, budget="epochs: 50"))
    yield case("stale", study(tpe, median, budget="stale_trials: 8"))
    yield case("few kept", study(curves, promotion, trials, more="keep: {paused: 2}"))


def cases(quick: bool) -> list[Case]:
    """Return all toy cases; quick: a part that has each sampler, pruner and feature."""
    return [*matrix(quick), *features(quick)]
