"""Studies of random configurations with known values, the same at each call: without repeats, and
without curves unless `with_curves` adds them.
"""

import math
from dataclasses import replace

import numpy as np
import yaml
from synthetic_study import (
    epochs_frame,
    make_results,
    part,
    study_attributes,
    trials_frame,
    with_baselines,
)

from sweeps.results import Results
from sweeps.state.stages import Stage
from sweeps.study.ranges import Growth

SPACE = {
    "beta": {"kind": "float", "low": 0.01, "high": 10.0, "log": True},
    "learning_rate": {"kind": "float", "low": 1e-4, "high": 1e-2, "log": True},
    "dropout": {"kind": "float", "low": 0.0, "high": 0.5},
    "latent_size": {"kind": "int", "low": 2, "high": 64, "log": True},
    "layers": {"kind": "int", "low": 1, "high": 5},
    "prior": {"kind": "choice", "values": ["normal", "mixture", "vampprior"]},
    "optimizer": {"kind": "choice", "values": ["adam", "adamax"]},
    "components": {
        "kind": "int",
        "low": 2,
        "high": 64,
        "when": {"prior": ["mixture", "vampprior"]},
    },
}


def drawn(count: int, seed: int = 0, space: dict = SPACE) -> list[dict]:
    """Settings at random, even on the scale of each parameter."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        row = {}
        for name, given in space.items():
            if any(row[parent] not in wanted for parent, wanted in given.get("when", {}).items()):
                continue
            if given["kind"] == "choice":
                row[name] = given["values"][random.integers(len(given["values"]))]
                continue
            low, high = given["low"], given["high"]
            value = (
                random.uniform(math.log(low), math.log(high))
                if given.get("log")
                else random.uniform(low, high)
            )
            value = math.exp(value) if given.get("log") else value
            row[name] = round(value) if given["kind"] == "int" else value
        found.append(row)
    return found


def study(settings: list[dict], values, *, space: dict = SPACE, states=None) -> Results:
    rows = [
        {
            "repeat": False,
            "number": number,
            "name": f"trial-{number:05d}",
            "objective": float(value),
            "epochs": 1,
            "state": "complete" if states is None else states[number],
            "best_epoch": 1,
            **{f"params.{name}": given for name, given in row.items()},
        }
        for number, (row, value) in enumerate(zip(settings, values, strict=True))
    ]
    spec = study_attributes().spec | {"search": space}
    return Results("made", study_attributes(spec=spec), trials_frame(rows, space), epochs_frame([]))


def bowl(count: int, seed: int = 0, noise: float = 0.3) -> Results:
    """A study whose value depends on the learning rate (best at 0.002), less on the optimizer, and
    on little else.
    """
    settings = drawn(count, seed)
    return study(settings, _bowl(settings, seed=seed, noise=noise))


def _bowl(settings: list[dict], *, seed: int, noise: float) -> np.ndarray:
    values = [
        100
        + 20 * (math.log10(row["learning_rate"]) - math.log10(0.002)) ** 2
        + 3 * (row["optimizer"] == "adam")
        for row in settings
    ]
    return values + np.random.default_rng(seed + 1000).normal(0, noise, len(settings))


def with_curves(
    results: Results, *, epochs: int = 3, lengths: dict[int, int] | None = None
) -> Results:
    """Give each trial a curve that falls by 5 nats an epoch to its objective; some are shorter and
    end above it.
    """
    rows, trials = [], results.trials.copy()
    for place, row in trials.iterrows():
        length = (lengths or {}).get(int(row["number"]), epochs)
        values = [
            float(row["objective"]) + 5.0 * (epochs - epoch) for epoch in range(1, length + 1)
        ]
        own = {"repeat": False, "number": int(row["number"])}
        rows += [
            {**own, "epoch": n, "round": n, "objective": value}
            for n, value in enumerate(values, start=1)
        ]
        trials.loc[place, ["epochs", "objective"]] = [length, values[-1]]
    return replace(results, trials=trials, epochs=epochs_frame(rows))


def grown() -> Results:
    """A bowl whose search widened the learning rate, the layers, and the learning rate again."""
    narrow = SPACE | {
        "learning_rate": {"kind": "float", "low": 1e-4, "high": 4e-4, "log": True, "grow": True},
        "layers": {"kind": "int", "low": 1, "high": 3, "grow": True},
    }
    ends = (("learning_rate", 1.6e-3, 24), ("layers", 4, 36), ("learning_rate", 6.4e-3, 44))
    steps = [
        Growth(parameter=name, bound="upper", end=end, round=at // 4, trial=at)
        for name, end, at in ends
    ]
    settings, space = drawn(24, space=narrow), narrow
    for step, until in zip(steps, (36, 44, 60), strict=True):
        space = space | {step.parameter: space[step.parameter] | {"high": step.end}}
        settings += drawn(until - step.trial, seed=until, space=space)
    found = study(settings, _bowl(settings, seed=0, noise=0.3), space=narrow)
    record = found.study.provenance | {"study_file": yaml.safe_dump({"search": narrow})}
    spec = found.study.spec
    stages = [
        Stage(trial=step.trial, spec=spec, grown=tuple(steps[: place + 1]))
        for place, step in enumerate(steps)
    ]
    changes = {"stages": (Stage(spec=spec), *stages), "provenance": record}
    return replace(found, study=replace(found.study, **changes))


OBJECTIVES = {"rate": "val/rate", "distortion": "val/distortion"}


def two_objectives(trials=10**9):
    """The first trials of a search for rate and distortion at once, with a baseline and no
    confirmation.
    """
    row = {"title": "As fixed", "at": "fixed", "seeds": 3, "settings": {"beta": 1.0}}
    full = with_baselines(make_results(confirm=False), {"fixed": row})
    runs = full.trials
    spec = full.study.spec | {"objectives": OBJECTIVES, "confirm": None, "compare": None}
    kept = runs[~runs["repeat"] & (runs["number"] < trials) | runs["baseline"].notna()]
    return part(full, kept, study=replace(full.study, spec=spec))
