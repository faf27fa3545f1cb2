"""What is measured, in words, and trials that measure different things apart: they never share a ranking or a mean."""

from dataclasses import replace
from typing import Literal

import pandas as pd

from sweeps.results.rankings import Results
from vaeexp.report.markdown import escape
from vaeexp.results.frames import column, fixed, for_baseline_alone, label, recorded, space, value_text
from vaeexp.results.study_summary import PROTOCOL
from vaeexp.settings import DataSettings

Figures = Literal["validation", "test", "other"]


_MEASURED = (*DataSettings.model_fields, "likelihood", "posterior")
"""Settings that change what a −ELBO is the −ELBO of."""


def searched_protocol(results: Results) -> list[str]:
    """Searched parameters that change what is measured. Studies of today refuse them; those of earlier versions did not."""
    return [name for name in space(results) if name in _MEASURED]


def by_searched_protocol(results: Results) -> list[tuple[str, Results]]:
    """(what sets it apart, the study with the trials of this protocol alone), in the order of the search space.

    One entry without words, the study itself, unless the search varies what is measured. Baselines stay with the study.
    """
    names = searched_protocol(results)
    if not names:
        return [("", results)]
    trials = results.trials[~for_baseline_alone(results.trials)]
    keys = pd.DataFrame({name: column(trials, f"params.{name}").map(value_text) for name in names})
    spec = results.study["spec"]
    left = {name: parameter for name, parameter in spec["search"].items() if name not in names}
    study = results.study | {"spec": spec | {"search": left}}
    parts = []
    for values, group in keys.groupby(names, sort=False):
        words = ", ".join(f"{label(name)} = {value}" for name, value in zip(names, values, strict=True))
        parts.append((words, replace(results, study=study, trials=trials.loc[group.index])))
    return parts or [("", results)]


def protocol_line(results: Results, apart: str, figures: Figures) -> str:
    """What the figures of a table have in common, in a line; empty where the study has one protocol only.

    Args:
        results: the study.
        apart: what sets the trials of this table apart from others of the search, from `by_searched_protocol`.
        figures: of which images they are; of no −ELBO at all is `other`.
    """
    if not apart and not _references_differ(results):
        return ""
    own = recorded(results, "protocol")
    parts = [own[name] for name in ("data", "split") if own.get(name)]
    for name in ("binarisation", "likelihood", "posterior"):
        value = own.get(name) or fixed(results, name)
        # What a binarisation means in full stands with the protocol at the end of the report.
        parts += [f"{name} {str(value).split(' (')[0]}"] if value and f"{name} =" not in apart else []
    parts += [apart] if apart else []
    if figures != "other":
        parts.append("−ELBO at β = 1 with one posterior sample per image")
    samples = fixed(results, "importance_samples")
    if figures == "test" and samples:
        parts.append(f"importance-weighted NLL with k = {samples:,}")
    return f"Protocol: {escape('; '.join(parts))}."


def _references_differ(results: Results) -> bool:
    own = recorded(results, "protocol")
    return any(
        given.get(name) != own.get(name) for given in recorded(results, "protocols").values() for name in PROTOCOL
    )
