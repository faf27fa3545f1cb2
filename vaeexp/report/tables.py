"""Tables: best trials, the front, confirmed configurations and matched pairs; their chapter."""

import math
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, NamedTuple

import pandas as pd

from sweeps.results import MANY, MOST_LOST, Dropped, Race
from vaeexp.evaluation.metrics import METRICS, SUM
from vaeexp.report import features
from vaeexp.report.by_parameter import described, parameter_tables
from vaeexp.report.findings import pair_caveats
from vaeexp.report.markup import escape, folded, heading, narrow_tables, table
from vaeexp.report.sentences import Block, bullets, joined, markdown
from vaeexp.results.front_view import FrontView
from vaeexp.results.statements import NATS, Figure, Statement, say
from vaeexp.results.study_view import StudyView
from vaeexp.results.tables import with_best_epoch
from vaeexp.results.tested_settings import ERROR_RATE, PairComparison, TestedSetting, WinnerMargin
from vaeexp.words import (
    format_configuration,
    format_interval,
    format_least,
    format_number,
    format_reach,
    format_share,
    format_value,
    is_missing,
    of_data,
    parameter_label,
    plural,
)

TOP = 10
Column = tuple[str, Callable[[TestedSetting], str]]
"""Title, and how a cell is made from a configuration."""


def ranked_table(view: StudyView) -> str:
    """Return the ten best complete trials of the search."""
    best = with_best_epoch(view.epochs, view.ranked.head(TOP), "val")
    total, *parts = SUM
    header = [
        "rank",
        "trial",
        f"val {METRICS[total].label}",
        *(METRICS[name].label for name in (*parts, "active_units")),
        "epochs",
    ]
    rows = [
        [
            *(str(rank), str(row["number"]), format_number(row["objective"])),
            *(format_number(row.get(f"val/{name}"), METRICS[name].digits) for name in parts),
            active_share(row.get("val/active_units"), row.get("params.latent_size")),
            str(row["epochs"]),
            _configuration(view, row),
        ]
        for rank, (_, row) in enumerate(best.iterrows(), start=1)
    ]
    return narrow_tables([*header, "configuration"], rows, right=range(7))


def _configuration(view: StudyView, trial: pd.Series) -> str:
    return escape(format_configuration(view.plan.params(trial)))


def active_share(units: Any, latent_size: Any) -> str:
    """Return `10 of 34 (29 %)`: where the latent size varies, a count alone says how large the
    model is.
    """
    text = format_number(units, 1).removesuffix(".0")
    if text == "–" or is_missing(latent_size):
        return text
    return f"{text} of {latent_size:,.0f} ({format_share(units / latent_size)})"


def mean_on_test(metric: str) -> Callable[[TestedSetting], str]:
    """Return the cells of a figure on test images: its mean and interval over seeds."""
    return lambda setting: format_interval(setting.test(metric), METRICS[metric].digits)


def on_test(metric: str) -> Column:
    """Return the column of a figure on test images."""
    return f"test {METRICS[metric].label}", mean_on_test(metric)


RATE_AND_DISTORTION = tuple(map(on_test, SUM[1:]))
CONFIGURATION: Column = ("configuration", lambda setting: escape(setting.setting))


def table_of(columns: Sequence[Column], settings: Sequence[TestedSetting]) -> str:
    """Return a table with a row for each configuration; empty without one."""
    titles = [title for title, _ in columns]
    numbers = [index for index, title in enumerate(titles) if title not in ("row", "configuration")]
    rows = [[make(setting) for _, make in columns] for setting in settings]
    return narrow_tables(titles, rows, right=numbers)


def confirmed_table(view: StudyView) -> str:
    """Return the confirmed configurations over fresh seeds, with their test figures and how far the
    best is ahead.

    The best on validation stands first.
    """
    search = view.trials[~view.trials["repeat"]].set_index("number")["objective"]
    margins = {margin.source_trial: margin for margin in view.retrained.margins}
    race = view.retrained.race
    columns: list[Column] = [
        ("trial", lambda setting: str(setting.source_trial)),
        ("seeds", lambda setting: setting.seeds),
    ]
    if race is not None:
        columns.append(("race", lambda setting: place_in_race(race, setting)))
    columns += [
        ("val −ELBO, search", lambda setting: format_number(search.get(setting.source_trial))),
        ("val −ELBO, new seeds", lambda setting: format_number(setting.value)),
        on_test("neg_elbo"),
    ]
    if margins:
        columns += [
            ("above the winner", lambda setting: _above(margins.get(setting.source_trial or 0))),
            ("p (Holm)", lambda setting: _p_holm(margins.get(setting.source_trial or 0))),
        ]
    columns += [on_test("iw_nll"), *RATE_AND_DISTORTION]
    if any(setting.test("bits_per_dimension").n for setting in view.confirmed):
        columns.append((METRICS["bits_per_dimension"].label, mean_on_test("bits_per_dimension")))
    lost = [setting for setting in view.retrained.untrained if setting.baseline is None]
    return table_of([*columns, CONFIGURATION], [*view.confirmed, *lost])


def _above(margin: WinnerMargin | None) -> str:
    """Return `0.62 (−0.31 to 1.55)`; an en dash for the first configuration itself."""
    if margin is None:
        return "–"
    interval = margin.interval
    reach = f" ({format_reach(interval)})" if math.isfinite(interval.low) else ""
    return f"{format_number(interval.mean)}{reach}"


def _p_holm(margin: WinnerMargin | None) -> str:
    return "–" if margin is None or math.isnan(margin.p_holm) else format_least(margin.p_holm)


def paired_tables(view: StudyView) -> list[Block]:
    """Return for each two compared values the differences; then what limits these comparisons."""
    found = (_paired(comparison) for comparison in view.pairs if len(comparison.pairs))
    blocks = list(chain.from_iterable(found))
    return [*blocks, *map(markdown, pair_caveats(view))] if blocks else []


def _paired(comparison: PairComparison) -> list[Block]:
    """Return a row for each configuration, the winner first: its place in the search, how far
    behind it is, and the difference; then the mean difference.
    """
    first = escape(format_value(comparison.first))
    second = escape(format_value(comparison.second))
    header = [
        "configuration of trial",
        "found with",
        "rank in the search",
        "epochs there",
        "behind the winner",
        "n",
    ]
    rows = [
        [
            *(str(own.source_trial), escape(format_value(own.found_with))),
            "–" if own.rank is None else f"{own.rank:,} of {own.ranked:,}",
            f"{own.epochs:,}{'' if own.complete else ', stopped'}",
            *(format_number(own.behind), str(own.interval.n), format_interval(own.interval)),
        ]
        for own in comparison.by_configuration
    ]
    listed = table([*header, f"{second} − {first}"], rows, right=range(7))
    return [listed, joined(difference(comparison))]


def difference(comparison: PairComparison) -> list[Statement]:
    """Return the mean difference of matched pairs, how sure it is, in how many the second value is
    lower, and how many pairs lack a run.
    """
    interval = comparison.interval
    pairs = comparison.pairs
    several = comparison.configurations > 1
    mean = say(
        "pairs.mean",
        parameter=parameter_label(comparison.parameter),
        first=format_value(comparison.first),
        second=format_value(comparison.second),
        mean=Figure.of(interval),
        seeds=None if several else interval.n,
        settings=interval.n if several else None,
        lower=int((pairs["difference"] < 0).sum()),
        pairs=len(pairs),
        test="t" if interval.n < MANY else "wilcoxon",
        p=comparison.p,
        p_holm=comparison.p_holm,
    )
    lost = comparison.incomplete
    return [mean, *([say("pairs.incomplete", count=lost)] if lost else [])]


def table_chapter(view: StudyView) -> list[Block]:
    """Return the tables under their headings, the long ones folded away; a table with nothing to
    show is left out.
    """
    images = ""
    if view.retrained.per_image:
        images = "; each test image of the runs in the first table: [per_image.npz](per_image.npz)"
    blocks: list[Block] = [
        heading("Tables"),
        "All trials with all their figures: [trials.csv](trials.csv); every epoch of them: "
        f"[curves.csv](curves.csv){of_data(images)}. This report for programs: "
        "[summary.json](summary.json).",
    ]
    for section in SECTIONS:
        made = [block for block in section.make(view) if block]
        if not made:
            continue
        introduction = section.introduction
        text = introduction if isinstance(introduction, str) else introduction(view)
        inside = [of_data(text), *made]
        blocks += (
            folded(section.title, inside)
            if section.folded
            else [heading(section.title, 3), *inside]
        )
    return blocks


def _confirmed(view: StudyView) -> list[Block]:
    blocks: list[Block] = [confirmed_table(view)]
    if view.retrained.margins:
        text = (
            "Above the winner: the mean difference in test −ELBO over shared seeds with its 95 % "
            "interval (Student's t of the paired differences, from 3 seeds on). "
        )
        looks = view.retrained.race.looks if view.retrained.race else None
        pairs = max(margin.tests for margin in view.retrained.margins)
        # Without an interval there is no p, and no column of it.
        corrected = say("table.confirmed_pairs", looks=looks, pairs=pairs, rate=ERROR_RATE)
        blocks.append((text, corrected) if pairs else text)
    return [*blocks, *race_words(view)]


class Section(NamedTuple):
    """A table of the report under its heading."""

    title: str
    introduction: str | Callable[[StudyView], str]
    make: Callable[[StudyView], Sequence[Block]]
    folded: bool = True
    """Whether a reader opens it."""


SECTIONS = (
    Section(
        "Best trials of the search",
        "On validation images, in nats per image, at each trial's best epoch. Each is a single "
        "run (n = 1), which gives no interval: differences among these rows may be chance.",
        lambda view: [ranked_table(view)],
    ),
    Section(
        "Confirmed configurations",
        "Trained again with fresh seeds: mean ± 95 % interval over n = seeds (Student's t), in "
        "nats per image. The order is that of the mean validation −ELBO of these runs, so that "
        "no test image selected anything. The luck of a seed shows on validation and on test, so "
        "that the winner, in the first row, is a little too good.",
        _confirmed,
        folded=False,
    ),
    Section(
        "Matched pairs",
        "Runs that share configuration and seed and differ in one parameter alone; validation "
        "−ELBO, in nats per image. Of each value the best configuration that the search found "
        "with it takes part, because it was tuned for it, and then the next best. A rank counts "
        "complete trials first, then those that were promoted furthest; behind the winner is a "
        "configuration with its better value, over shared seeds.",
        paired_tables,
    ),
    Section("Columns and their reconstruction", features.INTRODUCTION, features.feature_blocks),
    Section("The search by parameter", described, parameter_tables),
)


def race_words(view: StudyView) -> list[Block]:
    """Return how the race of a study ended; where configurations were dropped, the rule and a list
    with a sentence for each. Empty without a race.
    """
    race = view.retrained.race
    if race is None or not race.order:
        return []
    confirming = view.trials["purposes"].map(lambda purposes: "confirm" in purposes)
    ended = say(
        "race.ended" if race.ended else "race.goes_on",
        configurations=len(race.order),
        seeds=race.most,
        left=len(race.order) - len(race.dropped),
        looked=race.looked,
        runs=int((confirming & view.trials["repeat"]).sum()),
        planned=len(race.order) * race.most,
        spread=Figure(value=race.spread, unit=NATS) if race.ended == "close" else None,
    )
    if not race.dropped:
        return [ended]
    rule = say("race.rule", pairs=race.pairs, looks=race.looks - 1, rate=MOST_LOST)
    return [joined([ended, rule]), bullets(map(_dropped, race.dropped))]


def _dropped(dropped: Dropped) -> Statement:
    trial = dropped.trial
    seeds = dropped.seeds
    leader = dropped.leader
    if leader is None:
        return say("race.dropped_failed", [trial], trial=trial, seeds=seeds)
    behind = Figure(value=dropped.behind, unit=NATS)
    return say(
        "race.dropped", [trial], trial=trial, seeds=seeds, leader=leader, behind=behind, p=dropped.p
    )


def place_in_race(race: Race, setting: TestedSetting) -> str:
    """Return a configuration's cell of the table: `won`, `dropped after 3 seeds`, or where it
    stands.
    """
    left = next(
        (dropped for dropped in race.dropped if dropped.trial == setting.source_trial), None
    )
    if left is not None:
        return f"dropped after {plural(left.seeds, 'seed')}"
    if not race.ended:
        return "in it"
    return "won" if setting.source_trial == race.order[0] else "in it to the end"


LESSON = (
    "Every row is one run with one seed (n = 1). The front takes the luckiest run at each place "
    "of many that are noisy: with fresh seeds its configurations will lie behind it on average, "
    "and which of two near trials is on the front may be chance. No interval stands here, "
    "because a bootstrap over trials would show how the front varies with the configurations "
    "that were tried, and not with seeds. Rows of `baselines` in the study file, with the "
    "settings of a trial of the front, train it with fresh seeds and test it."
)


def front_chapter(view: StudyView) -> list[Block]:
    """Return the front as a table, and what it does not show; empty with one objective, or before a
    trial is complete.
    """
    found = view.front
    if found is None or found.complete.empty:
        return []
    first, second = map(escape, found.labels)
    introduction = (
        f"The complete trials that no other complete trial equals or beats in both {first} and "
        f"{second}, on validation {view.noun}s at the last epoch, in order of {first}."
    )
    return [heading("The front"), introduction, _table(view, found), LESSON]


def _table(view: StudyView, found: FrontView) -> str:
    columns = dict(zip(found.labels, found.metrics, strict=True)) | {"−ELBO": "val/neg_elbo"}
    rows = []
    for _, row in found.members.iterrows():
        values = [format_number(row[metric]) for metric in columns.values()]
        rows.append([str(row["number"]), *values, _configuration(view, row)])
    return narrow_tables(["trial", *columns, "configuration"], rows, right=range(1 + len(columns)))
