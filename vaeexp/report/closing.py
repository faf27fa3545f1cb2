"""The closing chapters: how the trials ended, and how the figures were made and can be had
again.
"""

import math
import shlex
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Drawing

from sweeps import fixed_differences, masked
from sweeps.results import best_run
from vaeexp.evaluation.metrics import METRICS
from vaeexp.plots.contact_sheet import draw, unpack
from vaeexp.report.findings import cost
from vaeexp.report.markup import code, escape, fenced, folded, heading, picture, table
from vaeexp.report.recommendation import STATES
from vaeexp.report.sentences import Block, Words, bullets, joined, markdown
from vaeexp.results.parameters import SearchedParameter
from vaeexp.results.statements import Figure, Statement, say
from vaeexp.results.study_view import StudyView
from vaeexp.results.tables import column, for_baseline_alone, row_names
from vaeexp.settings import SECTIONS
from vaeexp.words import (
    format_configuration,
    format_value,
    of_data,
    one_line,
    plural,
)

GOING = ("running", "paused", "waiting")
FAILED_ROWS = 50
MOST_NAMES = 20
"""Columns of a table whose bars are named."""
LONGEST = 300
"""Characters of a message that are shown."""
SEARCH = ("objectives", "sampler", "pruner", "budget", "confirm", "compare")
"""Sections of a study file that say how it searches."""
OF_IMAGES = ("binarisation", "channels_first", "crop", "background", "split_folders")
"""Settings and facts that mean nothing for signals and rows."""
SHEET = "training_images.png"
"""File of the contact sheet."""
OWN_WORDS = ("title", "data", "split", "estimator")
"""Facts that are sentences of this package."""
CSV = "[trials.csv](trials.csv)"


def failures(view: StudyView) -> list[Block]:
    """Return the chapter, block by block; empty before the first trial."""
    if view.trials.empty:
        return []
    left = bullets(left_out(view)) or "Nothing was left out of any table or plot."
    return [
        heading("How the trials ended"),
        outcomes(view),
        escape(view.study.stopped or ""),
        " ".join(map(markdown, cost(view))),
        *folded("Failed", failed_trials(view)),
        *folded("Left out", [left]),
    ]


def left_out(view: StudyView) -> list[Statement]:
    """Return a statement for each kind of thing that is left out, with how many there are; empty
    where nothing is.
    """
    search = view.search
    runs = view.trials[view.trials["repeat"]]
    state = search["state"]
    idle = runs["purposes"].map(len) == 0
    late = runs["purposes"].map(lambda purposes: "late" in purposes).astype(bool)
    failed = runs["state"].isin(["failed", "pruned"])
    going = runs["state"].isin(GOING)
    counts = {
        "failed": (state == "failed").sum(),
        "pruned": (state == "pruned").sum(),
        "going": state.isin(GOING).sum(),
        "worthless": ((state == "complete") & _not_finite(search["objective"])).sum(),
        "runs_failed": (failed & ~idle & ~late).sum(),
        "runs_going": (going & ~idle & ~late).sum(),
        "late": ((failed | going) & late).sum(),
        "untested": _not_finite(column(view.retrained.confirm_runs, "result.test/neg_elbo")).sum(),
        "pairs": sum(comparison.incomplete for comparison in view.pairs),
    }
    return [say(f"left.{kind}", count=int(count)) for kind, count in counts.items() if count]


def _not_finite(values: pd.Series) -> np.ndarray:
    return ~np.isfinite(values.to_numpy(float))


def outcomes(view: StudyView) -> str:
    """Return how many trials of the search and how many other runs ended in each state; empty
    without a trial.
    """
    trials = view.trials
    repeated = trials["duplicate_of"].notna() & ~trials["repeat"]
    rows = []
    for state in STATES:
        chosen = trials[(trials["state"] == state) & ~repeated]
        runs = chosen["repeat"].sum()
        if len(chosen):
            rows.append([state, f"{len(chosen) - runs:,}", f"{runs:,}", _why(state, chosen)])
    if repeated.any():
        why = "the configuration of an earlier trial: its value was used again"
        rows.append(["repeated", f"{repeated.sum():,}", "0", why])
    others = (
        "confirm, compare and baselines"
        if for_baseline_alone(trials).any()
        else "confirm and compare"
    )
    return table(["outcome", "search", others, "why"], rows, right=(1, 2))


def _why(state: str, trials: pd.DataFrame) -> str:
    if state == "pruned":
        epochs = trials["epochs"]
        low = int(epochs.min())
        high = int(epochs.max())
        span = (
            plural(low, "epoch")
            if low == high
            else f"{low:,} to {high:,} epochs (median {epochs.median():g})"
        )
        return f"worse than others at the same epoch; stopped after {span}"
    if state == "paused":
        return (
            "worse than others on the same rung, so far; they go on if they come to be among the "
            "best there"
        )
    if state != "failed":
        return ""
    # The most frequent class first.
    counts = (
        trials["failure"]
        .fillna("unknown")
        .value_counts()
        .sort_index()
        .sort_values(ascending=False, kind="stable")
    )
    classes = [f"{count:,} {kind}" for kind, count in counts.items()]
    return escape(", ".join(classes).replace("_", " "))


def failed_trials(view: StudyView) -> list[Block]:
    """Return every trial and run that failed, at most 50: its class, its epochs, its message and
    its configuration.
    """
    failed = view.trials[view.trials["state"] == "failed"].sort_values(["repeat", "number"])
    shown = failed.head(FAILED_ROWS).fillna({"failure": "unknown", "message": "–"})
    rest = failed.iloc[FAILED_ROWS:]
    rows = [
        [
            name,
            escape(row["failure"].replace("_", " ")),
            str(row["epochs"]),
            escape(one_line(row["message"], LONGEST)),
            escape(format_configuration(view.plan.params(row))),
        ]
        for name, (_, row) in zip(row_names(shown), shown.iterrows(), strict=True)
    ]
    blocks: list[Block] = [
        table(["trial", "class", "epochs", "message", "configuration"], rows, right=(2,))
    ]
    if len(rest):
        more = say("table.failed", row_names(rest), count=len(rest))
        blocks.append((Words(more), f"; all of them are in {CSV}."))
    return blocks


def contact_sheet(view: StudyView) -> Drawing | None:
    """Draw the training images that were kept with the study; None where it kept none."""
    packed = view.plan.recorded("contact_sheet")
    return draw(unpack(packed)) if packed else None


def picture_sentence(view: StudyView) -> str:
    """Say how a picture shows an array of the study's data; empty for images."""
    words = view.plan.recorded("contact_sheet").get("words", "")
    names = view.study.provenance.get("columns") or ()
    drawn = (view.plan.recorded("data").get("image_shape") or [0])[-1]
    if len(names) == drawn <= MOST_NAMES:
        words += f": {', '.join(names)}"
    return f"Each picture shows {escape(words)}." if words else ""


def sheet_statement(shown: int, training: int, binarisation: str | None) -> Statement:
    """Say how many of the training images a contact sheet shows, and as what models are given
    them.
    """
    return say("sheet", shown=shown, training=training, binarisation=binarisation)


def provenance(view: StudyView, sheet: Drawing | None) -> list[Block]:
    """Return the closing chapter, block by block, with the contact sheet of the data."""
    record = view.study.provenance
    spec = {**view.study.spec, "budget": view.study.budget}
    blocks: list[Block] = [
        heading("How this was made"),
        *folded("What the numbers are", [_numbers_explained(view)]),
        *folded("Commands", commands(view)),
        *folded("Code", [code_words(view)]),
        *folded("Seeds", seeds(view)),
    ]
    data = view.plan.recorded("data")
    unsaid = () if view.noun == "image" else OF_IMAGES
    parts = {
        "Protocol": _without(record.get("protocol") or {}, unsaid),
        "Data": _without(data, ("name", "binarisation", "fingerprint")),
        "Fixed settings": {
            name: _without(spec[name], {*view.plan.parameters, *unsaid})
            for name in SECTIONS
            if spec.get(name)
        },
        "Search": {name: spec[name] for name in SEARCH if spec.get(name)},
        "Search space": {
            name: _range(parameter) for name, parameter in view.plan.parameters.items()
        },
        "Execution": view.study.execution,
        "Versions": record.get("versions"),
        "Hardware": record.get("hardware"),
    }
    stages = view.study.stages
    for place, stage in enumerate(stages[:-1], start=1):
        own = fixed_differences(stage, stages[-1]).items()
        parts[f"Settings of stage {place} alone"] = {name: value for name, (value, _) in own}
    pictures: list[Block] = []
    if sheet is not None:
        images = view.plan.recorded("contact_sheet")["images"]
        binarisation = data.get("binarisation", view.plan.fixed("binarisation"))
        shown = None if binarisation == "none" else binarisation
        said = sheet_statement(images, data["train"], shown)
        pictures = [picture(SHEET, f"Training {view.noun}s", sheet), said, picture_sentence(view)]
    for title, content in parts.items():
        if not content:
            continue
        facts = [
            (of_data(_spaced(name)), _value(name, value))
            for name, value in content.items()
            if value is not None
        ]
        below = pictures if title == "Data" else []
        blocks += folded(title, [table(["", ""], facts), *below])
    if text := record.get("study_file"):
        blocks += folded("Study file", [fenced(text, "yaml")])
    return blocks


def _numbers_explained(view: StudyView) -> Block:
    """Say of each figure in the report which images, which estimator and how many samples it
    has.
    """
    elbo = METRICS["neg_elbo"]
    samples = view.plan.fixed("importance_samples")
    threshold = view.plan.fixed("active_threshold")
    weighted: Block = (", ", Words(say("method.samples", samples=samples))) if samples else ""
    shown = Figure(value=threshold, digits=None)
    active: Block = (" ", say("method.active", threshold=shown)) if threshold else ""
    use = "ranks the search: distortion"
    counts = (
        "A trial counts with its best epoch. Taking the minimum over trials and epochs makes it "
        "optimistic."
    )
    if view.front is not None:
        objectives = " and ".join(view.front.labels)
        use = (
            f"ranks nothing here, because the search is for {objectives} at once; it is distortion"
        )
        counts = (
            "In the front a trial counts with its last epoch, as it was trained. Taking the front "
            "of many trials makes it optimistic."
        )
    draws = view.plan.fixed("validation_draws") or 1
    drawn = "one posterior sample" if draws == 1 else f"{draws} posterior samples"
    alone = "" if draws == 1 else " with one posterior sample"
    elbo_and_nll = f"""\
- **Validation −ELBO** ({elbo.unit}; {elbo.direction}) {use} + rate at β = 1, whatever β a trial \
trained with, on the validation images, {drawn} per image and the same noise for every trial and epoch. {counts}
- **Test −ELBO** is the same estimate on the test images{alone}. Only runs of the confirmation and of baselines, trained afresh with \
new seeds, look at them; so it carries no such optimism.
- **Importance-weighted NLL** is the tighter bound on −log p(x) of Burda et al. (2016) on the test images"""  # noqa: E501
    parts = """.
- **Rate** is KL(q(z|x) ‖ p(z)), **distortion** is −E log p(x|z); their sum is the −ELBO."""
    intervals = """
- **Intervals** of test figures are 95 % intervals over training seeds (Student's t; for the difference \
of two configurations over the seeds that they share); those of matched pairs are over configurations, or over seeds where there is one configuration. They do not \
cover the choice of the images, and are not corrected for how many are looked at. The words “better” and “worse” follow a test \
whose p is corrected by Holm's method (1979): over all comparisons of matched pairs; over all pairs of confirmed configurations; \
over all baselines with each confirmed configuration. Within each of the three, at most 5 % of studies without a difference name one.
- """  # noqa: E501
    texts = (of_data(elbo_and_nll), weighted, parts, active, of_data(intervals))
    return *texts, joined(beta_scale(view))


def beta_scale(view: StudyView) -> list[Statement]:
    """Say what β weighs, with the numbers of this study's images and likelihood.

    The loss is Σ_d −log p(x_d|z) + β·KL, in nats per image. Divided by a factor it has the same
    minimum: by D it is a mean over sub-pixels with the weight β/D; for a Gaussian of σ, Σ (x −
    μ)²/2σ² + β·KL is D/2σ² times MSE + (2σ²β/D)·KL; for a Laplace of scale b, Σ |x − μ|/b + β·KL is
    D/b times MAE + (bβ/D)·KL.
    """
    shape = view.plan.recorded("data").get("image_shape")
    if not shape:
        return []
    size = math.prod(shape)
    beta = view.plan.params(view.best_trial).get("beta") if view.best_trial is not None else None
    # The scale of β adds nothing for β = 0 and β = 1.
    best = None if beta in (None, 0, 1) else float(beta)
    channels, height, width = shape
    weights = _weights(1 / size, best)
    said = [say("method.beta", height=height, width=width, channels=channels, size=size, **weights)]
    for likelihood, scale in _scales(view):
        name, error, shown, factor = "b", "absolute", scale, scale
        if likelihood == "gaussian":
            name, error, shown, factor = "σ²", "squared", scale**2, 2 * scale**2
        scaled = Figure(value=shown, digits=None)
        weights = _weights(factor / size, best)
        said.append(say("method.scale", name=name, error=error, scale=scaled, **weights))
    return said


def _weights(factor: float, best: float | None) -> dict[str, Figure | None]:
    """Return what β = 1 and the β of the best configuration are in a loss of another scale."""
    known = {"weight": factor, "best": best, "best_weight": None if best is None else factor * best}
    return {
        name: None if value is None else Figure(value=value, digits=None)
        for name, value in known.items()
    }


def _scales(view: StudyView) -> list[tuple[str, float]]:
    """Return (gaussian or laplace, its scale) of everything that the study trains with a fixed
    scale, each once.
    """
    scales = []
    for changed in (
        {},
        *((section.get("settings") or {}) for section in view.plan.baseline_specs.values()),
    ):
        searched = view.plan.parameters.get("likelihood")
        likelihoods = searched.values if searched else [view.plan.fixed("likelihood")]
        if "likelihood" in changed:
            likelihoods = [changed["likelihood"]]
        for likelihood in likelihoods:
            name = {"gaussian": "sigma", "laplace": "laplace_scale"}.get(likelihood, "")
            scale = changed.get(name, view.plan.fixed(name))
            if scale is not None and name not in view.plan.parameters:
                scales.append((likelihood, float(scale)))
    return list(dict.fromkeys(scales))


def commands(view: StudyView) -> list[str]:
    """Return the study's command as it was recorded, and the commands that make its report and its
    best trial again.

    A remark stands above its command: on one line the two are wider than a page.
    """
    command = view.study.provenance.get("command")
    name = shlex.quote(view.results.name)
    ran = masked(" ".join(str(command).split())) if command else f"vaeexp sweep {name}"
    lines = [
        (ran, "goes on where the study stopped; starts it where there is none"),
        (f"vaeexp report {name}", "writes this report again"),
    ]
    best = view.best_number
    run = best_run(view.results)
    if best is not None:
        lines.append((f"vaeexp reproduce {name}/{best}", "trains the trial of the winner again"))
    if run is not None and run["repeat"]:
        what = "and its best run with a fresh seed, whose weights are the study's model"
        lines.append((f"vaeexp reproduce {name}/r{run['number']}", what))
    return [
        fenced("\n".join(f"# {words}\n{command}" for command, words in lines), "sh"),
        "The first line is the command of the last call that trained anything. The others need "
        "the same `--runs` and `--storage`. What `--set` changes stands in the tables below, and "
        "not in the study file.",
    ]


def code_words(view: StudyView) -> str:
    """Say the commit and the state of the code that ran."""
    git = view.plan.recorded("git")
    if not git.get("commit"):
        return "No commit is recorded: the code did not run from a git checkout."
    states = {
        True: " **with uncommitted changes on top**: the commit alone is not the code that gave "
        "these numbers",
        False: ", without uncommitted changes",
        None: "; whether it had uncommitted changes is not recorded",
    }
    return f"Commit {code(git['commit'])}{states[git.get('dirty')]}."


def seeds(view: StudyView) -> list[str]:
    """Return the seed of each part as a table; empty where no seed is recorded."""
    seed = view.study.spec.get("seed", view.study.seed)
    split = view.plan.fixed("split_seed")
    if seed is None:
        return []
    best = view.best_number
    trial = view.best_trial
    runs = view.retrained.confirm_runs
    rule = (
        f"the first 63 bits of the SHA-256 of {code(f'{seed}:trial:N')}, N being the number of "
        "the trial"
    )
    if trial is not None and not pd.isna(trial["seed"]):
        rule += f"; trial {best}: {trial['seed']}"
    fresh = (
        "from the study's seed and a count, none of the search; all configurations share them, "
        "seed for seed"
    )
    confirming = runs.loc[runs["source_trial"] == best].sort_values("seed_index")["seed"].dropna()
    if len(confirming):
        fresh += f"; those of the confirmation of trial {best}: {', '.join(map(str, confirming))}"
    rows = [
        (
            "study",
            f"{seed}: the sampler, all trials, and noise and targets of the evaluation, which "
            "trials share",
        )
    ]
    if split is not None:
        drawn = ", and static binarisation" if view.noun == "image" else ""
        rows.append(("split", f"{split}: which {view.noun}s train and which validate{drawn}"))
    return [table(["", ""], [*rows, ("trial of the search", rule), ("fresh seeds", fresh)])]


def _without(content: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in content.items() if name not in names}


def _range(parameter: SearchedParameter) -> str:
    """Return the values that a parameter may take: `0.01 to 10, logarithmic`."""
    if parameter.is_choice:
        text = ", ".join(map(format_value, parameter.values))
    else:
        text = f"{format_value(parameter.low)} to {format_value(parameter.high)}"
        text += ", logarithmic" if parameter.log else ""
        text += f", step {format_value(parameter.step)}" if parameter.step else ""
        text += ", whole numbers" if parameter.kind == "int" else ""
    for name, wanted in parameter.when.items():
        text += f"; only if {name} is {' or '.join(map(format_value, wanted))}"
    return text


def _value(name: str, value: Any) -> str:
    if isinstance(value, Mapping):
        parts = {key: _value(key, part) for key, part in value.items() if part not in (None, [])}
        return ", ".join(
            text if key == "name" else f"{_spaced(key)} {text}" for key, text in parts.items()
        )
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return str(value) if "seed" in name else f"{value:,}"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        between = {"image_shape": " × ", "hidden": " × ", "files": ". "}.get(name, ", ")
        text = between.join(map(str, value))
        return escape(of_data(text) if name in OWN_WORDS else text)
    if name in ("commit", "fingerprint"):
        return code(value)
    return escape(of_data(value) if name in OWN_WORDS else value)


def _spaced(name: str) -> str:
    return escape(name.replace("_", " "))
