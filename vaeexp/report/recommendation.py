"""What a study says to use and what one gets: the first lines of its answer."""

import math
from typing import Any, Literal

import pandas as pd

from sweeps.results import Interval, mean_interval
from vaeexp.evaluation.metrics import METRICS, REACHED
from vaeexp.report.headline import shared_result
from vaeexp.results.broken_seeds import broken_runs
from vaeexp.results.equally_good import EquallyGood, equally_good
from vaeexp.results.front_view import FrontView
from vaeexp.results.new_seeds import failed_seeds, seeds_of
from vaeexp.results.statements import NATS, Figure, Statement, say
from vaeexp.results.study_view import StudyView
from vaeexp.results.tables import finite, row_names
from vaeexp.results.tested_settings import TestedSetting, WinnerMargin
from vaeexp.results.unequal_spread import unequal_spread
from vaeexp.words import parameter_label

EQUAL = 0.01
"""Share of a −ELBO within which two are as good as equal."""
STATES = ("complete", "pruned", "failed", "running", "paused", "waiting")


# ---- what to use ----


def use(view: StudyView) -> list[Statement]:
    """Return the setting to use, and the ranges that are as good."""
    if view.front is not None and len(view.front.members):
        return [_front(view.front)]
    trial = view.best_trial
    if view.verdict.nothing_learned:
        return [view.verdict.nothing_learned[0]]
    if trial is None:
        return [_nothing_yet(view)]
    configuration = view.plan.params(trial)
    number = int(trial["number"])
    kind = "use.trial" if view.study.finished else "use.so_far"
    chosen = say(
        kind if configuration else "use.only_trial",
        [number],
        trial=number,
        configuration=configuration,
    )
    good = equally_good(view)
    as_good = [_as_good(good, view.confirmed[0].value)] if good else []
    return [*view.verdict.hardly_trained[:1], chosen, *as_good]


def _as_good(good: EquallyGood, level: float) -> Statement:
    named = tuple(
        say(
            "good.confirmed" if setting.confirmed else "good.one_run",
            [setting.trial],
            trial=setting.trial,
            differs=setting.differs or None,
        )
        for setting in good.settings
    )
    return say(
        "use.as_good" if good.within <= EQUAL * abs(level) else "use.unclear",
        good.trials,
        settings=named,
        more=len(good.trials) - len(named) or None,
        confirmed=sum(setting.confirmed for setting in good.settings) or None,
        limit=Figure(value=good.limit, unit=NATS),
    )


def _front(front: FrontView) -> Statement:
    members = front.members
    values: dict[str, Any] = {}
    ends = {"low": members.iloc[0]} | ({"high": members.iloc[-1]} if len(members) > 1 else {})
    for end, row in ends.items():
        values[f"{end}_trial"] = int(row["number"])
        for place, metric in zip(("first", "second"), front.metrics, strict=True):
            values[f"{end}_{place}"] = Figure(value=float(row[metric]))
    first, second = front.labels
    counts = {"count": len(members), "complete": len(front.complete)}
    return say("use.front", row_names(members), first=first, second=second, **counts, **values)


def _nothing_yet(view: StudyView) -> Statement:
    counts = view.search["state"].value_counts()
    states = {state: int(counts[state]) for state in STATES if state in counts}
    return say("use.nothing", states=states or None)


# ---- what one gets ----


def get(view: StudyView) -> list[Statement]:
    """Return what the best setting reaches, how far the next one is behind, and which unfinished
    trial had come further.
    """
    best = view.best
    if best is None or view.front is not None or view.verdict.nothing_learned:
        return []
    runs = view.retrained.confirm_runs[
        view.retrained.confirm_runs["source_trial"] == view.best_number
    ]
    reached = _tested(view, best, runs) if len(runs) else _searched(view)
    margins = [_margin(margin, best.value) for margin in view.retrained.margins[:1]]
    good = equally_good(view)
    # What is listed as good is not said to be so a second time.
    if good and margins and margins[0].id in ("get.tie", "get.unclear"):
        named = [one.trial for one in good.settings]
        margins = [one for one in margins if one.values["trial"] not in named]
    return [
        reached,
        *_differs(view),
        *margins,
        *_seeds(view),
        *view.verdict.came_further,
    ]


def _differs(view: StudyView) -> list[Statement]:
    """Say why the winner is not the best in the search, where it is another trial."""
    first = int(view.ranked["number"].iloc[0])
    values = {setting.source_trial: Figure(setting.value, NATS) for setting in view.confirmed}
    if first == view.best_number or not {first, view.best_number} <= values.keys():
        return []
    numbers = {"trial": view.best_number, "best": first}
    values_of = {"value": values[view.best_number], "other": values[first]}
    return [say("get.differs", numbers.values(), **numbers, **values_of)]


def _seeds(view: StudyView) -> list[Statement]:
    """Say what speaks against the figure of the winner: seeds that broke and spared it, and a
    spread over seeds that differs by a value.
    """
    said = []
    broken = [run for run in broken_runs(view) if "confirm" in run.purposes and run.behind >= 1]
    if broken and view.best_number not in [run.source_trial for run in broken]:
        said.append(
            say(
                "get.spared",
                [f"r{run.number}" for run in broken],
                broken=len(broken),
                runs=len(view.retrained.confirm_runs),
                by=Figure(math.floor(min(run.behind for run in broken)), NATS, digits=0),
            )
        )
    if unequal := unequal_spread(view):
        values = tuple(
            say(
                "seeds.of_value",
                value=one.value,
                **{name: Figure(getattr(one, name), NATS) for name in ("spread", "mean", "best")},
            )
            for one in unequal.values
        )
        parameter = parameter_label(unequal.parameter)
        said.append(say("get.unequal", parameter=parameter, values=values, p=unequal.p))
    return said


def _tested(view: StudyView, best: TestedSetting, runs: pd.DataFrame) -> Statement:
    more = {
        "planned": best.planned if best.planned > len(runs) else None,
        "failed": _failures(view),
    }
    total, kind = (
        ("distortion", "get.distortion") if best.deterministic else ("neg_elbo", "get.confirmed")
    )
    # What one gets stands first.
    figures = {name: figure_on_test(best, name) for name in (total, *REACHED)}
    if figures[total]:
        samples = shared_result(best, "importance_samples")
        return say(kind, row_names(runs), **figures, **more, samples=samples)
    again = Figure.of(mean_interval(finite(runs["objective"]).tolist()))
    return say("get.validation", row_names(runs), again=again, **more)


def figure_on_test(setting: TestedSetting, name: str) -> Figure | None:
    """Return a test figure of a setting with its interval over seeds; None where no run has it."""
    return metric_figure(setting.test(name), name)


def metric_figure(interval: Interval | None, name: str) -> Figure | None:
    """Return a mean or a difference of a metric in its unit; None where there is none."""
    metric = METRICS[name]
    return Figure.of(interval, metric.unit, metric.digits) if interval and interval.n else None


def _searched(view: StudyView) -> Statement:
    """Say what the first trial of the ranking reached: without confirmed runs it is the best."""
    value = Figure(value=float(view.ranked["objective"].iloc[0]), unit=NATS, n=1)
    return say(
        "get.searched",
        [view.best_number],
        value=value,
        rank=1,
        ranked=len(view.ranked),
        failed=_failures(view),
    )


def _failures(view: StudyView) -> tuple[Statement, ...]:
    """Return the new seeds of the best setting that failed."""
    own = seeds_of(view.retrained.new_seeds, view.best_number, None)
    return failed_seeds(**own) if own else ()


def _margin(margin: WinnerMargin, level: float) -> Statement:
    """Set the next best confirmed setting against the best: above 0 the gap is in favour of the
    best.
    """
    gap = Figure.of(margin.interval)
    trial = margin.source_trial
    kind = evidence(gap, settled=margin.settled, level=level)
    turned = kind == "apart" and gap.value < 0
    return say("get.turned" if turned else f"get.{kind}", [trial], trial=trial, gap=gap)


def evidence(
    gap: Figure, *, settled: bool, level: float
) -> Literal["apart", "perhaps", "tie", "unclear", "too_few"]:
    """Tell what a difference shows.

    `apart`: the corrected test tells two settings apart. `perhaps`: its own interval leaves out 0,
    and the corrected test does not. `tie`: the interval lies within `EQUAL` of their level around
    0. `unclear`: it is wider. `too_few`: it has none.
    """
    if not math.isfinite(gap.low):
        return "too_few"
    if settled:
        return "apart"
    if gap.sure:
        return "perhaps"
    return "tie" if max(-gap.low, gap.high) <= EQUAL * abs(level) else "unclear"
