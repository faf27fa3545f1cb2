"""The parts of `equal_epochs` and `holes` in summary.json that follow from the tables alone. What a
model adds is tested against planted truths.
"""

import math
import re
from typing import Any

import numpy as np
import pandas as pd
from recompute_figures import Study
from recompute_files import Parameter, value_of
from recompute_rules import Wrong


def wrong_effects(study: Study) -> list[Wrong]:
    """Compare what the summary says of equal epochs, and of numbers tried with bad values alone,
    with the tables.
    """
    summary = study.report.summary
    wrong = []
    expected = equal_epochs(study)
    for entry in summary["equal_epochs"]:
        found = {name: _plain(entry[name]) for name in expected[entry["parameter"]]}
        if not _same(found, expected[entry["parameter"]]):
            wrong.append(
                Wrong(
                    0,
                    f"summary.json: equal_epochs has {found}, the tables "
                    f"{expected[entry['parameter']]}",
                )
            )
    for hole in summary["holes"]:
        if reason := wrong_hole(study, hole):
            wrong.append(Wrong(0, f"summary.json: the hole of {hole['parameter']}: {reason}"))
    return wrong


def equal_epochs(study: Study) -> dict[str, dict[str, Any]]:
    """Return what was compared of each parameter: at which epoch, how many trials, what they and
    the best have.
    """
    least = study.warmup + 1
    rungs = re.search(
        r"rungs? (?:at |after )?(?:epochs? )?(\d+)", study.report.facts("Search").get("pruner", "")
    )
    if study.promotes and rungs:
        least = max(least, int(rungs[1]))
    reached = study.learned[study.learned["epochs"] >= least]
    epoch = int(reached["epochs"].min()) if len(reached) else 0
    rows = study.epochs[~study.epochs["repeat"] & (study.epochs["epoch"] == epoch)].set_index(
        "number"
    )["objective"]
    compared = reached[np.isfinite(reached["number"].map(rows).astype(float))]
    found = {}
    for name, own in study.parameters.items():
        having = compared[own.values(compared).notna()]
        found[name] = {
            "epoch": epoch,
            "trials": len(having),
            "best": _reach(own, study.top(name)),
        }
    return found


def _reach(own: Parameter, trials: pd.DataFrame) -> list[Any]:
    values = own.values(trials).dropna()
    if own.texts:
        # Values that earlier trials had stand after those of the file.
        order = [*own.texts, *sorted(set(values) - set(own.texts))]
        return [text for text in order if text in set(values)]
    return [float(values.min()), float(values.max())] if len(values) else []


def _plain(value: Any) -> Any:
    return (
        [value_of(part) if not isinstance(part, int | float) else part for part in value]
        if isinstance(value, list)
        else value
    )


def _same(found: dict[str, Any], expected: dict[str, Any]) -> bool:
    for name, value in expected.items():
        if not isinstance(value, list):
            if found[name] != value:
                return False
            continue
        pairs = list(zip(found[name], value, strict=False))
        if len(found[name]) != len(value) or not all(_equal(*pair) for pair in pairs):
            return False
    return True


def _equal(found: Any, expected: Any) -> bool:
    return (
        math.isclose(found, expected)
        if isinstance(expected, float)
        else value_of(found) == expected
    )


def wrong_hole(study: Study, hole: dict[str, Any]) -> str:
    """Return what is wrong with a hole: its trials are as many, each has a bad value, and a trial
    at its edge has none. Empty where nothing is.
    """
    values = study.parameters[hole["parameter"]].values(study.learned)
    inside = pd.Series(False, index=values.index)
    for end, beyond in (("low", values.lt), ("high", values.gt)):
        if hole[end] is not None:
            inside |= beyond(hole[end])
    spoilt = pd.Series(False, index=values.index)
    for bad in hole["shared"]:
        having = _having(study, bad)
        if int((having & inside).sum()) != bad["trials"]:
            return f"{int((having & inside).sum())} of its trials have {bad}"
        spoilt |= having
    if int(inside.sum()) != hole["trials"] or not spoilt[inside].all():
        return (
            f"{int(inside.sum())} trials lie in it, {int(spoilt[inside].sum())} of them with a "
            "bad value"
        )
    edges = [end for end in (hole["low"], hole["high"]) if end is not None]
    fair = values[~spoilt]
    if not all(np.isclose(fair, edge).any() for edge in edges):
        return f"no trial without a bad value lies at {edges}"
    quarter = max(5, math.ceil(len(values) / 4))
    return "one of the best has a bad value" if spoilt.head(quarter).any() else ""


def _having(study: Study, bad: dict[str, Any]) -> pd.Series:
    values = study.parameters[bad["parameter"]].values(study.learned)
    if bad["value"] is not None:
        return values == bad["value"]
    return values < bad["below"] if bad["below"] is not None else values > bad["above"]
