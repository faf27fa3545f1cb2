"""Whether a study can be trusted: the checks that experienced tuners make, each with its number and what to do."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from vaeexp.results.effects import BoundHit, bound_hit
from vaeexp.results.parameters import SearchedParameter
from vaeexp.results.pruner_replay import LEAST, Replay, rank_agreement
from vaeexp.results.tables import column, finite
from vaeexp.words import format_number, format_share, join_and, parameter_label, plural

if TYPE_CHECKING:
    from vaeexp.results.study_view import StudyView

LATE = 1 / 3
"""Share of the trial-epochs at whose start the search should have levelled off."""
LAST = 0.1
"""Share of a run's epochs, its last ones, that should gain little."""
LEAST_ENDED = 10
"""Complete trials before the course of a search says anything."""
AGREE = 0.7
"""Rank correlation with the end from which an epoch is a fair guess of it."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One question about a study, with its answer."""

    name: str
    """The question, in a few words."""
    figure: str
    """The answer in words with its numbers, without a full stop."""
    ok: bool | None
    """False is a warning; None where it cannot be said."""
    advice: str
    """One line of what to do, with a command where one helps; empty where there is nothing to do."""


def check_study(view: "StudyView") -> list[Check]:
    """Return the checks of a study in any state, always the same ones in the same order."""
    return [
        at_bounds(view),
        levelled_off(view),
        seeds_against_configurations(view),
        pruner_kept_winners(view),
        validation_holds_on_test(view),
        learned_out(view),
    ]


# ---- bounds ----


def at_bounds(view: "StudyView") -> Check:
    """Check that the best configurations do not pile up at an end of a searched range (`effects.bound_hit`)."""
    name = "Are the best configurations inside the searched ranges?"
    if len(view.ranked) < 2:
        return Check(name=name, figure="fewer than two complete trials", ok=None, advice=_more_trials(view))
    found = [bound_hit(own, view.ranked, parameters=len(view.parameters)) for own in view.parameters.values()]
    hits = [hit for hit in found if hit is not None]
    if not hits:
        top = min(10, len(view.ranked))
        return Check(name=name, figure=f"no range has its best {top} trials at one end", ok=True, advice="")
    parts = [
        f"{hit.count} of the best {hit.top} trials have {parameter_label(hit.parameter)} within 5 % of its {hit.bound} bound"
        for hit in hits
    ]
    settings = " ".join(
        f"--set search.{hit.parameter}.{'low' if hit.bound == 'lower' else 'high'}={_wider(view.parameters[hit.parameter], hit)}"
        for hit in hits
    )
    advice = f"Widen the range and go on: {_sweep(view)} {settings} --extend"
    return Check(name=name, figure=join_and(parts), ok=False, advice=advice)


def _wider(parameter: SearchedParameter, hit: BoundHit) -> str:
    """Return a bound beyond the present one: four times as far on a logarithmic range, else by half the range."""
    low, high = parameter.low, parameter.high
    if parameter.log:
        value = low / 4 if hit.bound == "lower" else high * 4
    else:
        value = low - (high - low) / 2 if hit.bound == "lower" else high + (high - low) / 2
        value = max(value, 0.0) if low >= 0 else value
    if parameter.step is not None:
        end = low if hit.bound == "lower" else high
        value = end + round((value - end) / parameter.step) * parameter.step
    if parameter.kind == "int":
        return str(max(1, round(value)))
    return f"{value:.2g}" if parameter.step is None else f"{value:.10g}"


# ---- the course of the search ----


def levelled_off(view: "StudyView") -> Check:
    """Check that the last third of the trial-epochs lowered the best value by less than it varies over seeds."""
    name = "Has the search levelled off?"
    course, spread = view.course, seed_spread(view)
    if len(view.ranked) < LEAST_ENDED or course.empty:
        figure = f"{plural(len(course), 'trial')} with a time at which it ended, too few to tell"
        return Check(name=name, figure=figure, ok=None, advice=_more_trials(view))
    before = course[course["spent"] <= (1 - LATE) * course["spent"].iloc[-1]]["best"]
    if before.empty:
        return Check(name=name, figure="no trial was complete by then", ok=None, advice=_more_trials(view))
    gain = float(before.iloc[-1] - course["best"].iloc[-1])
    figure = f"the last third of the trial-epochs lowered the best value by {format_number(gain)} nats"
    if math.isnan(spread):
        figure += "; the spread over seeds is not known"
        advice = (
            "" if not gain else "Train the best configurations with fresh seeds (`confirm`), to know what chance does"
        )
        return Check(name=name, figure=figure, ok=True if not gain else None, advice=advice)
    figure += f"; seeds vary by {format_number(spread)}"
    ok = gain <= spread
    return Check(name=name, figure=figure, ok=ok, advice="" if ok else _more_trials(view))


def seed_spread(view: "StudyView") -> float:
    """Return the standard deviation of the validation objective over seeds, pooled over the confirmed configurations, nats; NaN without."""
    groups = [setting.runs["objective"].to_numpy(float) for setting in view.confirmed]
    squares = [((own - own.mean()) ** 2).sum() for own in groups if len(own) > 1]
    freedom = sum(len(own) - 1 for own in groups if len(own) > 1)
    return math.sqrt(math.fsum(squares) / freedom) if freedom else math.nan


def seeds_against_configurations(view: "StudyView") -> Check:
    """Check that the best ten trials differ by more than seeds do: seeds make up less than half of their variance."""
    name = "Do configurations differ by more than seeds?"
    spread, best = seed_spread(view), view.ranked["objective"].head(10).to_numpy(float)
    if math.isnan(spread) or len(best) < 3 or not np.isfinite(best).all():
        advice = f"Give the best configurations fresh seeds: {_sweep(view)} --set confirm.seeds=3 --extend"
        return Check(name=name, figure="no configuration was trained with two seeds or more", ok=None, advice=advice)
    among = float(best.std(ddof=1))
    ok = spread**2 < among**2 / 2
    figure = f"seeds vary by {format_number(spread)} nats, the best {len(best)} trials by {format_number(among)} (standard deviations)"
    advice = f"Confirm more configurations with more seeds: {_sweep(view)} --set confirm.top=5 --set confirm.seeds=5 --extend"
    return Check(name=name, figure=figure, ok=ok, advice="" if ok else advice)


# ---- the pruner ----


def pruner_kept_winners(view: "StudyView") -> Check:
    """Check that the pruner, replayed on the recorded curves with all of them known, lets the best quarter (ten trials at most) pass."""
    name = "Would the pruner have stopped the winners?"
    replay, agreement = view.replay, rank_agreement(view.curves)
    course = _agreement_words(agreement)
    if replay is None:
        ruled = (view.study.spec.get("pruner") or {}).get("name") not in (None, "none")
        why = f"fewer than {LEAST} complete trials to replay" if ruled else "the study prunes nothing"
        return Check(name=name, figure=f"{why}{course}", ok=None, advice="")
    stopped, top = replay.stopped, replay.winners
    figure = f"{stopped} of the best {top} trials, replayed{_at(replay, replay.present)}{course}"
    if replay.recommended is None:
        advice = "No setting of this pruner spares them all; set pruner.name=none, or raise what it waits for"
        return Check(name=name, figure=figure, ok=stopped == 0, advice="" if stopped == 0 else advice)
    saved = f"would have saved {format_share(replay.saved)} of the complete trials' epochs"
    figure += f"; {replay.setting} = {replay.recommended} spares them all and {saved}"
    ok = stopped == 0
    advice = f"{_sweep(view)} --set pruner.{replay.setting}={replay.recommended} --extend"
    return Check(name=name, figure=figure, ok=ok, advice="" if ok else advice)


def _at(replay: Replay, value: int | None) -> str:
    return "" if value is None else f" with {replay.setting} = {value}"


def _agreement_words(agreement: pd.Series) -> str:
    """Say how well early epochs rank the complete trials as the last one does; empty where too few have the same length."""
    if agreement.empty:
        return ""
    early = max(1, round(len(agreement) / 5))
    fair = next((epoch for epoch in range(1, len(agreement) + 1) if (agreement.loc[epoch:] >= AGREE).all()), None)
    words = f"; the ranks at epoch {early} correlate with the last ones by {format_number(float(agreement.loc[early]))}"
    return words + (f", by {AGREE} or more from epoch {fair} on" if fair is not None else "")


# ---- confirmation and test ----


def validation_holds_on_test(view: "StudyView") -> Check:
    """Check that no other confirmed configuration is better on test than the best on validation by more than seeds vary."""
    name = "Does the validation optimum hold on test?"
    confirm = f"Confirm three configurations on test: {_sweep(view)} --set confirm.top=3 --set confirm.seeds=3 --extend"
    tested = {
        setting.source_trial: float(np.mean(values))
        for setting in view.confirmed
        if len(values := finite(column(setting.runs, "result.test/neg_elbo")))
    }
    if len(tested) < 2:
        figure = "fewer than two configurations were tested"
        return Check(name=name, figure=figure, ok=None, advice=confirm)
    on_test = sorted(tested, key=tested.__getitem__)
    figure = f"on validation {_order(list(tested))}, on test {_order(on_test)}"
    ahead = [margin.source_trial for margin in view.margins if margin.settled and margin.interval.mean < 0]
    if ahead:
        figure += f"; trial {ahead[0]} is better on test by more than seeds vary"
        advice = (
            f"More seeds tell which: {_sweep(view)} --set confirm.seeds=5 --extend; choose on validation all the same"
        )
        return Check(name=name, figure=figure, ok=False, advice=advice)
    if not any(math.isfinite(margin.interval.low) for margin in view.margins):
        return Check(name=name, figure=f"{figure}; fewer than three seeds give no interval", ok=None, advice=confirm)
    return Check(name=name, figure=figure, ok=True, advice="")


def _order(trials: Sequence[int | None]) -> str:
    shown = " < ".join(str(trial) for trial in trials[:5])
    return f"trials {shown}" + (" < …" if len(trials) > 5 else "")


def learned_out(view: "StudyView") -> Check:
    """Check that the last tenth of their epochs gained the confirmed runs less than seeds vary, and less than 0.1 % of the objective."""
    name = "Are the confirmed runs learned out?"
    gains = [gain for setting in view.confirmed for gain in late_gains(view, setting.runs)]
    if not gains:
        return Check(name=name, figure="no confirmed run has enough epochs", ok=None, advice="")
    gain, spread = float(np.mean(gains)), seed_spread(view)
    value = abs(float(view.confirmed[0].value))
    little = max(0.001 * value, spread if math.isfinite(spread) else 0.0)
    epochs = int(view.confirm_runs["epochs"].max())
    figure = f"the last tenth of their epochs lowered the best value by {format_number(gain)} nats on average"
    figure += f" over {plural(len(gains), 'run')}"
    ok = gain <= little
    advice = f"Train longer: {_sweep(view)} --set epochs={2 * epochs} is another study, and needs a name of its own"
    return Check(name=name, figure=figure, ok=ok, advice="" if ok else advice)


def late_gains(view: "StudyView", runs: pd.DataFrame) -> list[float]:
    """Return by how much the last tenth of the epochs lowered the best value of each run, nats; without runs of under ten epochs."""
    gains = []
    epochs = view.epochs[view.epochs["repeat"]]
    for number in runs["number"]:
        curve = epochs.loc[epochs["number"] == number].sort_values("epoch")["objective"].to_numpy(float)
        last = max(1, round(LAST * len(curve)))
        if len(curve) >= 10 and np.isfinite(curve).all():
            gains.append(float(curve[:-last].min() - curve.min()))
    return gains


def _sweep(view: "StudyView") -> str:
    return f"vaeexp sweep {view.name}"


def _more_trials(view: "StudyView") -> str:
    planned = view.study.budget.get("trials") or len(view.search)
    return f"Search on: {_sweep(view)} --trials {2 * max(int(planned), LEAST_ENDED)}"
