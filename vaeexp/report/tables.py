"""Tables: best trials, the front, confirmed configurations, matched pairs, components of the best mixture; and their chapter."""

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np

from sweeps.results.racing import MOST_LOST, Dropped, Race
from sweeps.results.statistics import MANY
from vaeexp.evaluation.metrics import METRICS, SUM
from vaeexp.report.answer import caveat_words
from vaeexp.report.by_parameter import described, parameter_statements, parameter_tables
from vaeexp.report.markup import escape, folded, heading, narrow_tables, table
from vaeexp.report.sentences import sentence, words
from vaeexp.results.front_view import FrontView
from vaeexp.results.slow_learners import late_trials
from vaeexp.results.statements import NATS, Figure, Statement
from vaeexp.results.study_view import PROTOCOL, StudyView
from vaeexp.results.tables import component_order, heaviest, row_names
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
    parameter_label,
    plural,
)

TOP = 10
_KEYS = ["repeat", "number"]
SHOWN = 50
"""Pairs that are listed; all are in trials.csv."""
_NAMED = 0.1
"""Share of a class from which a component is said to serve it."""
_CLASSES = 6

Column = tuple[str, Callable[[TestedSetting], str]]
"""Title, and how a cell is made from a configuration."""
Figures = Literal["validation", "test", "other"]
"""Of which images the figures of a table are; `other` is no −ELBO at all."""


def ranked_table(view: StudyView) -> str:
    """Return the ten best complete trials of the search."""
    best = view.ranked.head(TOP)
    epochs = view.at_best_epoch(best)
    # A trial whose epochs are missing keeps its place.
    best = best.merge(epochs[[*_KEYS, *(name for name in epochs if name not in best)]], on=_KEYS, how="left")
    header = ["rank", "trial", "val −ELBO", "rate", "distortion", "active units", "epochs", "configuration"]
    rows = [
        [
            *(str(rank), str(row["number"]), format_number(row["objective"])),
            *(format_number(row.get(f"val/{name}"), METRICS[name].digits) for name in SUM[1:]),
            active_share(row.get("val/active_units"), row.get("params.latent_size")),
            str(row["epochs"]),
            escape(format_configuration(view.params(row))),
        ]
        for rank, (_, row) in enumerate(best.iterrows(), start=1)
    ]
    return narrow_tables(header, rows, right=range(7)) if rows else ""


def active_share(units: Any, latent_size: Any) -> str:
    """Return `10 of 34 (29 %)`: where the latent size varies, a count alone says how large the model is."""
    text = format_number(units, 1).removesuffix(".0")
    return (
        text
        if text == "–" or is_missing(latent_size)
        else f"{text} of {latent_size:,.0f} ({format_share(units / latent_size)})"
    )


def on_test(metric: str) -> Callable[[TestedSetting], str]:
    """Return the cells of a figure on test images: its mean and interval over seeds."""
    return lambda setting: format_interval(setting.test(metric), METRICS[metric].digits)


RATE_AND_DISTORTION: tuple[Column, ...] = tuple((f"test {METRICS[name].label}", on_test(name)) for name in SUM[1:])


def confirmed_table(view: StudyView) -> str:
    """Return the confirmed configurations over fresh seeds, with their test figures and how far the best is ahead.

    The best on validation stands first.
    """
    search = view.trials[~view.trials["repeat"]].set_index("number")["objective"]
    margins = {margin.source_trial: margin for margin in view.margins}
    shape, race = view.recorded("data").get("image_shape") or [1], view.race
    columns: list[Column] = [
        ("trial", lambda setting: str(setting.source_trial)),
        ("seeds", lambda setting: setting.seeds),
        *([] if race is None else [("race", lambda setting: place_in_race(race, setting))]),
        ("val −ELBO, search", lambda setting: format_number(search.get(setting.source_trial))),
        ("val −ELBO, new seeds", lambda setting: format_number(setting.value)),
        ("test −ELBO", on_test("neg_elbo")),
    ]
    if margins:
        columns.append(("above the first", lambda setting: _above(margins.get(setting.source_trial or 0))))
        ps = {trial: margin.p_holm for trial, margin in margins.items() if not math.isnan(margin.p_holm)}
        columns.append(
            ("p (Holm)", lambda setting: format_least(ps[setting.source_trial]) if setting.source_trial in ps else "–")
        )
    columns += [("test IW-NLL", on_test("iw_nll")), *RATE_AND_DISTORTION]
    if shape[0] > 1:
        size = math.prod(shape)
        columns.append(("nats per sub-pixel", lambda setting: format_number(setting.test("neg_elbo").mean / size, 4)))
    if any(setting.test("bits_per_dimension").n for setting in view.confirmed):
        columns.append(("bits per dimension", on_test("bits_per_dimension")))
    columns.append(("configuration", lambda setting: escape(setting.setting)))
    shown = [*view.confirmed, *(setting for setting in view.untrained if setting.baseline is None)]
    rows = [[make(setting) for _, make in columns] for setting in shown]
    return narrow_tables([title for title, _ in columns], rows, right=range(len(columns) - 1)) if rows else ""


def _above(margin: WinnerMargin | None) -> str:
    """Return `0.62 (−0.31 to 1.55)`; an en dash for the first configuration itself."""
    if margin is None:
        return "–"
    reach = f" ({format_reach(margin.interval)})" if math.isfinite(margin.interval.low) else ""
    return f"{format_number(margin.interval.mean)}{reach}"


def paired_tables(view: StudyView) -> list[str]:
    """Return for each two compared values the pairs and their mean difference; then what limits these comparisons."""
    blocks = [block for comparison in view.pairs if len(comparison.pairs) for block in _paired(comparison)]
    return [*blocks, *caveat_words(view)] if blocks else []


def _paired(comparison: PairComparison) -> list[str]:
    pairs = comparison.pairs.sort_values(["source_trial", "seed_index"])
    columns = (f"objective.{comparison.first}", f"objective.{comparison.second}", "difference")
    rows = [
        [f"{row['source_trial']:.0f}", f"{row['seed_index']:.0f}", *(format_number(row[name]) for name in columns)]
        for _, row in pairs.head(SHOWN).iterrows()
    ]
    first, second = escape(format_value(comparison.first)), escape(format_value(comparison.second))
    titles = [f"{first} val −ELBO", f"{second} val −ELBO", f"{second} − {first}"]
    listed = table(["configuration of trial", "seed index", *titles], rows, right=range(5))
    said = " ".join(sentence(statement, escape) for statement in difference(comparison))
    return [_by_configuration(comparison, titles[-1]), listed, said]


def _by_configuration(comparison: PairComparison, difference: str) -> str:
    """Return a row for each configuration, the winner first: its place in the search, how far behind it is, and the difference."""
    header = ["configuration of trial", "found with", "rank in the search", "epochs there", "behind the winner", "n"]
    rows = [
        [
            *(str(own.source_trial), escape(format_value(own.found_with))),
            "–" if own.rank is None else f"{own.rank:,} of {own.ranked:,}",
            f"{own.epochs:,}{'' if own.complete else ', stopped'}",
            format_number(own.behind),
            str(own.interval.n),
            format_interval(own.interval),
        ]
        for own in comparison.by_configuration[:SHOWN]
    ]
    return table([*header, difference], rows, right=range(7)) if rows else ""


def difference(comparison: PairComparison) -> list[Statement]:
    """Return the mean difference of matched pairs, how sure it is, in how many the second value is lower, and which pairs are not listed."""
    interval, several = comparison.interval, comparison.configurations > 1
    values = {
        "parameter": parameter_label(comparison.parameter),
        "first": format_value(comparison.first),
        "second": format_value(comparison.second),
        "mean": Figure.of(interval),
        "lower": int((comparison.pairs["difference"] < 0).sum()),
        "pairs": len(comparison.pairs),
        "test": "t" if interval.n < MANY else "wilcoxon",
        "p": comparison.p,
        "p_holm": comparison.p_holm,
    }
    kind = "few" if math.isnan(comparison.p) else "over_settings" if several else "over_seeds"
    rest = {"incomplete": comparison.incomplete, "not_listed": len(comparison.pairs) - SHOWN}
    return [
        Statement(id=f"pairs.{kind}", values=values),
        *(Statement(id=f"pairs.{name}", values={"count": count}) for name, count in rest.items() if count > 0),
    ]


def late_table(view: StudyView) -> list[str]:
    """Return the paused trials that were trained to their end, and what their distance to the winner is; empty without one."""
    found = late_trials(view)
    if not found:
        return []
    trials = view.search
    rows = [
        [
            f"{late.number}",
            f"{late.rank:,} of {late.reached:,} at epoch {late.rung}",
            format_number(late.at_rung),
            format_number(late.value),
            format_number(late.ahead.mean)
            + (f" ({format_reach(late.ahead)})" if math.isfinite(late.ahead.low) else ""),
            escape(format_configuration(view.params(trials[trials["number"] == late.number].iloc[0]))),
        ]
        for late in found
    ]
    header = [
        "trial",
        "rank when paused",
        "val −ELBO when paused",
        "val −ELBO",
        f"before trial {found[0].winner}",
        "configuration",
    ]
    return [narrow_tables(header, rows, right=range(5)), _LATE]


_LATE = (
    "Before the winner: its validation −ELBO minus that of the run, above 0 where the paused trial is better. In brackets, by how much two runs "
    "of one configuration differ at most, at 5 % for all these rows together (Student's t with the spread of the confirmed seeds)."
)


def component_table(view: StudyView) -> list[str]:
    """Return a row per component of the best mixture prior, as `heaviest` orders them, and how well components tell classes apart.

    Empty without a mixture or without classes.
    """
    best = view.best_with("component_classes")
    if best is None:
        return []
    arrays = best[1]
    shares, weights, classes = arrays["component_classes"], arrays["component_weights"], arrays["classes"].tolist()
    order = heaviest(weights)
    rows = [
        [str(rank), _percent(weights[k]), _percent(np.nanmean(shares[k])), _served(shares[k], classes)]
        for rank, k in enumerate(order, start=1)
    ]
    served = f"classes of which it serves {_percent(_NAMED, 0)} or more"
    header = ["component", "weight", "mean share of a class", served]
    said = (sentence(statement, escape) for statement in component_statements(view))
    return [table(header, rows, right=range(3)), " ".join([f"Components stand {component_order(weights)}.", *said])]


def component_statements(view: StudyView) -> list[Statement]:
    """Return how many components of the best mixture are not listed, and how well components tell classes apart."""
    best = view.best_with("component_classes")
    if best is None:
        return []
    row, arrays = best
    weights, names = arrays["component_weights"], tuple(row_names(row.to_frame().T))
    left_out = len(weights) - len(heaviest(weights))
    kind = "further_alike" if np.allclose(weights, weights[0]) else "further"
    further = [Statement(id=f"components.{kind}", values={"count": left_out}, rows=names)] if left_out else []
    share = Figure(value=100 * purity(arrays["component_classes"]), unit="%", digits=1)
    return [*further, Statement(id="components.purity", values={"purity": share}, rows=names)]


def purity(shares: np.ndarray) -> float:
    """Return the share of images whose component's main class is theirs, classes weighted alike; of shares [K, n].

    The share is 1 where no component serves two classes, 1/n where all serve all alike. A class with a NaN is left out.
    """
    present = ~np.isnan(shares).any(axis=0)
    return float(shares[:, present].max(axis=1).sum() / present.sum())


def _served(shares: np.ndarray, classes: list[str]) -> str:
    """Return the names and shares of the classes that a component serves, the greatest share first."""
    served = [label for label in np.argsort(-np.nan_to_num(shares), kind="stable") if shares[label] >= _NAMED]
    names = [f"{escape(classes[label])} ({_percent(shares[label], 0)})" for label in served[:_CLASSES]]
    more = len(served) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "") or "–"


def _percent(share: float, digits: int = 1) -> str:
    return f"{format_number(100 * share, digits)} %"


def table_chapter(view: StudyView) -> list[str]:
    """Return the tables under their headings, the long ones folded away; a table with nothing to show is left out."""
    images = (
        "; each test image of the runs in the first table: [per_image.npz](per_image.npz)" if view.per_image else ""
    )
    blocks = [
        heading("Tables"),
        f"All trials with all their figures: [trials.csv](trials.csv); every epoch of them: [curves.csv](curves.csv){images}. This "
        "report for programs: [summary.json](summary.json).",
    ]
    for section in SECTIONS:
        made = [block for block in section.make(view) if block]
        if not made:
            continue
        introduction = section.introduction
        text = introduction if isinstance(introduction, str) else introduction(view)
        inside = [text, protocol_line(view, section.figures), *made]
        if section.folded:
            blocks += folded(section.title, inside)
        else:
            blocks += [heading(section.title, 3), *(block for block in inside if block)]
    return blocks


def protocol_line(view: StudyView, figures: Figures) -> str:
    """Return in a line what the figures of a table have in common; empty where the study has one protocol alone."""
    protocol = view.recorded("protocol")
    others = view.recorded("protocols").values()
    if all(other.get(name) == protocol.get(name) for other in others for name in PROTOCOL):
        return ""
    parts = [protocol[name] for name in ("data", "split") if protocol.get(name)]
    for name in ("binarisation", "likelihood", "posterior"):
        value = protocol.get(name) or view.fixed(name)
        # The protocol at the end of the report says in full what a binarisation means.
        parts += [f"{name} {str(value).split(' (')[0]}"] if value else []
    if figures != "other":
        parts.append("−ELBO at β = 1 with one posterior sample per image")
    weighted = _weighted(view) if figures == "test" else None
    parts += [words(weighted)] if weighted else []
    return f"Protocol: {escape('; '.join(parts))}."


def _weighted(view: StudyView) -> Statement | None:
    samples = view.fixed("importance_samples")
    return Statement(id="table.samples", values={"samples": samples}) if samples else None


def _confirmed_pairs(view: StudyView) -> Statement:
    looks = view.race.looks if view.race else None
    values = {"looks": looks, "pairs": max(margin.tests for margin in view.margins), "rate": ERROR_RATE}
    return Statement(id="table.confirmed_pairs", values=values)


def table_statements(view: StudyView) -> list[Statement]:
    """Return what stands below the tables of this chapter."""
    said: list[Statement] = []
    if any(_confirmed(view)):
        weighted = _weighted(view) if protocol_line(view, "test") else None
        said += [*([weighted] if weighted else []), *([_confirmed_pairs(view)] if view.margins else []), *race(view)]
    said += [one for comparison in view.pairs if len(comparison.pairs) for one in difference(comparison)]
    return [*said, *parameter_statements(view), *component_statements(view)]


def _confirmed(view: StudyView) -> list[str]:
    if not view.margins:
        return [confirmed_table(view), *race_words(view)]
    above = (
        "Above the first: the mean difference in test −ELBO over shared seeds with its 95 % interval (Student's t of the paired "
        f"differences, from 3 seeds on). {sentence(_confirmed_pairs(view), escape)}"
    )
    return [confirmed_table(view), above, *race_words(view)]


class Section(NamedTuple):
    """A table of the report under its heading."""

    title: str
    introduction: str | Callable[[StudyView], str]
    figures: Figures
    make: Callable[[StudyView], list[str]]
    folded: bool = True
    """Whether a reader opens it."""


SECTIONS = (
    Section(
        "Best trials of the search",
        "On validation images, in nats per image, at each trial's best epoch. Each is a single run (n = 1), which gives no "
        "interval: differences among these rows may be chance.",
        "validation",
        lambda view: [ranked_table(view)],
    ),
    Section(
        "Confirmed configurations",
        "Trained again with fresh seeds: mean ± 95 % interval over n = seeds (Student's t), in nats per image. The order is "
        "that of the mean validation −ELBO of these runs, so that no test image selected anything. The luck of a seed shows on "
        "validation and on test, so that the first row is a little too good.",
        "test",
        _confirmed,
        folded=False,
    ),
    Section(
        "Matched pairs",
        "Runs that share configuration and seed and differ in one parameter alone; validation −ELBO, in nats per image. Of each value the best "
        "configuration that the search found with it takes part, because it was tuned for it, and then the next best. A rank counts complete "
        "trials first, then those that were promoted furthest; behind the winner is a configuration with its better value, over shared seeds.",
        "validation",
        paired_tables,
    ),
    Section(
        "Paused trials, trained to their end",
        "Those that fell most in the last epoch before their pause, each trained to its end with its own seed, outside the search: does the pruner "
        "stop slow learners? In nats per image.",
        "validation",
        late_table,
    ),
    Section("The search by parameter", described, "validation", parameter_tables),
    Section("Classes served by each component", "On test images, of the best mixture.", "other", component_table),
)


def race_words(view: StudyView) -> list[str]:
    """Return how the race of a study ended, then a list with a sentence for each dropped configuration; empty without a race."""
    said = {statement.id: sentence(statement, escape) for statement in race(view)}
    dropped = [f"- {sentence(one, escape)}" for one in race(view) if one.id.startswith("race.dropped")]
    opening = " ".join(words for name, words in said.items() if not name.startswith("race.dropped"))
    return [block for block in (opening, "\n".join(dropped)) if block]


def race(view: StudyView) -> list[Statement]:
    """Return how the race ended and, where configurations were dropped, the rule and when each was dropped."""
    race, repeats = view.race, view.trials[view.trials["repeat"]]
    if race is None or not race.order:
        return []
    left = len(race.order) - len(race.dropped)
    values = {"configurations": len(race.order), "seeds": race.most, "left": left, "looked": race.looked}
    values |= {"runs": int(repeats["purposes"].map(lambda purposes: "confirm" in purposes).sum())}
    values |= {"planned": len(race.order) * race.most}
    spread = Figure(value=race.spread, unit=NATS) if race.ended == "close" else None
    kind = race.ended or ("goes_on" if race.looked else "begun")
    ended = Statement(id=f"race.{kind}", values={**values, "spread": spread})
    if not race.dropped:
        return [ended]
    rule = {"pairs": race.pairs, "looks": race.looks - 1, "rate": MOST_LOST}
    return [ended, Statement(id="race.rule", values=rule), *map(_dropped, race.dropped)]


def _dropped(dropped: Dropped) -> Statement:
    rows, values = (str(dropped.trial),), {"trial": dropped.trial, "seeds": dropped.seeds}
    if dropped.leader is None:
        return Statement(id="race.dropped_failed", values=values, rows=rows)
    behind = Figure(value=dropped.behind, unit=NATS)
    return Statement(
        id="race.dropped", values={**values, "leader": dropped.leader, "behind": behind, "p": dropped.p}, rows=rows
    )


def place_in_race(race: Race, setting: TestedSetting) -> str:
    """Return a configuration's cell of the table: `won`, `dropped after 3 seeds`, or where it stands."""
    left = next((dropped for dropped in race.dropped if dropped.trial == setting.source_trial), None)
    if left is not None:
        return f"dropped after {plural(left.seeds, 'seed')}"
    if not race.ended:
        return "in it"
    return "won" if setting.source_trial == race.order[0] else "in it to the end"


LESSON = (
    "Every row is one run with one seed (n = 1). The front takes the luckiest run at each place of many that are noisy: with fresh seeds "
    "its configurations will lie behind it on average, and which of two near trials is on the front may be chance. No interval stands here, "
    "because a bootstrap over trials would show how the front varies with the configurations that were tried, and not with seeds. "
    "Rows of `baselines` in the study file, with the settings of a trial of the front, train it with fresh seeds and test it."
)


def front_chapter(view: StudyView) -> list[str]:
    """Return the front as a table, what it does not show, and its hypervolume; empty with one objective, or before a trial is complete."""
    found = view.front
    if found is None or found.complete.empty:
        return []
    first, second = map(escape, found.labels)
    introduction = (
        f"The complete trials that no other complete trial equals or beats in both {first} and {second}, on validation images at the last "
        f"epoch, in order of {first}."
    )
    return [heading("The front"), introduction, _table(view, found), LESSON, sentence(volume(found), escape)]


def _table(view: StudyView, found: FrontView) -> str:
    columns = dict(zip(found.labels, found.metrics, strict=True)) | {"−ELBO": "val/neg_elbo"}
    rows = [
        [
            str(row["number"]),
            *(format_number(row[metric]) for metric in columns.values()),
            escape(format_configuration(view.params(row))),
        ]
        for _, row in found.members.iterrows()
    ]
    return narrow_tables(["trial", *columns, "configuration"], rows, right=range(1 + len(columns)))


def volume(found: FrontView) -> Statement:
    """Return the hypervolume with its reference point."""
    first, second = (float(value) for value in found.reference)
    values = {
        "first": found.labels[0],
        "second": found.labels[1],
        "volume": Figure(value=found.volume, unit=found.unit),
    }
    values |= {"unit": found.unit, "first_worst": Figure(value=first), "second_worst": Figure(value=second)}
    return Statement(id="front.volume", values=values)
