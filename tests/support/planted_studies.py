"""Random studies whose truth is known, as arrays; and any of them as the tables that a real study
is read as.

What real studies vary is drawn anew for each: trials, compared configurations, seeds, the shape of
the noise, and how far configurations differ in their own effect.
"""

import bisect
import math
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.stats import binomtest
from synthetic_study import epochs_frame, study_attributes, trials_frame

from sweeps.results import Results
from vaeexp.results.parameters import searched_parameter

STUDIES = 2_000
SEARCH = {
    "learning_rate": {"kind": "float", "low": 1e-4, "high": 1e-2, "log": True},
    "beta": {"kind": "float", "low": 0.01, "high": 10.0, "log": True},
    "latent_size": {"kind": "int", "low": 2, "high": 64, "log": True},
    "optimizer": {"kind": "choice", "values": ["adam", "adamax"]},
    "prior": {"kind": "choice", "values": ["normal", "mixture", "vampprior"]},
}
EMPTY = pd.DataFrame({"repeat": [], "duplicate_of": [], "number": [], "purposes": []})
PARAMETERS = {name: searched_parameter(name, section, EMPTY) for name, section in SEARCH.items()}
TRIALS = (25, 32, 40, 60, 100)
NOISES = ("normal", "heavy", "skewed")
EFFECT, FLIP = 3.0, 6.0
"""Nats by which adamax is worse where an effect is planted, and worse or better where an
interaction is.
"""
FLIPS_AT = 1e-3
"""The learning rate below which adamax is worse and above which it is better, where an interaction
is planted.
"""


def exact_interval(count: int, studies: int) -> tuple[float, float]:
    """Return the exact 99 % binomial interval of a rate (Clopper and Pearson 1934)."""
    found = binomtest(int(count), studies).proportion_ci(0.99, method="exact")
    return float(found.low), float(found.high)


def at_most(count: int, rate: float, studies: int) -> bool:
    """Tell whether the exact interval of a count reaches down to the nominal rate."""
    return exact_interval(count, studies)[0] <= rate


def at_least(count: int, rate: float, studies: int) -> bool:
    """Tell whether the exact interval of a count reaches up to the nominal rate."""
    return exact_interval(count, studies)[1] >= rate


def noise(random: np.random.Generator, kind: str, size: tuple[int, ...] | int) -> np.ndarray:
    """Mean 0 and standard deviation 1: normal, Student's t with 3 degrees of freedom, or
    exponential.
    """
    if kind == "heavy":
        return random.standard_t(3, size) / math.sqrt(3)
    return random.normal(0, 1, size) if kind == "normal" else random.exponential(1, size) - 1


def random_search(random: np.random.Generator, count: int) -> dict[str, np.ndarray]:
    """The columns of a random search over `SEARCH`, all trials complete."""
    return {
        "number": np.arange(count),
        "params.learning_rate": 10 ** random.uniform(-4, -2, count),
        "params.beta": 10 ** random.uniform(-2, 1, count),
        "params.latent_size": np.exp(random.uniform(math.log(1.5), math.log(64.5), count))
        .round()
        .astype(int),
        "params.optimizer": random.choice(
            np.array(SEARCH["optimizer"]["values"], dtype=object), count
        ),
        "params.prior": random.choice(np.array(SEARCH["prior"]["values"], dtype=object), count),
        "state": np.full(count, "complete", dtype=object),
    }


def from_optimum(columns: dict[str, np.ndarray]) -> np.ndarray:
    """Nats that β costs: 10 for each power of ten away from 1."""
    return 10 * abs(np.log10(columns["params.beta"]))


@dataclass(frozen=True)
class Planted:
    """A study with a known truth."""

    columns: dict[str, np.ndarray]
    """Trials of the search by number, with state and objective."""
    compared: np.ndarray
    """Places of the trials whose configurations are compared: [C]."""
    paired: np.ndarray
    """Validation −ELBO of adam and of adamax: [C, seeds, 2]."""
    confirmed: np.ndarray
    """Validation and test −ELBO of the best configurations of the search: [K, seeds, 2]."""

    @property
    def differences(self) -> np.ndarray:
        """adamax − adam: [C, seeds]."""
        return self.paired[..., 1] - self.paired[..., 0]

    def table(self) -> pd.DataFrame:
        """The trials of the search, complete and pruned, the lowest objective first."""
        order = np.argsort(self.columns["objective"], kind="stable")
        return pd.DataFrame({name: values[order] for name, values in self.columns.items()})

    def pairs(self) -> pd.DataFrame:
        """Return the comparison's pairs as `sweeps.results.matched_pairs` does."""
        seeds = self.paired.shape[1]
        return pd.DataFrame(
            {
                "source_trial": np.repeat(self.compared, seeds),
                "seed_index": np.tile(np.arange(seeds), len(self.compared)),
                "difference": self.differences.ravel(),
            }
        )


def search_of(
    kind: str, random: np.random.Generator, shape: str, trials: tuple[int, ...] = TRIALS
) -> dict[str, np.ndarray]:
    """Draw the search of a scenario, of one of these numbers of trials."""
    count = int(random.choice(trials))
    columns = random_search(random, count)
    spread = noise(random, shape, count)
    objective = 100 + spread
    adamax = columns["params.optimizer"] == "adamax"
    if kind == "effect":
        objective = 100 + from_optimum(columns) + spread
    if kind == "interaction":
        above = columns["params.learning_rate"] > FLIPS_AT
        objective = objective + FLIP * (adamax != above)
    if kind == "hole":
        normal = columns["params.prior"] == "normal"
        columns["params.beta"][normal] = 10 ** random.uniform(-2, -1, int(normal.sum()))
        columns["params.beta"][~normal] = 10 ** random.uniform(-1, 1, int((~normal).sum()))
        objective = 100 + from_optimum(columns) + spread / 2
    if kind == "pruning":
        # adamax is worse and mostly pruned; the survivor that it has is the best of all trials.
        objective = objective + EFFECT * adamax
        lucky = np.flatnonzero(adamax)[:1]
        pruned = adamax & (random.random(count) < 0.9)
        pruned[lucky] = False
        columns["state"][pruned] = "pruned"
        objective[pruned] += random.uniform(5, 30, int(pruned.sum()))
        objective[lucky] = objective.min() - 2
    if kind == "pruned at random":
        # A median rule on what trials had reached by then, which tells of their end and of no
        # parameter.
        early = objective + 10 + noise(random, shape, count)
        before, pruned = [], np.zeros(count, dtype=bool)
        for place, value in enumerate(early):
            pruned[place] = place > 5 and value > before[place // 4]
            bisect.insort(before, value)
        columns["state"][pruned] = "pruned"
        objective = np.where(pruned, early, objective)
    return columns | {"objective": objective}


def planted(
    kind: str,
    random: np.random.Generator,
    *,
    shape: str = "normal",
    own: float = 0.0,
    compared=(4, 3),
    confirmed=(3, 3),
    trials=TRIALS,
) -> Planted:
    """Draw a study: `effect`, `interaction`, `none`, `hole`, `pruning`, `pruned at random` or
    `tie`.

    Args:
        shape: of the noise of single runs, `NOISES`.
        own: standard deviation over configurations of the difference between adamax and adam.
        compared: configurations and seeds of the matched pairs.
        confirmed: configurations and seeds of the confirmation.
        trials: how many the search may have.
    """
    columns = search_of(kind, random, shape, trials)
    complete = np.flatnonzero(columns["state"] == "complete")
    order = complete[np.argsort(columns["objective"][complete], kind="stable")]
    places = order[: compared[0]]
    size = (len(places), compared[1])
    shift = np.zeros(len(places)) + (EFFECT if kind == "effect" else 0.0)
    if kind == "interaction":
        shift = np.where(columns["params.learning_rate"][places] > FLIPS_AT, -FLIP, FLIP)
    shift = shift + own * noise(random, "normal", len(places))
    shared = columns["objective"][places][:, None] + noise(random, shape, compared[1])
    runs = noise(random, shape, (*size, 2))
    runs[..., 1] += shift[:, None]
    return Planted(
        columns, places, shared[..., None] + runs, confirmation(random, shape, confirmed)
    )


def confirmation(random: np.random.Generator, shape: str, size: tuple[int, int]) -> np.ndarray:
    """Validation and test −ELBO of configurations that are equally good, on shared seeds: [K,
    seeds, 2].

    A run that is lucky on validation is so on test: both are of one model. Only the images differ.
    """
    run = 100 + 2 * noise(random, shape, size[1]) + noise(random, shape, size)
    return np.stack([run, run + 4 + 0.2 * noise(random, "normal", size)], axis=-1)


def results_of(study: Planted, name: str = "planted") -> Results:
    """The tables of the study, as if it had been trained: search, confirmation and matched
    pairs.
    """
    columns = study.columns
    count = len(columns["number"])
    rows = [
        {
            "repeat": False,
            "number": place,
            "name": f"{name}/{place}",
            "epochs": 10 if columns["state"][place] == "complete" else 3,
            "best_epoch": 3,
            "seed": place,
            "started": 100.0 * place,
            "ended": 100.0 * place + 50,
            "seconds": 50.0,
            "ended_round": place,
            **{key: columns[key][place] for key in ("state", "objective")},
            **{f"params.{own}": columns[f"params.{own}"][place] for own in SEARCH},
        }
        for place in range(count)
    ]
    complete = np.flatnonzero(columns["state"] == "complete")
    best = complete[np.argsort(columns["objective"][complete], kind="stable")][
        : len(study.confirmed)
    ]
    repeats = []
    for place, runs in zip(best, study.confirmed, strict=True):
        for seed, (validation, test) in enumerate(runs):
            tested = {
                "result.test/neg_elbo": test,
                "result.test/distortion": test - 20,
                "result.test/rate": 20.0,
            }
            repeats.append(
                _repeat(rows[place], seed, validation) | {"purposes": ("confirm",)} | tested
            )
    for place, runs in zip(study.compared, study.paired, strict=True):
        for seed, two in enumerate(runs):
            for optimizer, validation in zip(SEARCH["optimizer"]["values"], two, strict=True):
                pair = {"purposes": ("compare",), "pair_ids": (f"optimizer:{place}/{seed}",)}
                repeats.append(
                    _repeat(rows[place], seed, validation) | pair | {"params.optimizer": optimizer}
                )
    repeats = [
        row | {"number": place, "name": f"{name}/r{place}"} for place, row in enumerate(repeats)
    ]
    spec = study_attributes().spec | {"search": SEARCH, "name": name}
    spec |= {
        "compare": {
            "parameters": ["optimizer"],
            "top": len(study.compared),
            "seeds": study.paired.shape[1],
        }
    }
    spec |= {
        "confirm": {"top": len(best), "seeds": study.confirmed.shape[1]},
        "pruner": {"name": "none"},
    }
    record = replace(study_attributes(spec=spec), name=name)
    return Results(name, record, trials_frame(rows + repeats, SEARCH), epochs_frame([]))


def _repeat(row: dict, seed: int, validation: float) -> dict:
    """A run of the configuration of a trial with a fresh seed."""
    return row | {
        "repeat": True,
        "state": "complete",
        "objective": float(validation),
        "source_trial": row["number"],
        "seed_index": seed,
        "seed": 10_000 + seed,
        "started": 1e5,
        "ended": 1e5 + 50,
    }
