"""Rules for the checks of trust, the captions, how the trials ended and how the report was made; and the list of constants."""

import math
import re

import pandas as pd
from recompute_figures import ENDED
from recompute_files import number_of, value_text
from recompute_rules import NUM, Expected, State, assert_that, says, shows
from recompute_statistics import listed, number, plural
from recompute_tables import Rows, has

# ---- captions ----


@says(
    rf"How far the values of a parameter among the best ({NUM}) differ from those among all ({NUM}) complete and pruned trials"
)
def importance_caption(state: State, *_: str) -> list[Expected]:
    count = len(state.study.learned)
    return [f"{max(5, math.ceil(count / 10)):,}", f"{count:,}"]


@says(
    rf"Every trial at epoch ({NUM}), the last that all of them reached, so that stopped and complete trials are compared alike"
)
def equal_epochs(state: State, _: str) -> str:
    """The epoch itself is recomputed by `recompute_equal_epochs`."""
    return f"{state.study.report.summary['equal_epochs'][0]['epoch']:,}"


@says(rf"Not drawn: (?:({NUM} failed trials?))?(?: and )?(?:({NUM} trials?) stopped before that epoch)?")
def not_at_equal_epochs(state: State, *_: str) -> list[Expected]:
    study = state.study
    own = study.epochs[~study.epochs["repeat"] & study.epochs["number"].isin(study.learned["number"])]
    reached = own.groupby("number")["epoch"].max() >= study.report.summary["equal_epochs"][0]["epoch"]
    failed, short = int((study.search["state"] == "failed").sum()), len(study.learned) - int(reached.sum())
    return [plural(failed, "failed trial") if failed else "", plural(short, "trial") if short else ""]


@says(
    rf"The model is a forest of randomised trees on ({NUM}) complete and ({NUM}) pruned trials, these with what they had reached"
    rf"(?:; the (?:({NUM}) )?values? above ({NUM}) counts? as that)?"
)
def forest_caption(state: State, *groups: str) -> list[Expected]:
    counts = [f"{(state.study.learned['state'] == own).sum():,}" for own in ("complete", "pruned")]
    above = ""
    if groups[3]:
        # The ceiling is printed as a whole number of nats.
        values = state.study.learned["objective"]
        possible = {int((values > number_of(groups[3]) + shift).sum()) for shift in (-0.5, 0.5)}
        own = int(number_of(groups[2] or "1"))
        above = groups[2] or "" if min(possible) <= own <= max(possible) else str(possible)
    return [*counts, above, None if groups[3] else ""]


@says(r"Drawn by (a confirmation run of )?trial (\d+)(, the best that left such pictures)?")
def drawn_by(state: State, run: str | None, trial: str, other: str | None) -> list[Expected]:
    study = state.study
    known = (
        [str(source) for source in study.repeats["source_trial"].dropna().astype(int)]
        if run
        else list(map(str, study.ranked["number"]))
    )
    assert_that((trial != str(study.best)) == bool(other))
    return [None, trial if trial in known else "a trial of the study", None]


@says(
    r"(“.+?”(?:(?:, | and )“.+?”)*) ha(?:s|ve) the same training as “(.+?)”, so (?:it is|they are) not drawn a second time"
)
def drawn_once(state: State, others: str, first: str) -> list[Expected]:
    study = state.study
    runs = study.best_runs if first.startswith("Trial ") else study.rows[first]
    same = [title for title, own in study.rows.items() if title != first and study.same_training(runs, own)]
    return [listed([f"“{title}”" for title in same]), None]


@says(rf"What is at most ({NUM}) nats carries next to nothing")
def threshold(state: State, _: str) -> str:
    return state.study.report.setting("evaluation", "rate threshold") or "0.1"


# ---- how the trials ended ----


@says(rf"\*\*Interim report: ({NUM}) trials?(?: of ({NUM}))? ha(?:s|ve) ended; figures will change\.\*\*")
def ended(state: State, *_: str) -> list[Expected]:
    trials, planned = state.study.trials, state.study.report.count("budget", "trials", "Search")
    count = (~trials["repeat"] & trials["state"].isin(ENDED)).sum()
    return [f"{count:,}", f"{planned:,}" if planned else ""]


@says(
    rf"There is no answer yet: (?:no trial has completed|none of its complete trials has a value) \(((?:{NUM} \w+(?:, )?)+)\)"
)
def no_answer(state: State, _: str) -> str:
    counts = state.study.trials.loc[~state.study.trials["repeat"], "state"].value_counts()
    states = ("complete", "pruned", "failed", "running", "waiting")
    return ", ".join(f"{counts[state]:,} {state}" for state in states if state in counts)


@says(rf"({NUM}) more failed \((.+?)\)")
def more_failed(state: State, *_: str) -> list[Expected]:
    own = state.study.trials[state.study.trials["state"] == "failed"].sort_values(["repeat", "number"]).iloc[50:]
    return [f"{len(own):,}", _why("failed", own, "")]


@shows(has("outcome", "search"))
def outcomes(state: State, rows: Rows) -> list[list[Expected]]:
    trials, made = state.study.trials, []
    repeated = trials["duplicate_of"].notna() & ~trials["repeat"]
    for row in rows[1:]:
        own = trials[(trials["state"] == row[0]) & ~repeated]
        counts = [f"{(~own['repeat']).sum():,}", f"{own['repeat'].sum():,}"]
        if row[0] == "repeated":
            counts = [f"{repeated.sum():,}", "0"]
        made.append([None, *counts, _why(row[0], own, row[3])])
    return made


def _why(state: str, own: pd.DataFrame, words: str) -> str:
    if state == "pruned":
        low, high = own["epochs"].min(), own["epochs"].max()
        span = (
            plural(low, "epoch") if low == high else f"{low:,} to {high:,} epochs (median {own['epochs'].median():g})"
        )
        return f"worse than others at the same epoch; stopped after {span}"
    if state == "failed":
        counts = own["failure"].fillna("unknown").str.replace("_", " ").value_counts()
        return ", ".join(
            f"{count:,} {kind}" for kind, count in sorted(counts.items(), key=lambda each: (-each[1], each[0]))
        )
    return words if not re.search(r"\d", words) else ""


@shows(has("trial", "class"))
def failed(state: State, rows: Rows) -> list[list[Expected]]:
    study = state.study
    own = study.trials[study.trials["state"] == "failed"].sort_values(["repeat", "number"]).head(50)
    return [
        [f"{'r' if row['repeat'] else ''}{row['number']}", None, str(row["epochs"]), None, study.configuration(row)]
        for _, row in own.iterrows()
    ]


@shows(has("trial", "stopped after epoch"))
def pruned(state: State, rows: Rows) -> list[list[Expected]]:
    own = state.study.search[state.study.search["state"] == "pruned"]
    return [[str(row["number"]), str(row["epochs"]), number(row["objective"])] for _, row in own.iterrows()]


@shows(has("stopped after epoch", "trials"))
def pruned_by_epoch(state: State, rows: Rows) -> list[list[Expected]]:
    every, made = state.study.search[state.study.search["state"] == "pruned"], []
    for row in rows[1:]:
        low, _, high = row[0].partition("–")
        own = every[every["epochs"].between(number_of(low), number_of(high or low))]
        more = f" and {len(own) - 12:,} more" if len(own) > 12 else ""
        ends = [number(own["objective"].min()), number(own["objective"].max())]
        made.append([None, f"{len(own):,}", *ends, ", ".join(map(str, own["number"].head(12))) + more])
    return made


@says(rf"<summary>({NUM}) plots? not drawn, and why</summary>")
def not_drawn(state: State, _: str) -> str:
    heading = state.block.heading
    return f"{sum(each.heading == heading for each in state.study.report.blocks) - 1:,}"


# ---- how this was made ----


@says(rf"({NUM}) of the ({NUM}) training images as the models are given them: [a-z ,]+")
def contact_sheet(state: State, shown: str, _: str) -> list[Expected]:
    training = state.study.report.facts("Data")["train"]
    return [str(min(9, int(number_of(training)))), training]


@says(
    rf"\*\*β\*\* weighs the rate in nats per image against the distortion summed over all D = ({NUM}) × ({NUM}) × ({NUM}) = ({NUM}) sub-pixels "
    rf"of an image\. In a loss that averages −log p\(x\|z\) over sub-pixels the same model has the weight β/D: β = 1 here is ({NUM}) there"
    rf"(?:, and the β = ({NUM}) of the best configuration is ({NUM}))?"
)
def beta_scale(state: State, *_: str) -> list[Expected]:
    study = state.study
    size = study.report.sub_pixels
    channels, height, width = study.report.facts("Data")["image shape"].split(" × ")
    beta = float(study.best_trial.get("params.beta", math.nan)) if study.best is not None else math.nan
    told = not math.isnan(beta) and beta not in (0, 1)
    ends = [value_text(beta), _short(beta / size)] if told else ["", ""]
    return [height, width, channels, f"{size:,}", _short(1 / size), *ends]


@says(
    rf"With (?:σ² = ({NUM})|b = ({NUM})), β = 1 here is ({NUM}) in a loss of mean (?:squared|absolute) error per sub-pixel \+ β·KL "
    rf"\((?:2σ²β/D|bβ/D)\)(?:, and β = ({NUM}) is ({NUM}))?"
)
def scale_of_error(state: State, square: str | None, scale: str | None, _: str, *rest: str) -> list[Expected]:
    """The scale is a setting; of a Gaussian, D/2σ² times the mean squared error is the sum of the loss, of a Laplace D/b times the absolute one."""
    study = state.study
    factor = (2 * number_of(square) if square else number_of(scale or "")) / study.report.sub_pixels
    beta = float(study.best_trial.get("params.beta", math.nan)) if study.best is not None else math.nan
    told = not math.isnan(beta) and beta not in (0, 1)
    return [None, None, _short(factor), *([value_text(beta), _short(factor * beta)] if told else ["", ""])]


@says(
    rf"on the test images, with k = ({NUM}) samples per image",
    rf"variance of its posterior mean over images (exceeds {NUM})",
)
def settings(state: State, words: str) -> str:
    report = state.study.report
    if words.startswith("exceeds"):
        return f"exceeds {report.setting('evaluation', 'active threshold')}"
    return report.setting("evaluation", "importance samples") or ""


def _short(value: float) -> str:
    return f"{value:.{max(0, 2 - math.floor(math.log10(value)))}f}".rstrip("0") if value < 1 else f"{value:.3g}"


@shows(lambda block: block.heading == "Seeds")
def seeds(state: State, rows: Rows) -> list[list[Expected]]:
    """The seeds of the study and of the split are constants; those of the best trial and of its repeats stand in trials.csv."""
    study, made = state.study, []
    for name, words in rows[1:]:
        expected = None
        if name == "trial of the search":
            seed = rows[1][1].partition(":")[0]
            expected = f"the first 63 bits of the SHA-256 of `{seed}:trial:N`, N being the number of the trial"
            numbers = study.trials.loc[~study.trials["repeat"], "number"]
            if len(numbers) and set(range(int(numbers.max()) + 1)) - set(
                numbers
            ):  # a trial that was revived has no row
                expected += ", without those that go on from a paused one of an earlier sweep and have its seed"
            if study.best is not None and not pd.isna(study.best_trial["seed"]):
                expected += f"; trial {study.best}: {int(study.best_trial['seed'])}"
        elif name == "fresh seeds":
            own = study.best_runs.sort_values("seed_index")["seed"].dropna() if study.confirmed else []
            told = f"; those of the confirmation of trial {study.best}: {', '.join(str(int(seed)) for seed in own)}"
            expected = words.partition("; those of")[0] + (told if len(own) else "")
        made.append([None, expected])
    return made


@shows(lambda block: block.chapter == "How this was made" and [cell.words for cell in block.rows[0]] == ["", ""])
def facts(state: State, rows: Rows) -> list[list[Expected]]:
    """Constants: settings, sizes of the data, versions, hardware. The rules take them as given."""
    return [[None, None]] * (len(rows) - 1)


@shows(has("component", "weight"))
def components(state: State, rows: Rows) -> list[list[Expected]]:
    """Weights and shares are arrays of one run's evaluation.npz: weights fall from row to row, and none is above 100 %."""
    weights = [number_of(row[1].removesuffix(" %")) for row in rows[1:]]
    assert_that(weights == sorted(weights, reverse=True) and sum(weights) <= 100.05 * 1.01)
    return [[str(place), None, None, None] for place in range(1, len(rows))]
