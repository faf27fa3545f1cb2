"""Rules for the tables of the search, of the confirmed configurations, of matched pairs and of each
protocol, and for their sentences.
"""

import math
import re

import numpy as np
import pandas as pd
import recompute_seeds
from recompute_figures import Study
from recompute_files import Parameter, number_of
from recompute_race import place_in_race
from recompute_rules import NUM, Expected, State, assert_that, shows
from recompute_statements import samples
from recompute_statistics import Mean, interval, number, p_words, reach, share, student

Rows = list[list[str]]


HEADLINE = ("row", "n", "test −ELBO", "test IW-NLL (k)")
MEASURES = {
    "rate": ("rate", 2),
    "FID": ("fid", 2),
    "MSE": ("reconstruction_mse", 5),
    "1 − R²": ("unexplained_variance", 4),
}
"""Column of the headline table → its metric and decimals."""


def active(units: float, size: float) -> str:
    text = number(units, 1).removesuffix(".0")
    return (
        text
        if text == "–" or math.isnan(size)
        else f"{text} of {size:,.0f} ({share(units / size)})"
    )


def get(row: pd.Series, name: str) -> float:
    value = row.get(name, math.nan)
    return math.nan if value is None else float(value)


def has(*titles: str):
    """Tell of a block whether its table begins with these titles."""
    return lambda block: [cell.words for cell in block.rows[0][: len(titles)]] == list(titles)


# ---- the headline table ----


@shows(has("row", "n"))
def headline(state: State, rows: list[list[str]]) -> list[list[Expected]]:
    # Columns that are empty in all rows are left out.
    titles = [*HEADLINE, *MEASURES, "comparable?"]
    made = [dict(zip(titles, _headline_row(state.study, row[0]), strict=True)) for row in rows[1:]]
    left = set(titles) - set(rows[0])
    assert_that(all(cells[title] in ("–", None) for cells in made for title in left))
    return [[cells[title] for title in rows[0]] for cells in made]


def _headline_row(study: Study, title: str) -> list[Expected]:
    if title == "published (Burda et al. 2016)":
        binarisation = (study.report.setting("data", "binarisation") or "").split(" ")[0]
        figure = {"dynamic": "86.76 (5,000)", "static": "88.71 (5,000)"}[binarisation]
        return [title, "–", "–", figure, *["–"] * len(MEASURES), None]
    if title.endswith(", as published"):
        return [title, *["–"] * (3 + len(MEASURES)), None]
    runs = study.runs_of(title)
    if runs is None:
        assert_that(recompute_seeds.count(study, title, 0) != "0")
        return [None, recompute_seeds.count(study, title, 0), *["–"] * (2 + len(MEASURES)), None]
    last = title.endswith(", last epoch")
    when = "test_last" if last else "test"
    plain = study.deterministic(title.removesuffix(", last epoch"))
    total = study.test(runs, "distortion" if plain else "neg_elbo", when)
    weighted, counts = study.test(runs, "iw_nll"), samples(runs)
    k = (
        f"{interval(weighted)} ({counts[0]:,})"
        if weighted.n and len(counts) == 1 and not last
        else "–"
    )
    cells = [
        interval(study.test(runs, metric, when), digits) for metric, digits in MEASURES.values()
    ]
    cells[0] = "–" if plain else cells[0]
    return [
        None,
        recompute_seeds.count(study, title, total.n),
        "–" if plain else interval(total),
        k,
        *cells,
        None,
    ]


# ---- the search ----


@shows(has("rank", "trial"))
def best_trials(state: State, rows: Rows) -> list[list[Expected]]:
    study, made = state.study, []
    for place, (_, row) in enumerate(study.ranked.head(10).iterrows(), start=1):
        cells = {
            "rank": str(place),
            "trial": str(row["number"]),
            "val −ELBO": number(row["objective"]),
            "rate": number(get(row, "val/rate")),
            "distortion": number(get(row, "val/distortion")),
            "active units": active(get(row, "val/active_units"), get(row, "params.latent_size")),
            "epochs": str(row["epochs"]),
            "configuration": study.configuration(row),
        }
        made.append([cells[title] for title in rows[0]])
    return made


def _is_by_parameter(block) -> bool:
    titles = [cell.words for cell in block.rows[0]]
    return "median, pruned as worse" in titles


@shows(_is_by_parameter)
def by_parameter(state: State, rows: Rows) -> list[list[Expected]]:
    study = state.study
    names = rows[0][: rows[0].index("complete (n)")]
    own, groups = _groups(study, names, rows)
    medians = [_median(group) for group in groups]
    told = [
        place
        for place, group in enumerate(groups)
        if _complete(group).size > 1 and math.isfinite(medians[place])
    ]
    lowest = min(told, key=lambda place: medians[place], default=None)
    made: list[list[Expected]] = []
    for place, group in enumerate(groups):
        complete, median = _complete(group), number(medians[place])
        bold = place == lowest and len(told) > 1
        counts = [f"{(group['state'] == state).sum():,}" for state in ("pruned", "failed")]
        best = number(complete.min() if complete.size else math.nan)
        made.append(
            [
                *[None] * len(names),
                f"{complete.size:,}",
                *counts,
                best,
                f"**{median}**" if bold else median,
            ]
        )
    _all_counted(study, own, groups)
    return made


def _groups(
    study: Study, names: list[str], rows: Rows
) -> tuple[list[Parameter], list[pd.DataFrame]]:
    """Return the parameters with these labels, and the trials of each row, by its first cells."""
    own = [next(each for each in study.parameters.values() if each.label == name) for name in names]
    groups = []
    for row in rows[1:]:
        chosen = pd.Series(True, index=study.search.index)
        for each, text in zip(own, row, strict=False):
            chosen &= _in(each, text, study.search)
        groups.append(study.search[chosen])
    return own, groups


def _is_promoted(block) -> bool:
    return "promoted" in [cell.words for cell in block.rows[0]]


@shows(_is_promoted)
def by_parameter_promoted(state: State, rows: Rows) -> list[list[Expected]]:
    study = state.study
    names = rows[0][: rows[0].index("trials")]
    own, groups = _groups(study, names, rows)
    made: list[list[Expected]] = []
    for group in groups:
        complete = _complete(group)
        counts = [
            len(group),
            group["number"].isin(study.judged).sum(),
            complete.size,
            (group["state"] == "failed").sum(),
        ]
        best = number(complete.min() if complete.size else math.nan)
        made.append([*[None] * len(names), *(f"{count:,}" for count in counts), best])
    _all_counted(study, own, groups)
    return made


def _in(own: Parameter, text: str, trials: pd.DataFrame) -> pd.Series:
    values = own.values(trials)
    if text in ("– (not used)", "–"):
        return values.isna()
    if own.texts:
        return values == text
    low, _, high = text.partition("–")
    return values.between(number_of(low), number_of(high or low))


def _complete(group: pd.DataFrame) -> np.ndarray:
    return group.loc[group["state"] == "complete", "objective"].dropna().to_numpy()


def _median(group: pd.DataFrame) -> float:
    complete, pruned = _complete(group), int((group["state"] == "pruned").sum())
    if len(complete) <= pruned:
        return math.nan
    return float(np.median([*complete, *[math.inf] * pruned]))


def _all_counted(study: Study, own: list[Parameter], groups: list[pd.DataFrame]) -> None:
    """Raise ValueError where a trial stands in two rows, or in none although its values were
    covered.
    """
    counted = pd.concat(groups)["number"]
    left = pd.Series(False, index=study.search.index)
    for each in own:
        left |= each.values(study.search).isin(study.uncovered.get(each.name, []))
    if counted.duplicated().any() or set(counted) != set(study.search.loc[~left, "number"]):
        raise ValueError("the rows are not all trials, each once")


# ---- confirmed configurations ----


@shows(lambda block: block.heading == "Confirmed configurations" and has("trial")(block))
def confirmed(state: State, rows: Rows) -> list[list[Expected]]:
    study = state.study
    made = []
    lost = [
        int(each.title.split()[1])
        for each in recompute_seeds.asked(study)
        if each.purpose == "confirm" and len(each.failed) and not each.complete
    ]
    for trial in [*study.confirmed, *lost]:
        runs = study.confirmed.get(trial, study.repeats.head(0))
        found = study.search.loc[study.search["number"] == trial, "objective"]
        margin = study.margins.get(trial)
        cells = {
            "trial": str(trial),
            "seeds": recompute_seeds.count(study, f"Trial {trial}, confirmed", len(runs)),
            "race": None if study.race is None else place_in_race(study.race, trial),
            "val −ELBO, search": number(found.iloc[0] if len(found) else math.nan),
            "val −ELBO, new seeds": number(runs["objective"].mean()),
            "test −ELBO": interval(study.test(runs, "neg_elbo")),
            "above the winner": "–" if margin is None else _above(margin.mean),
            "p (Holm)": "–"
            if margin is None or math.isnan(margin.p_holm)
            else p_words(margin.p_holm)[2:].removeprefix("= "),
            "test IW-NLL": interval(study.test(runs, "iw_nll")),
            "test rate": interval(study.test(runs, "rate")),
            "test distortion": interval(study.test(runs, "distortion")),
            "bits per dimension": interval(study.test(runs, "bits_per_dimension"), 3),
            "configuration": study.configuration(
                (runs if len(runs) else study.search[study.search["number"] == trial]).iloc[0]
            ),
        }
        made.append([cells[title] for title in rows[0]])
    return made


def _above(margin: Mean) -> str:
    return number(margin.mean) + (f" ({reach(margin)})" if math.isfinite(margin.low) else "")


# ---- matched pairs ----


@shows(has("configuration of trial", "found with"))
def paired_configurations(state: State, rows: Rows) -> list[list[Expected]]:
    study, title = state.study, rows[0][-1]
    each = next(
        each
        for each in study.pairs
        if f"{each.second} − {each.first}" == title
        and {str(own) for own in each.table["source"]} >= {row[0] for row in rows[1:]}
    )
    tables = dict(list(each.table.groupby("source")))
    places = {int(number_): place for place, number_ in enumerate(study.found["number"], start=1)}
    order = sorted(
        tables,
        key=lambda source: (source != study.best, places.get(source, len(places) + 1), source),
    )
    better = {source: _better(own) for source, own in tables.items()}
    best = study.confirmed.get(study.best or -1)
    winner = (
        better[order[0]]
        if best is None
        else best.dropna(subset=["seed_index"]).set_index("seed_index")["objective"]
    )
    made = []
    for source in order:
        trial = study.search[study.search["number"] == source].iloc[0]
        gaps = (better[source] - winner).dropna()
        made.append(
            [
                str(source),
                study.parameters[each.parameter].values(trial.to_frame().T).iloc[0],
                f"{places[source]:,} of {len(places):,}",
                f"{trial['epochs']:,}{'' if trial['state'] == 'complete' else ', stopped'}",
                number(gaps.mean() if len(gaps) else math.nan),
                str(len(tables[source])),
                interval(student(tables[source]["difference"])),
            ]
        )
    return made


def _better(own: pd.DataFrame) -> pd.Series:
    """Return the values of the level with the lower mean by seed index."""
    lower = "first" if own["first"].mean() <= own["second"].mean() else "second"
    return own.set_index("seed_index")[lower]


# ---- rows by protocol ----

QUALITY = {
    "MSE": ("reconstruction_mse", 5),
    "SSIM": ("reconstruction_ssim", 4),
    "FID (classifier features)": ("fid", 2),
    "IS (classifier)": ("inception_score", 2),
}
ON_TEST = {
    "test distortion": ("distortion", 2),
    "test rate": ("rate", 2),
    "test −ELBO": ("neg_elbo", 2),
    "bits per dimension": ("bits_per_dimension", 3),
    **QUALITY,
}


@shows(lambda block: block.chapter == "Rows by protocol" and has("row")(block))
def protocol(state: State, rows: Rows) -> list[list[Expected]]:
    return [[_cell(state.study, row[0], title) for title in rows[0]] for row in rows[1:]]


def _cell(study: Study, title: str, column: str) -> Expected:
    runs = study.runs_of(title)
    if runs is None:
        raise KeyError(title)
    if column in ON_TEST:
        metric, digits = ON_TEST[column]
        return interval(study.test(runs, metric), digits)
    if found := re.fullmatch(rf"test IW-NLL, k = ({NUM})", column):
        chosen = runs[runs["result.test/importance_samples"] == number_of(found[1])]
        return interval(study.test(chosen, "iw_nll"))
    if column in ("active units", "dimensions in use"):
        metric = "active_units" if column == "active units" else "used_dimensions"
        latent = runs["params.latent_size"].iloc[0] if "params.latent_size" in runs else math.nan
        return active(study.test(runs, metric).mean, float(latent))
    if column.startswith("train "):
        curves = study.epochs[study.epochs["repeat"] & study.epochs["number"].isin(runs["number"])]
        metric = {
            "train −ELBO, last epoch": "neg_elbo",
            "train distortion, last epoch": "distortion",
        }.get(column, "loss")
        last = curves.sort_values("epoch").groupby("number")[f"train/{metric}"].last().dropna()
        return interval(student(last))
    if column == "configuration":
        return study.configuration(runs.iloc[0]) if title not in study.rows else None
    return {
        "row": None,
        "seeds": recompute_seeds.count(study, title, len(runs)),
        "best epoch": f"{_span(runs['best_epoch'])} of {_span(runs['epochs'])}",
        "val −ELBO": interval(student(runs["objective"])),
        "val distortion": interval(student(runs["objective"])),
    }[column]


def _span(counts: pd.Series) -> str:
    low, high = int(counts.min()), int(counts.max())
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"
