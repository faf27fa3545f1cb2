"""How the figures came about and how to get them again: scale of β, protocol, data, versions, seeds, machine, commands."""

import shlex
from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Any

import pandas as pd

from sweeps.errors import masked
from vaeexp.report.baselines import sub_pixels
from vaeexp.report.markdown import code, escape, fenced, heading, table
from vaeexp.results.parameters import SearchedParameter
from vaeexp.results.study_view import SECTIONS, StudyView
from vaeexp.words import format_value, join_and


def provenance(view: StudyView) -> list[str]:
    """Return the closing chapter, block by block."""
    record = view.study.provenance
    blocks = [heading("How this was made"), *numbers_explained(view), *commands(view)]
    blocks += [heading("Code", 3), code_words(view), *seeds(view)]
    parts = {
        "Protocol": record.get("protocol"),
        "Data": _without(record.get("data") or {}, ("name", "binarisation", "fingerprint")),
        "Fixed settings": {
            name: _without(view.spec[name], view.parameters) for name in SECTIONS if view.spec.get(name)
        },
        "Search": _search(view),
        "Search space": {name: _range(parameter) for name, parameter in view.parameters.items()},
        "Execution": view.study.execution,
        "Versions": record.get("versions"),
        "Hardware": record.get("hardware"),
    }
    for title, content in parts.items():
        if content:
            blocks += [heading(title, 3), _facts(content)]
    text = record.get("study_file")
    if text:
        blocks += [heading("Study file", 3), fenced(text, "yaml")]
    missing = [title.lower() for title, content in parts.items() if not content] + ([] if text else ["study file"])
    return [*blocks, f"Not recorded with this study: {join_and(missing)}."] if missing else blocks


def numbers_explained(view: StudyView) -> list[str]:
    """Say of each figure in the report which images, which estimator and how many samples it has."""
    evaluation = view.spec.get("evaluation") or {}
    samples, threshold = evaluation.get("importance_samples"), evaluation.get("active_threshold")
    weighted = (
        "- **Importance-weighted NLL** is the tighter bound on −log p(x) of Burda et al. (2016) on the test images"
    )
    if samples:
        weighted += f", with k = {samples:,} samples per image. Figures with another k are not comparable"
    parts = "- **Rate** is KL(q(z|x) ‖ p(z)), **distortion** is −E log p(x|z); their sum is the −ELBO."
    if threshold:
        parts += (
            f" A latent unit is **active** when the variance of its posterior mean over images exceeds {threshold:g}."
        )
    lines = [
        "- **Validation −ELBO** (nats per image; lower is better) ranks the search: distortion + rate at β = 1, whatever β "
        "a trial trained with, on the validation images, one posterior sample per image and the same noise for every trial "
        "and epoch. A trial counts with its best epoch. Taking the minimum over trials and epochs makes it optimistic.",
        "- **Test −ELBO** is the same estimate on the test images. Only runs of the confirmation and of baselines, "
        "trained afresh with new seeds, look at them; so it carries no such optimism.",
        f"{weighted}.",
        parts,
        "- **Intervals** of test figures are 95 % intervals over training seeds (Student's t; Welch's t for the difference of "
        "two configurations); those of matched pairs are over configurations, or over seeds where there is one configuration. "
        "They do not cover the choice of the images, and are not corrected for how many are looked at.",
        f"- {beta_scale(view)}",
    ]
    return [heading("What the numbers are", 3), "\n".join(lines)]


def beta_scale(view: StudyView) -> str:
    """Say what β weighs, with the numbers of this study's images and likelihood.

    The loss is Σ_d −log p(x_d|z) + β·KL, in nats per image. Divided by a factor it has the same minimum: by D it is a
    mean over sub-pixels with the weight β/D; for a Gaussian of σ, Σ (x − μ)²/2σ² + β·KL is D/2σ² times
    MSE + (2σ²β/D)·KL; for a Laplace of scale b, Σ |x − μ|/b + β·KL is D/b times MAE + (bβ/D)·KL.
    """
    size, best = sub_pixels(view), _best_beta(view)
    words = "**β** weighs the rate in nats per image against the distortion summed over all "
    if not size:
        return (
            f"{words}D = H·W·C sub-pixels; in a loss that averages over sub-pixels the same model has the weight β/D."
        )
    channels, height, width = view.recorded("data")["image_shape"]
    words += (
        f"D = {height} × {width} × {channels} = {size:,} sub-pixels of an image. In a loss that averages −log p(x|z) over "
        f"sub-pixels the same model has the weight β/D: β = 1 here is {_short(1 / size)} there"
    )
    words += f", and the β = {format_value(best)} of the best configuration is {_short(best / size)}." if best else "."
    return " ".join([words, *(_of_errors(name, scale, size, best) for name, scale in _scales(view))])


def _of_errors(likelihood: str, scale: float, size: int, best: float | None) -> str:
    """Say the same in the terms of a loss of squared or absolute errors."""
    if likelihood == "gaussian":
        factor = 2 * scale**2 / size
        name, formula, symbol = "mean squared error per sub-pixel", "2σ²β/D", f"σ² = {format_value(scale**2)}"
    else:
        factor = scale / size
        name, formula, symbol = "mean absolute error per sub-pixel", "bβ/D", f"b = {format_value(scale)}"
    also = f", and β = {format_value(best)} is {_short(factor * best)}" if best else ""
    return f"With {symbol}, β = 1 here is {_short(factor)} in a loss of {name} + β·KL ({formula}){also}."


def _scales(view: StudyView) -> list[tuple[str, float]]:
    """Return (gaussian or laplace, its scale) of everything that the study trains with a fixed scale, each once."""
    scales = []
    for changed in ({}, *((section.get("settings") or {}) for section in view.baseline_specs.values())):
        likelihood = changed.get("likelihood", view.fixed("likelihood"))
        name = {"gaussian": "sigma", "laplace": "laplace_scale"}.get(likelihood, "")
        scale = changed.get(name, view.fixed(name))
        if scale is not None and name not in view.parameters:
            scales.append((likelihood, float(scale)))
    return list(dict.fromkeys(scales))


def _best_beta(view: StudyView) -> float | None:
    """Return β of the best configuration, where β was searched; None for 1 and 0, where the scale of β adds nothing."""
    beta = view.params(view.best_trial).get("beta") if view.best_trial is not None else None
    return float(beta) if beta and float(beta) != 1 else None


def _short(value: float) -> str:
    """Return three significant digits, never with an exponent."""
    return format(Decimal(f"{value:.3g}"), ",f")


def commands(view: StudyView) -> list[str]:
    """Return the study's command as it was recorded, and the commands that make its report and its best trial again."""
    command = view.study.provenance.get("command")
    name = shlex.quote(view.name)
    ran = masked(" ".join(str(command).split())) if command else f"vaeexp sweep {name}"
    lines = [
        (ran, "goes on where the study stopped; starts it where there is none"),
        (f"vaeexp report {name}", "writes this report again"),
    ]
    best, run = view.best_number, view.best_run
    if best is not None:
        lines.append((f"vaeexp reproduce {name}/{best}", "trains the best trial of the search again"))
    if run is not None and run["repeat"]:
        what = "and its best run with a fresh seed, whose weights are the study's model"
        lines.append((f"vaeexp reproduce {name}/r{run['number']}", what))
    width = max(len(command) for command, _ in lines)
    blocks = [
        heading("Commands", 3),
        fenced("\n".join(f"{command:<{width}}   # {words}" for command, words in lines), "sh"),
    ]
    if not command:
        return [*blocks, "The command that ran the study was not recorded; the first line is the plain one."]
    places = [option for option in ("--runs", "--storage") if f"{option} " in f"{ran} " or f"{option}=" in ran]
    words = "The first line is the command of the last call that trained anything, as it was recorded."
    if places:
        words += f" The others need the same {join_and([code(option) for option in places])}."
    if "--set" in ran:
        words += f" What {code('--set')} changes stands in the tables below, and not in the study file."
    return [*blocks, words]


def code_words(view: StudyView) -> str:
    """Say the commit and the state of the code that ran."""
    git = view.recorded("git")
    if not git.get("commit"):
        return "No commit is recorded: the code did not run from a git checkout."
    if git.get("dirty"):
        return (
            f"Commit {code(git['commit'])} **with uncommitted changes on top**: the commit alone is not the code that gave "
            "these numbers."
        )
    clean = (
        ", without uncommitted changes" if "dirty" in git else "; whether it had uncommitted changes is not recorded"
    )
    return f"Commit {code(git['commit'])}{clean}."


def seeds(view: StudyView) -> list[str]:
    """Return the seed of each part as a table; empty where no seed is recorded."""
    seed = view.spec.get("seed", view.study.seed)
    if seed is None:
        return []
    split = view.fixed("split_seed")
    rows = [("study", f"{seed}: the sampler, all trials, and noise and targets of the evaluation, which trials share")]
    if split is not None:
        rows.append(("split", f"{split}: which images train and which validate, and static binarisation"))
    rule = f"the first 63 bits of the SHA-256 of {code(f'{seed}:trial:N')}, N being the number of the trial"
    trial = view.best_trial
    of_best = f"; trial {view.best_number}: {trial['seed']}" if trial is not None and not pd.isna(trial["seed"]) else ""
    rows.append(("trial of the search", rule + of_best))
    fresh = (
        "from the study's seed, the configuration and a count; a configuration has seeds of its own, none of the search"
    )
    rows.append(("fresh seeds", fresh + _of_confirmation(view)))
    return [heading("Seeds", 3), table(["", ""], rows)]


def _of_confirmation(view: StudyView) -> str:
    runs = view.confirm_runs
    own = runs.loc[runs["source_trial"] == view.best_number].sort_values("seed_index")["seed"].dropna()
    return f"; those of the confirmation of trial {view.best_number}: {', '.join(map(str, own))}" if len(own) else ""


def _search(view: StudyView) -> dict[str, Any]:
    """Return sampler, pruner, budget, confirmation and comparison."""
    spec = view.spec
    facts = {name: spec.get(name) for name in ("sampler", "pruner")} | {"budget": view.study.budget}
    facts |= {name: spec.get(name) for name in ("confirm", "compare")}
    return {name: content for name, content in facts.items() if content}


def _without(content: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in content.items() if name not in names}


def _range(parameter: SearchedParameter) -> str:
    """Return the values that a parameter may take: `0.01 to 10, logarithmic`."""
    if parameter.is_choice:
        words = ", ".join(map(format_value, parameter.values))
    else:
        words = f"{format_value(parameter.low)} to {format_value(parameter.high)}"
        words += ", logarithmic" if parameter.log else ""
        words += f", step {format_value(parameter.step)}" if parameter.step else ""
        words += ", whole numbers" if parameter.kind == "int" else ""
    for name, wanted in parameter.when.items():
        words += f"; only if {name} is {' or '.join(map(format_value, wanted))}"
    return words


def _facts(content: Mapping[str, Any]) -> str:
    """Return a table of two columns, names and values; nested values stand in one line."""
    rows = [(_words(name), _value(name, value)) for name, value in content.items() if value is not None]
    return table(["", ""], rows)


def _value(name: str, value: Any) -> str:
    if isinstance(value, Mapping):
        parts = [
            _value(key, part) if key == "name" else f"{_words(key)} {_value(key, part)}"
            for key, part in value.items()
            if part is not None
        ]
        return ", ".join(parts)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return str(value) if "seed" in name else f"{value:,}"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return escape(" × ".join(map(str, value)) if name in ("image_shape", "hidden") else ", ".join(map(str, value)))
    return code(value) if name in ("commit", "fingerprint") else escape(value)


def _words(name: str) -> str:
    return escape(name.replace("_", " "))
