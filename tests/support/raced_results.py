"""A synthetic study whose confirmation was a race, in any state of it."""

from dataclasses import replace

import numpy as np
import pandas as pd
import yaml
from synthetic_study import make_results, study_attributes

from sweeps.results import Results
from sweeps.results.racing import run_race

PLAN = {"top": 5, "seeds": 6, "race": True}
TESTED = {"neg_elbo": 0.3, "iw_nll": -4.8, "distortion": -20.0, "rate": 20.3}
"""Result on test → nats above the validation −ELBO of the run."""


def raced_results(
    *, spread: float = 1.0, apart: float = 1.0, failing: int | None = None, looks: int | None = None
) -> Results:
    """A study of 40 trials whose best five raced over at most 6 seeds.

    Args:
        spread: standard deviation of a run with the same configuration, in nats; that of a seed
            that all share is 2.
        apart: by how much the worth of the configurations differs, as a share of their differences
            in the search.
        failing: place of the configuration, from 0, whose run with seed index 1 failed.
        looks: the race is going on after so many seeds; by default it is over.
    """
    plain = make_results(confirm=False)
    trials = plain.trials
    best = trials[
        ~trials["repeat"] & (trials["state"] == "complete") & trials["duplicate_of"].isna()
    ]
    best = best.sort_values("objective").head(PLAN["top"])
    random = np.random.default_rng(17)
    worth = best["objective"].to_numpy() * apart + best["objective"].min() * (1 - apart)
    values = (
        worth[:, None]
        + 2 * random.normal(size=PLAN["seeds"])
        + spread * random.normal(size=(len(best), PLAN["seeds"]))
    )
    if failing is not None:
        values[failing, 1] = np.nan
    known = {int(number): own.tolist() for number, own in zip(best["number"], values, strict=True)}
    race = run_race(known, PLAN["seeds"])
    asked = (
        race.seeds if looks is None else {number: min(n, looks) for number, n in race.seeds.items()}
    )
    runs = [
        (place, seed)
        for seed in range(PLAN["seeds"])
        for place, number in enumerate(known)
        if seed < asked[number]
    ]
    rows, epochs, first = [], [], int(trials.loc[trials["repeat"], "number"].max()) + 1
    for number, (place, seed) in enumerate(runs, start=first):
        row, curve = _run(plain, best.iloc[place], number, seed, float(values[place, seed]), random)
        rows.append(row)
        epochs.append(curve)
    spec = plain.study.spec | {"confirm": PLAN}
    record = plain.study.provenance
    text = record["study_file"] + yaml.safe_dump({"confirm": PLAN})
    study = study_attributes(
        spec=spec, provenance=record | {"study_file": text}, finished=looks is None
    )
    both = pd.concat([trials, pd.DataFrame(rows)], ignore_index=True).astype(
        trials.dtypes.to_dict()
    )
    return replace(
        plain,
        study=study,
        trials=both,
        epochs=pd.concat([plain.epochs, *epochs], ignore_index=True),
    )


def _run(
    plain: Results,
    base: pd.Series,
    number: int,
    seed: int,
    value: float,
    random: np.random.Generator,
):
    """The row and the epochs of a run with a fresh seed: those of the trial that found its
    configuration, moved to its value.
    """
    failed = np.isnan(value)
    shift = 0.0 if failed else value - base["objective"]
    curve = plain.epochs[~plain.epochs["repeat"] & (plain.epochs["number"] == base["number"])]
    curve = curve.head(3) if failed else curve
    curve = curve.assign(repeat=True, number=number, objective=curve["objective"] + shift)
    curve = curve.assign(
        **{
            name: curve[name] + shift
            for name in ("val/neg_elbo", "val/distortion", "train/neg_elbo")
        }
    )
    row = base.to_dict() | {
        "repeat": True,
        "number": number,
        "name": f"{plain.name}/r{number}",
        "seed": 500 + seed,
        "seed_index": seed,
        "source_trial": base["number"],
        "purposes": ("confirm",),
        "pair_ids": (),
        "folder": None,
        "epochs": len(curve),
        "objective": float(curve["objective"].min()),
        "best_epoch": int(curve.loc[curve["objective"].idxmin(), "epoch"]),
    }
    if failed:
        return row | {
            "state": "failed",
            "failure": "diverged",
            "message": "loss is not finite",
        }, curve
    luck = 0.1 * random.normal()
    tested = {f"result.test/{name}": value + above + luck for name, above in TESTED.items()}
    return row | tested | {
        "result.test/images": 500.0,
        "result.test/importance_samples": 500.0,
    }, curve
