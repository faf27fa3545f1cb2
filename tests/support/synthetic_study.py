"""A study made of numbers that look like MNIST, for the tests of figures and report: no training,
the same at each call.
"""

import functools
import itertools
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import yaml
from synthetic_arrays import blur, digits, evaluation_arrays

from sweeps.lanes import run_folder, run_name
from sweeps.results import Results
from sweeps.state.record import StudyRecord
from sweeps.storage.study_record import attributes_of, read_state
from vaeexp.results.tables import study_tables
from vaeexp.training.checkpoint import save_arrays

EPOCHS = 30
SEARCH = {
    "beta": {"kind": "float", "low": 0.01, "high": 10.0, "log": True},
    "latent_size": {"kind": "int", "low": 2, "high": 64, "log": True},
    "learning_rate": {"kind": "float", "low": 1e-4, "high": 1e-2, "log": True},
    "optimizer": {"kind": "choice", "values": ["adam", "adamax"]},
    "prior": {"kind": "choice", "values": ["normal", "mixture"]},
    "components": {
        "kind": "int",
        "low": 2,
        "high": 64,
        "log": True,
        "when": {"prior": ["mixture"]},
    },
}


def study_attributes(**changes) -> StudyRecord:
    """Return the attributes that the driver and the workload record on a study."""
    spec = {
        "name": "beta_mnist",
        "question": "Which β, latent size and optimizer are best, and is Adam or Adamax the "
        "better choice?",
        "data": {
            "dataset": "mnist",
            "binarisation": "static",
            "validation_size": 500,
            "train_size": None,
            "split_seed": 0,
        },
        "model": {
            "network": "mlp",
            "hidden": [512, 512],
            "activation": "leaky_relu",
            "latent_size": 20,
            "posterior": "gaussian",
            "prior": "normal",
            "components": 1,
            "likelihood": "bernoulli",
        },
        "train": {
            "beta": 1.0,
            "optimizer": "adam",
            "learning_rate": 1e-3,
            "batch_size": 128,
            "epochs": EPOCHS,
            "patience": 0,
        },
        "evaluation": {"importance_samples": 500, "active_threshold": 0.01, "pictures_every": 5},
        "search": SEARCH,
        "seed": 0,
        "sampler": {"name": "tpe"},
        "pruner": {"name": "median", "startup_trials": 6, "warmup_epochs": 4},
        "confirm": {"top": 3, "seeds": 3},
        "compare": {"parameters": ["optimizer"], "top": 4, "seeds": 2},
    }
    record = {
        "protocol": {
            "data": "mnist",
            "fingerprint": "9f2c" * 16,
            "split": "4500 train, 500 validation, seed 0",
            "binarisation": "static",
            "likelihood": "bernoulli",
            "posterior": "gaussian",
            "estimator": "importance-weighted, k = 500",
        },
        "data": {
            "title": "MNIST, 5,000-image subset",
            "subset": True,
            "train": 4000,
            "validation": 500,
            "test": 500,
            "fingerprint": "9f2c" * 16,
            "source": "vaeexp",
            "image_shape": [1, 28, 28],
        },
        "git": {"commit": "0123456789abcdef0123456789abcdef01234567", "dirty": False},
        "versions": {"python": "3.11.7", "torch": "2.15.0", "optuna": "5.0.0"},
        "hardware": {"processor": "x86_64", "cores": 2, "memory_gb": 7.8},
        "command": "vaeexp sweep --study beta_mnist",
        "study_file": "# A study | with ``` in a comment\nquestion: Which?\nseed: 0\n",
    }
    attributes = {
        "spec": spec,
        "question": spec["question"],
        "budget": {"trials": 40},
        "provenance": record,
        "seed": 0,
        "execution": {
            "device": "cpu",
            "precision": "float32",
            "workers": 2,
            "lanes": 4,
            "fuse": "off",
            "compile": "off",
        },
        "elapsed": 312.4,
        "stopped": "All 40 trials of the budget are done.",
        "finished": True,
    }
    return StudyRecord(name="beta_mnist", **json.loads(json.dumps(attributes)) | changes)


def make_results(
    trials: int = 40, *, confirm: bool = True, compare: bool = True, folder: Path | None = None
) -> Results:
    """A finished study: complete, pruned, failed and duplicate trials, confirmations of the best
    three, matched pairs.
    """
    random = np.random.default_rng(5)
    rows, epochs = [], []
    for number in range(trials):
        params = _draw(random, number)
        state = "failed" if number in (9, 23) else "complete"
        curve, kept = _train(params, random, number, state, rows)
        state = "pruned" if state == "complete" and kept < EPOCHS else state
        row = _row(number, params, state, curve[:kept], folder)
        if number == 31:
            row |= {
                "duplicate_of": 7,
                "state": "complete",
                "objective": rows[7]["objective"],
                "epochs": 0,
                "folder": None,
            }
            row |= {key: value for key, value in rows[7].items() if key.startswith("params.")}
        else:
            epochs += _epoch_rows(False, number, params, curve[:kept])
        rows.append(row)
    best = sorted(
        (row for row in rows if row["state"] == "complete" and pd.isna(row["duplicate_of"])),
        key=lambda row: row["objective"],
    )
    repeats = _repeats(best, random, confirm=confirm, compare=compare, folder=folder)
    epochs += [line for _, lines in repeats for line in lines]
    return Results(
        "beta_mnist",
        study_attributes(),
        trials_frame(rows + [row for row, _ in repeats]),
        epochs_frame(epochs),
    )


def repeated(results, count):
    """A study of so many trials of the search, each one of the given ones with noise on its
    value.
    """
    trials, epochs = results.trials, results.epochs
    own = trials[~trials["repeat"] & trials["duplicate_of"].isna()]
    times = math.ceil(count / len(own))
    random = np.random.default_rng(0)
    search = pd.concat([own] * times, ignore_index=True).head(count)
    source = search["number"].to_numpy()
    search = search.assign(
        number=np.arange(count),
        name=[f"trial-{number:04d}" for number in range(count)],
        objective=search["objective"] + random.exponential(1.0, count),
    )
    there = epochs[~epochs["repeat"]]
    numbers = pd.DataFrame({"number": source, "new": np.arange(count)})
    curves = (
        there.merge(numbers, on="number")
        .assign(number=lambda frame: frame["new"])
        .drop(columns="new")
    )
    return Results(
        results.name,
        results.study,
        pd.concat([search, trials[trials["repeat"]]], ignore_index=True),
        pd.concat([curves, epochs[epochs["repeat"]]], ignore_index=True),
    )


def trials_frame(rows: list[dict], search: dict | None = None) -> pd.DataFrame:
    """Rows as `sweeps.results.read_results` would return them: its columns, order and types."""
    empty = read_results_of_nothing(SEARCH if search is None else search).trials
    usual = {"stage": 1, "counts": True}
    frame = pd.DataFrame(
        {
            name: pd.Series([row.get(name, usual.get(name)) for row in rows], dtype=kind)
            for name, kind in empty.dtypes.items()
        }
    )
    for name in {name for row in rows for name in row if name.startswith("result.")} - set(frame):
        frame[name] = pd.Series([row.get(name) for row in rows], dtype="float64")
    for name in ("purposes", "pair_ids"):
        frame[name] = frame[name].map(lambda several: several if isinstance(several, tuple) else ())
    return frame.sort_values(["repeat", "number"], ignore_index=True)


def epochs_frame(rows: list[dict]) -> pd.DataFrame:
    empty = read_results_of_nothing(SEARCH).epochs
    return pd.DataFrame(
        {
            name: pd.Series([row.get(name) for row in rows], dtype=kind)
            for name, kind in empty.dtypes.items()
        }
    )


def read_results_of_nothing(search: dict) -> Results:
    """Return the results of a study that has no trial yet: the real columns and types."""
    return _read_results_of_nothing(json.dumps(search))


@functools.cache
def _read_results_of_nothing(text: str) -> Results:
    search = json.loads(text)
    storage = optuna.storages.InMemoryStorage()
    study = optuna.create_study(study_name="beta_mnist", storage=storage)
    for name, value in attributes_of(
        study_attributes(spec=study_attributes().spec | {"search": search})
    ).items():
        study.set_user_attr(name, value)
    return study_tables(read_state(storage, "beta_mnist"), Path("mlruns"))


def _draw(random: np.random.Generator, number: int) -> dict:
    centre = 0.0 if number > 12 and random.random() < 0.7 else None
    beta = 10 ** (random.normal(0, 0.35) if centre is not None else random.uniform(-2, 1))
    params = {
        "beta": float(np.clip(beta, 0.01, 10)),
        "latent_size": round(2 ** random.uniform(1, 6)),
        "learning_rate": float(10 ** random.uniform(-4, -2)),
        "optimizer": str(random.choice(["adam", "adamax"])),
        "prior": str(random.choice(["normal", "mixture"])),
    }
    return params | (
        {"components": round(2 ** random.uniform(1, 6))} if params["prior"] == "mixture" else {}
    )


def _floor(params: dict) -> tuple[float, float]:
    """Rate and distortion that training of these parameters tends to."""
    log_beta = math.log10(params["beta"])
    rate = 26 * 10 ** (-0.55 * log_beta) * (1 - math.exp(-params["latent_size"] / 7))
    miss = 4 * (math.log10(params["learning_rate"]) + 2.9) ** 2 + (
        1.2 if params["optimizer"] == "adam" else 0
    )
    distortion = 68 + 95 * math.exp(-rate / 9) + miss - (1.5 if params["prior"] == "mixture" else 0)
    return rate, distortion


def _train(
    params: dict, random: np.random.Generator, number: int, state: str, rows: list
) -> tuple[np.ndarray, int]:
    """A curve of (rate, distortion) [EPOCHS, 2] and the epochs kept before failure or pruning."""
    rate, distortion = _floor(params)
    steps = np.arange(1, EPOCHS + 1)
    fall = np.exp(
        -steps
        * (0.2 + 60 * params["learning_rate"] * (1 if params["learning_rate"] < 5e-3 else 0.3))
    )
    rates = rate * (1 - 0.6 * fall) + random.normal(0, 0.15, EPOCHS)
    distortions = distortion + 90 * fall + random.normal(0, 0.25, EPOCHS)
    curve = np.stack([rates, distortions], axis=1)
    if state == "failed":
        return curve, 3 if number == 9 else 0
    done = [row["objective"] for row in rows if row["state"] == "complete"]
    if len(done) >= 6 and rates[5] + distortions[5] > np.median(done) + 14:
        return curve, 5
    if len(done) >= 6 and rates[11] + distortions[11] > np.median(done) + 4:
        return curve, 12
    return curve, EPOCHS


def _row(
    number: int,
    params: dict,
    state: str,
    curve: np.ndarray,
    folder: Path | None,
    *,
    repeat: bool = False,
) -> dict:
    values = curve.sum(axis=1)
    place = run_folder(number, repeat=repeat)
    failure = (
        {"failure": "diverged", "message": "loss is not finite at step 12 | β_too *small*"}
        if state == "failed"
        else {}
    )
    return {
        "repeat": repeat,
        "number": number,
        "name": run_name("beta_mnist", number, repeat=repeat),
        "state": state,
        "objective": float(values.min()) if len(values) else math.nan,
        "epochs": len(values),
        "best_epoch": int(values.argmin()) + 1 if len(values) else None,
        "seed": 1000 + number,
        "started": 1.79e9 + 7 * number,
        "ended": 1.79e9 + 7 * number + 0.6 * len(values),
        "seconds": 0.6 * len(values),
        "ended_round": number,
        "duplicate_of": None,
        "failure": None,
        "message": None,
        "folder": str(folder / place) if folder else None,
        "source_trial": None,
        "purposes": (),
        "seed_index": None,
        "pair_ids": (),
        "result.parameters": 1_300_000.0,
        **failure,
        **{f"params.{key}": value for key, value in params.items()},
    }


def _epoch_rows(repeat: bool, number: int, params: dict, curve: np.ndarray) -> list[dict]:
    return [
        {
            "repeat": repeat,
            "number": number,
            "epoch": epoch,
            "round": number,
            "objective": float(rate + distortion),
            "val/loss": float(distortion + params["beta"] * rate),
            "val/neg_elbo": float(rate + distortion),
            "train/neg_elbo": float(rate + distortion - 0.05 * epoch),
            "val/rate": float(rate),
            "val/distortion": float(distortion),
            "val/active_units": float(min(params["latent_size"], round(rate / 1.6))),
            "seconds": 0.6,
        }
        for epoch, (rate, distortion) in enumerate(curve, start=1)
    ]


def _repeats(
    best: list[dict], random, *, confirm: bool, compare: bool, folder: Path | None
) -> list[tuple[dict, list[dict]]]:
    """Runs of confirm (3 × 3 seeds) and of compare (4 configurations × 2 seeds × both optimizers);
    those of both stand once.
    """
    plans: dict[tuple, dict] = {}
    for row in best[:3] if confirm else []:
        for seed in range(3):
            plans[row["number"], row["params.optimizer"], seed] = {
                "row": row,
                "purposes": ("confirm",),
                "pair_ids": (),
            }
    for row in best[:4] if compare else []:
        for seed, optimizer in itertools.product(range(2), ("adam", "adamax")):
            plan = plans.setdefault(
                (row["number"], optimizer, seed), {"row": row, "purposes": (), "pair_ids": ()}
            )
            plan |= {
                "purposes": (*plan["purposes"], "compare"),
                "pair_ids": (f"optimizer:{row['number']}/{seed}",),
            }
    made = []
    for number, ((of, optimizer, seed), plan) in enumerate(plans.items()):
        params = {
            key.removeprefix("params."): value
            for key, value in plan["row"].items()
            if key.startswith("params.")
        }
        params |= {"optimizer": optimizer}
        curve, _ = _train(params, random, -1, "complete", [])
        curve[:, 1] += 0.4 * seed
        repeat = _row(number, params, "complete", curve, folder, repeat=True)
        repeat |= {
            "source_trial": of,
            "purposes": plan["purposes"],
            "seed_index": seed,
            "pair_ids": plan["pair_ids"],
        }
        repeat |= {"seed": 500 + seed}
        repeat |= _tested(curve, random) if "confirm" in plan["purposes"] else {}
        made.append((repeat, _epoch_rows(True, number, params, curve)))
    return made


def _tested(curve: np.ndarray, random) -> dict:
    rate, distortion = curve[-1]
    nll = rate + distortion + random.normal(0.3, 0.1)
    return {
        "result.test/neg_elbo": nll,
        "result.test/distortion": distortion,
        "result.test/rate": rate,
        "result.test/iw_nll": nll - 5.1,
        "result.test/iw_nll_se": 0.4,
        "result.test/neg_elbo_se": 0.5,
        "result.test/active_units": 16.0,
        "result.test/used_dimensions": 2.0,
        "result.test_last/used_dimensions": 2.0,
        "result.test/images": 500.0,
        "result.test/importance_samples": 500.0,
    }


def with_samples_tested(results: Results, samples=lambda number: 1000.0) -> Results:
    """The same study with FID and MSE of the tested runs, from as many samples as `samples` says of
    a run's number.
    """
    trials = results.trials
    tested = trials["result.test/neg_elbo"].notna()
    numbers = trials["number"].astype(float)
    figures = {
        "fid": 20 + numbers,
        "reconstruction_mse": 0.01 + numbers / 1000,
        "generated": trials["number"].map(samples),
    }
    columns = {
        f"result.{of}/{name}": (value + 0.5 * (of != "test")).where(tested)
        for of in ("test", "test_last")
        for name, value in figures.items()
    }
    return replace(results, trials=trials.assign(**columns))


REFERENCES = {
    "autoencoder": {
        "title": "Plain autoencoder",
        "at": "fixed",
        "seeds": 1,
        "settings": {"posterior": "deterministic", "beta": 0.0},
    },
    "grey": {
        "title": "Grey levels",
        "at": "fixed",
        "seeds": 2,
        "settings": {"binarisation": "none"},
    },
    "many_samples": {
        "title": "Best, k = 5,000",
        "at": "best",
        "seeds": 3,
        "settings": {"importance_samples": 5000},
    },
    "strong": {"title": "β = 10", "at": "best", "seeds": 1, "settings": {"beta": 10.0}},
}


def with_baselines(
    results: Results, baselines: dict | None = None, *, folder: Path | None = None
) -> Results:
    """The same study with the rows that its file names besides, each trained and tested with its
    seeds.
    """
    baselines = REFERENCES if baselines is None else baselines
    random = np.random.default_rng(11)
    trials = results.trials
    best = (
        trials[~trials["repeat"] & (trials["state"] == "complete")].sort_values("objective").iloc[0]
    )
    first = int(trials.loc[trials["repeat"], "number"].max() + 1)
    rows, epochs = [], []
    for name, given in baselines.items():
        settings = given["settings"]
        base = {key: best[f"params.{key}"] for key in SEARCH} if given["at"] == "best" else {}
        full = {
            "beta": 1.0,
            "latent_size": 20,
            "learning_rate": 1e-3,
            "optimizer": "adam",
            "prior": "normal",
        }
        params = full | {key: value for key, value in base.items() if not pd.isna(value)} | settings
        for seed in range(given["seeds"]):
            curve, _ = _train(
                params | {"beta": max(params["beta"], 0.02)}, random, -1, "complete", []
            )
            plain = settings.get("posterior") == "deterministic"
            curve[:, 0] *= not plain
            row = _row(
                first + len(rows), {**base, **settings}, "complete", curve, folder, repeat=True
            )
            tested = _tested(curve, random) | {
                "result.test/importance_samples": settings.get("importance_samples", 500.0)
            }
            if plain:
                tested = {
                    key: value
                    for key, value in tested.items()
                    if "neg_elbo" not in key and "samples" not in key
                }
            of = int(best["number"]) if given["at"] == "best" else None
            row |= {
                "source_trial": of,
                "purposes": ("baseline",),
                "seed_index": seed,
                "baseline": name,
                **tested,
            }
            row |= {"seed": 500 + seed}
            rows.append(row)
            epochs += _epoch_rows(True, row["number"], params, curve)
    added = trials_frame(rows)
    for column in sorted({key for row in rows for key in row} - set(added)):
        added[column] = pd.Series([row.get(column) for row in rows], dtype="object")
    record = results.study.provenance
    protocols = {
        name: _protocol(record["protocol"], given["settings"]) for name, given in baselines.items()
    }
    study = replace(results.study, spec=results.study.spec | {"baselines": baselines})
    text = record["study_file"] + yaml.safe_dump({"baselines": baselines}, allow_unicode=True)
    study = replace(study, provenance=record | {"protocols": protocols, "study_file": text})
    both = pd.concat([trials, added], ignore_index=True)
    return Results(
        results.name,
        study,
        both,
        pd.concat([results.epochs, epochs_frame(epochs)], ignore_index=True),
    )


def _protocol(own: dict, settings: dict) -> dict:
    """That of the study, as the settings of a baseline change it; other targets are other data."""
    changed = {
        name: settings[name]
        for name in ("binarisation", "likelihood", "posterior")
        if name in settings
    }
    other = {"fingerprint": settings["binarisation"] * 16} if "binarisation" in settings else {}
    return own | changed | other


def write_pictures(results: Results, runs: Path) -> None:
    """A `pictures.npz` for each trial that trained: real digits, blurred as the trial's distortion
    grows.
    """
    images = digits()
    for _, row in results.trials.iterrows():
        if pd.isna(row["objective"]) or pd.notna(row["duplicate_of"]):
            continue
        amount = float(np.clip((row["objective"] - 80) / 80, 0.05, 0.95))
        originals, others = images[::625][:8], images[int(row["number"]) :: 300][:16]
        folder = runs / "trials" / results.name / run_folder(row["number"], repeat=row["repeat"])
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {
            "originals": originals,
            "reconstructions": blur(originals, amount),
            "samples": blur(others, amount),
        }
        arrays |= {
            f"last_{name}": blur(arrays[name], 0.2) for name in ("reconstructions", "samples")
        }
        if row.get("params.prior") == "mixture":
            arrays["component_samples"] = np.stack(
                [blur(images[500 * k : 500 * k + 8], 0.3) for k in range(10)]
            )
        if pd.notna(row.get("result.test/distortion")):
            ends = np.linspace(0, 1, 10).reshape(1, 10, 1, 1, 1)
            arrays["latent_interpolations"] = (1 - ends) * originals[:3, None] + ends * originals[
                3:6, None
            ]
            arrays["spherical_interpolations"] = arrays["pixel_interpolations"] = arrays[
                "latent_interpolations"
            ]
            arrays["traversals"] = np.stack(
                [blur(images[500 * k : 500 * k + 9], 0.3) for k in range(8)]
            )
            arrays["manifold"] = np.stack(
                [blur(images[300 * k : 300 * k + 15], 0.3) for k in range(15)]
            )
            save_arrays(folder / "evaluation.npz", evaluation_arrays() | _per_image(row))
        if row.get("params.binarisation") == "none":
            arrays["originals"] = 0.8 * originals
        save_arrays(
            folder / "pictures.npz", {key: value.astype(np.uint8) for key, value in arrays.items()}
        )


def _per_image(row: pd.Series) -> dict:
    """−ELBO and NLL of 500 test images, of which the run's test figures are the means."""
    spread = np.random.default_rng(int(row["number"])).normal(0, 20, 500)
    figures = {name: row.get(f"result.test/{name}") for name in ("neg_elbo", "iw_nll")}
    known = {name: figure for name, figure in figures.items() if pd.notna(figure)}
    return {
        f"{name}_per_image": (figure + spread - spread.mean()).astype(np.float32)
        for name, figure in known.items()
    }


@functools.cache
def thin_studies() -> dict[str, Results]:
    """Studies with next to nothing in them, by what they have."""
    full = make_results()
    search = full.trials[~full.trials["repeat"]]
    complete = search[(search["state"] == "complete") & search["duplicate_of"].isna()]
    interim = study_attributes(stopped=None, finished=False)
    one = {"beta": SEARCH["beta"]}
    return {
        "no trial": part(full, search.iloc[:0], study=interim),
        "nothing recorded": part(full, search.iloc[:0], study=StudyRecord(name="beta_mnist")),
        "one complete": part(full, complete.iloc[:1], study=interim),
        "two complete": part(full, complete.iloc[:2]),
        "equal values": part(full, complete.iloc[:12].assign(objective=100.0)),
        "all pruned": part(full, search[search["state"] == "pruned"]),
        "all failed": part(full, search[search["state"] == "failed"]),
        "one failed before an epoch": part(full, search[search["number"] == 23]),
        "all running": part(
            full, search.iloc[:4].assign(state="running", ended=math.nan), study=interim
        ),
        "one parameter": part(
            full, search, study=study_attributes(spec=study_attributes().spec | {"search": one})
        ),
        "one seed, one pair": part(
            full,
            pd.concat([search, full.trials[full.trials["repeat"] & (full.trials["number"] == 0)]]),
        ),
        "search only": part(full, search, study=study_attributes(finished=False)),
    }


def part(results: Results, trials: pd.DataFrame, study: StudyRecord | None = None) -> Results:
    """The same study with these trials alone, and their epochs."""
    kept = set(zip(trials["repeat"], trials["number"], strict=True))
    keys = zip(results.epochs["repeat"], results.epochs["number"], strict=True)
    epochs = results.epochs[np.array([key in kept for key in keys], dtype=bool)]
    study = results.study if study is None else study
    return Results(
        results.name, study, trials.reset_index(drop=True), epochs.reset_index(drop=True)
    )


def texts(figure):
    """All words inside the axes of a figure."""
    return [text.get_text() for axes in figure.axes for text in axes.texts]
