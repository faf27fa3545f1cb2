"""The report for programs: `trials.csv`, `curves.csv`, `per_image.npz` and `summary.json`.

`summary.schema.json` next to this module describes each field of the summary, its type and its
unit.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from io import BytesIO
from itertools import chain
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from sweeps import fixed_differences, masked
from sweeps.results import Interval
from vaeexp.console import json_value
from vaeexp.evaluation.metrics import Place, measured_at
from vaeexp.own_code import code_version
from vaeexp.report.answer import answer_of, notice_statements, plain_checks, plain_statement
from vaeexp.report.findings import cost, pair_caveats
from vaeexp.report.headline import shared_result
from vaeexp.report.recommendation import STATES
from vaeexp.report.sentences import sentence
from vaeexp.results.plan import PROTOCOL, likelihood_words, shared_parts
from vaeexp.results.statements import Statement
from vaeexp.results.study_view import StudyView, in_words_of_data
from vaeexp.results.tables import (
    for_baseline_alone,
    interval_on_test,
    own_metrics,
    with_best_epoch,
)
from vaeexp.results.tested_settings import BaselineMargin, PairComparison, TestedSetting
from vaeexp.words import of_data

VERSION = 4
"""Rises when a field changes its meaning, unit or type, or goes; not with a new field."""
DATA = ("title", "subset", "source", "train", "validation", "test", "image_shape")


def trials_csv(view: StudyView) -> str:
    """Return all trials of search and repeats with the metrics of their best epoch as CSV, without
    folders and passwords.
    """
    left_out = ["folder"] if view.study.stages else ["folder", "stage", "counts"]
    trials = view.results.trials.drop(columns=left_out)
    table = with_best_epoch(view.epochs, trials, "train", "val")
    stages = view.study.stages
    for name in dict.fromkeys(chain.from_iterable(map(fixed_differences, stages, stages[1:]))):
        values = [
            None if name in stage.space.names else (stage.fixed or {}).get(name) for stage in stages
        ]
        table[f"fixed.{name}"] = [values[at - 1] for at in table["stage"]]
    for name in ("purposes", "pair_ids"):
        table[name] = table[name].map("+".join)
    table["message"] = table["message"].map(masked, na_action="ignore")
    if changes := view.study.provenance.get("code_changes"):
        runs = zip(table["number"], table["repeat"], strict=True)
        table["code"] = [code_version(changes, number, repeat=repeat) for number, repeat in runs]
    return _csv(table, ["repeat", "number"])


def curves_csv(view: StudyView) -> str:
    """Return every epoch of every trial and repeat as CSV, with its round of the driver, the
    objective and the metrics of training and validation.

    Repeats stand after the trials of the search, as in `trials_csv`; the two share `repeat` and
    `number`.
    """
    keys = ["repeat", "number", "epoch"]
    metrics = [name for name in view.epochs.columns if name.startswith(("train/", "val/"))]
    return _csv(view.epochs[[*keys, "round", "objective", *metrics]], keys)


def _csv(table: pd.DataFrame, keys: list[str]) -> str:
    return table.sort_values(keys).to_csv(index=False, lineterminator="\n")


def per_image_npz(view: StudyView) -> bytes:
    """Return −ELBO and importance-weighted NLL of each test image, of the runs in the headline
    table, as a compressed npz file.

    Its arrays are those of `Retrained.per_image`. The same study gives the same bytes. Empty where
    no run has left such figures.
    """
    if not view.retrained.per_image:
        return b""
    file = BytesIO()
    np.savez_compressed(file, **view.retrained.per_image)  # type: ignore[arg-type]  # its other argument is a flag
    return file.getvalue()


@in_words_of_data
def summary_json(
    view: StudyView, told: Mapping[str, Sequence[Statement]] = MappingProxyType({})
) -> str:
    """Return the summary of a study in any state as JSON text; the same study gives the same text.

    A figure that is missing or not finite is null. Keys are sorted.

    Args:
        view: the study.
        told: what the report says by part, as of `compose`; nothing without a report.
    """
    text = json.dumps(
        _plain(_summary(view, told)), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False
    )
    return f"{text}\n"


def _plain(value: Any) -> Any:
    """Return a value as `json_value` does, without dataclasses and types of numpy."""
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        # The unit of a figure is written for images.
        return {
            name: of_data(part) if name == "unit" else _plain(part) for name, part in value.items()
        }
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return json_value(value.item() if isinstance(value, np.generic) else value)


def _summary(view: StudyView, told: Mapping[str, Sequence[Statement]]) -> dict[str, Any]:
    settings = [*view.confirmed, *view.retrained.baselines]
    protocols: dict[tuple[str | None, ...], list[Mapping[str, str]]] = {}
    for protocol in (view.plan.protocol(), *(setting.protocol for setting in settings)):
        protocols.setdefault(shared_parts(protocol), []).append(protocol)
    places = {parts: place for place, parts in enumerate(protocols)}
    tested = [
        _tested(view, setting, places[shared_parts(setting.protocol)]) for setting in settings
    ]
    confirmed = [entry for entry in tested if entry["baseline"] is None]
    study = view.study
    repeat = view.trials["repeat"]
    data = view.plan.recorded("data")
    git = view.plan.recorded("git")
    return {
        "schema_version": VERSION,
        "study": view.results.name,
        "question": study.question or None,
        "state": "finished" if study.finished else "interim",
        "stopped": masked(study.stopped) if study.stopped else None,
        "seed": study.spec.get("seed", study.seed),
        "data": {name: data.get(name) for name in DATA},
        "protocols": [
            dict(zip(PROTOCOL, parts, strict=True))
            | {"likelihood": likelihood_words(those) or None}
            for parts, those in protocols.items()
        ],
        "best": _best(view, confirmed),
        "front": _front(view),
        "confirmed": confirmed,
        "race": view.retrained.race
        and {**asdict(view.retrained.race), "ended": view.retrained.race.ended or None},
        "baselines": [entry for entry in tested if entry["baseline"] is not None],
        "counts": {
            "search": _states(view.trials[~repeat]),
            "repeats": _states(view.trials[repeat]),
            "budget": study.budget.get("trials"),
        },
        "cost": _cost(view),
        "importances": [
            {"parameter": name, "share": share} for name, share in view.importances["share"].items()
        ],
        "effects": view.influence.effects,
        "equal_epochs": view.influence.equal_epochs,
        "holes": [*view.influence.holes.numbers.values()],
        "uncovered": view.influence.left_out,
        "statements": _statements(view, told),
        "trust": plain_checks(answer_of(view).checks),
        "comparisons": [_difference(comparison) for comparison in view.pairs],
        "new_seeds": [
            {"title": seeds.title, **asdict(seeds)} for seeds in view.retrained.new_seeds
        ],
        "divergences": view.influence.divergences,
        "interactions": view.interactions,
        "code": {name: git.get(name) for name in ("commit", "dirty")},
        "versions": {
            name: str(version) for name, version in view.plan.recorded("versions").items()
        },
    }


def _statements(view: StudyView, told: Mapping[str, Sequence[Statement]]) -> list[dict[str, Any]]:
    """Return the statements of the report but for those of checks, each with its part and its
    words.
    """
    found = answer_of(view)
    parts: dict[str, Sequence[Statement]] = {
        "notices": notice_statements(view),
        **{part: getattr(found, part) for part in ("use", "get", "findings", "doubts", "next")},
        "caveats": pair_caveats(view),
        "cost": cost(view),
        **told,
    }
    plain = list[dict[str, Any]]()
    for part, statements in parts.items():
        plain += [plain_statement(part, one, sentence(one)) for one in statements]
    return plain


def _best(view: StudyView, confirmed: list[dict[str, Any]]) -> dict[str, Any] | None:
    trial = view.best_trial
    number = view.best_number
    if trial is None:
        return None
    return {
        "trial": number,
        "configuration": view.plan.params(trial),
        "search": trial["objective"],
        "confirmed": next((entry for entry in confirmed if entry["trial"] == number), None),
    }


def _front(view: StudyView) -> dict[str, Any] | None:
    found = view.front
    if found is None:
        return None
    trials = [
        {
            "trial": row["number"],
            "values": row[[*found.metrics]].tolist(),
            "configuration": view.plan.params(row),
        }
        for _, row in found.members.iterrows()
    ]
    return {"objectives": found.names, "trials": trials}


def _tested(view: StudyView, setting: TestedSetting, protocol: int) -> dict[str, Any]:
    """Return a configuration that was trained with fresh seeds; `protocol` is its place in
    `protocols`.
    """
    configuration: Mapping[str, Any] = view.plan.params(setting.runs.iloc[0])
    margin = None
    if setting.baseline:
        configuration = view.plan.baseline_specs[setting.baseline].get("settings") or {}
        margin = view.retrained.margin_of(setting)
    images, samples = (shared_result(setting, name) for name in ("images", "importance_samples"))
    test = _means(view, setting, "test")
    if samples is None:
        test["iw_nll"] = None
    return {
        "title": setting.title,
        "trial": setting.source_trial,
        "baseline": setting.baseline,
        "configuration": configuration,
        "against": margin and margin.against,
        "differences": _differences(margin) if margin else {},
        "protocol": protocol,
        "seeds": len(setting.runs),
        "planned": setting.planned,
        "failures": setting.failures,
        "validation": setting.validation,
        "test": {"images": images, "importance_samples": samples, **test},
        "test_last": _means(view, setting, "test_last"),
    }


def _means(view: StudyView, setting: TestedSetting, place: Place) -> dict[str, Interval | None]:
    """Return the mean of each figure of the test images; None for one that no run has."""
    names = measured_at(place, "figure", own=own_metrics(view.study.spec))
    means = {name: interval_on_test(setting.runs, f"{place}/{name}") for name in names}
    return {name: mean if mean.n else None for name, mean in means.items()}


def _differences(margin: BaselineMargin) -> dict[str, Any]:
    """Return the difference of a baseline from what it is set against, by figure on test."""
    return {
        name: {
            "difference": each.interval,
            "p": each.p,
            "p_holm": each.p_holm,
            "settled": each.settled,
        }
        for name, each in {"neg_elbo": margin, **margin.others}.items()
        if math.isfinite(each.interval.mean)
    }


def _states(trials: pd.DataFrame) -> dict[str, int]:
    states = trials["state"].where(trials["duplicate_of"].isna(), "repeated")
    return {name: int((states == name).sum()) for name in (*STATES, "repeated")}


def _cost(view: StudyView) -> dict[str, Any]:
    runs = view.results.trials
    repeat = runs["repeat"]
    baseline = for_baseline_alone(runs)
    epochs = runs["epochs"]
    return {
        "search_seconds": view.study.elapsed,
        "search_epochs": int(epochs[~repeat].sum()),
        "confirm_epochs": int(epochs[repeat & ~baseline].sum()),
        "baseline_epochs": int(epochs[repeat & baseline].sum()),
        "saved_epochs": view.plan.epochs_saved(view.search),
    }


def _difference(comparison: PairComparison) -> dict[str, Any]:
    return {
        **{
            name: getattr(comparison, name)
            for name in ("parameter", "first", "second", "incomplete", "p", "p_holm")
        },
        "pairs": len(comparison.pairs),
        "difference": comparison.interval,
        "settled": comparison.better is not None,
        "by_configuration": comparison.by_configuration,
    }
