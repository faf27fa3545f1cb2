"""The words of statements: a template for each, and how its values are written.

In a template `{name}` stands for a value and `[…]` for words that are left out where a value in them is missing. After a colon:

- `±` — a mean with half the width of its 95 % interval, `96.32 ± 0.38`, or with the ends of one that is not symmetric
- `size` and `size ±` — the same without its sign; `to` — the ends of the interval alone
- `n` — how many values the mean is of; `code` — a command; `share` — a share in per cent
- any other words — a noun that the number counts: `{seeds:new seed}` is `1 new seed` or `3 new seeds`

`**` marks what a statement is about.
"""

import re
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from vaeexp.report.statements import Figure, Statement
from vaeexp.words import (
    format_configuration,
    format_number,
    format_share,
    format_value,
    is_missing,
    join_and,
    plural,
)

_BESIDE = "[; rate {rate} against {rate_of_other}][; FID {fid} against {fid_of_other}][; MSE {reconstruction_mse} against {reconstruction_mse_of_other}]"
"""Figures of a baseline and of the setting that it is set beside, where both measure one thing."""

_PAIRS = "[ at trial {trial} ({gap:seed})][ over {over:setting}][; {mean:±} over {settings:setting}][; FID {fid:±}][; MSE {reconstruction_mse:±}]"
"""Where two values were compared: at the first of the settings, and over all; differences of the worse from the better."""
_COSTS = "[; at epoch {epoch}, {behind:±} nats behind at {at}][; no sure difference at epoch {epoch} ({unsure:to} nats at {at})][; the winner is at the {end} end]"
"""What a parameter costs elsewhere, at equal epochs."""

TEMPLATES: dict[str, str] = {
    # ---- what to use ----
    "use.trial": "{configuration} (trial {trial})",
    "use.so_far": "so far {configuration} (trial {trial})",
    "use.only_trial": "trial {trial}, which has the settings of the study file",
    "use.front": "no setting is best in both {first} and {second}; choose from the front: {count} of {complete:complete trial}, from trial {low_trial} "
    "({first} {low_first}, {second} {low_second}) to trial {high_trial} ({first} {high_first}, {second} {high_second})",
    "use.front_of_one": "trial {trial}: none of {complete:complete trial} equals it in {first} ({low_first}) or {second} ({low_second})",
    "use.nothing": "{why}",
    "use.no_trial": "nothing yet: no trial has started",
    "use.no_complete": "nothing yet: {why} ({states})",
    "use.as_good": "As good: {ranges} ({trials:trial} within {within} nats); do not fine-tune",
    "use.unclear": "{trials:trial} cannot be told apart: they lie within {within} nats, and two seeds of one setting differ by up to {limit}",
    # ---- what one gets ----
    "get.confirmed": "[{failed}; ]test −ELBO {neg_elbo:±} nats per image[, IW-NLL {iw_nll:±}[ (k = {samples})]][, FID {fid:±}]; {neg_elbo:new seed}[ of {planned}]",
    "get.distortion": "[{failed}; ]test distortion {distortion:±} nats per image[, FID {fid:±}]; {distortion:new seed}[ of {planned}]",
    "get.validation": "[{failed}; ]validation −ELBO {again:±} nats per image; {again:new seed}[ of {planned}], no test figure",
    "get.searched": "[{failed}; ]validation −ELBO {value} nats per image in the search (n = 1, the lowest of {ranked} and optimistic); not confirmed",
    "get.searched_only": "[{failed}; ]validation −ELBO {value} nats per image in the search (n = 1, the only complete trial); not confirmed",
    "get.searched_later": "[{failed}; ]validation −ELBO {value} nats per image in the search (n = 1, number {rank} of {ranked}); not confirmed",
    "get.apart": "Trial {trial}, the next best, is {gap:size ±} nats worse on test ({gap:shared seed})",
    "get.turned": "Trial {trial} is {gap:size ±} nats better on test ({gap:shared seed}); the choice rests on validation",
    "get.tie": "Trial {trial} is just as good: {gap:±} nats on test ({gap:shared seed})",
    "get.perhaps": "Trial {trial} is perhaps {gap:size ±} nats {side} on test ({gap:shared seed})",
    "get.unclear": "Trial {trial} may be as good: {gap:±} nats on test ({gap:shared seed})",
    "get.too_few": "Trial {trial} is {gap:size} nats {side} on test; {gap:shared seed} cannot tell more",
    "get.further": "Trial {trial}, {state} after {epochs:epoch}, had reached {value} nats, below the {best} of the best complete trial",
    # ---- what the study compares ----
    "compare.apart": f"**{{parameter}}**: {{worse}} is {{gap:size ±}} nats worse than {{better}}{_PAIRS}",
    "compare.perhaps": f"**{{parameter}}**: {{worse}} is perhaps {{gap:size ±}} nats worse than {{better}}{_PAIRS}",
    "compare.tie": f"**{{parameter}}**: {{worse}} is as good as {{better}}, {{gap:±}} nats{_PAIRS}",
    "compare.unclear": f"**{{parameter}}**: {{better}} or {{worse}} is open, {{gap:±}} nats{_PAIRS}",
    "compare.too_few": "**{parameter}**: {worse} is {gap} nats worse than {better} at trial {trial}; {gap:seed} cannot tell more",
    "compare.none": "**{parameter}**: no matched pair of runs is complete",
    "compare.interaction": "**{parameter}** depends on the {other}: {below_better} is better by {below:size} nats where {by} is below {at}, {above_better} by "
    "{above:size} above ({pairs:pair} over {settings:setting})",
    "compare.interaction_of_value": "**{parameter}** depends on the {other}: {below_better} is better by {below:size} nats where {by} is {rest}, {above_better} by "
    "{above:size} where it is {at} ({pairs:pair} over {settings:setting})",
    "caveat.tuned": "**{parameter}**: every compared setting was found with {value}, so that its learning rate was tuned for this side alone",
    "caveat.interactions": "Interactions with {others} were looked for in {able:comparison}[ of {comparisons}]; chance names one in at most {rate:share} of studies "
    "without any",
    "caveat.no_interactions": "Interactions cannot be named: with so few matched pairs, chance would name one in more than {level:share} of studies without any",
    # ---- baselines ----
    "baseline.apart": f"**{{title}}**: {{gap:size ±}} nats {{side}} than {{against}} on test ({{gap:seed}}){_BESIDE}",
    "baseline.perhaps": f"**{{title}}**: perhaps {{gap:size ±}} nats {{side}} than {{against}} on test ({{gap:seed}}){_BESIDE}",
    "baseline.tie": f"**{{title}}**: just as good as {{against}}, {{gap:±}} nats on test ({{gap:seed}}){_BESIDE}",
    "baseline.unclear": f"**{{title}}**: may be as good as {{against}}, {{gap:±}} nats on test ({{gap:seed}}){_BESIDE}",
    "baseline.too_few": f"**{{title}}**: {{gap:size}} nats {{side}} than {{against}} on test, too few seeds to tell more{_BESIDE}",
    "baseline.other": f"**{{title}}**: its −ELBO cannot be compared with {{against}} ({{why}}){_BESIDE}",
    "baseline.same_runs": "**{title}** is {against} itself: the same runs",
    "baseline.same_training": "**{title}** trains {against} again with the same seeds: the same test −ELBO[; IW-NLL {iw_nll:±}[ (k = {samples})]]",
    "baseline.alone": "**{title}**[: test −ELBO {neg_elbo:±} ({neg_elbo:seed})][, FID {fid:±}]; nothing was confirmed, to set it beside",
    # ---- searched parameters ----
    "parameter.tried": f"**{{parameter}}**: tried from {{low}} to {{high}}; best at {{best_low}} to {{best_high}}{_COSTS}",
    "parameter.tried_same": f"**{{parameter}}**: tried from {{low}} to {{high}}; best at {{best_low}}{_COSTS}",
    "parameter.choice": f"**{{parameter}}**: tried {{tried}}; best with {{best}}{_COSTS}",
    "parameter.hole_below": "**{parameter}** below {below} was tried only with {shared} ({trials:trial})",
    "parameter.hole_above": "**{parameter}** above {above} was tried only with {shared} ({trials:trial})",
    "parameter.hole_both": "**{parameter}** below {below} and above {above} was tried only with {shared} ({trials:trial})",
    "search.failed": "{failed} of {trials:trial} {verb}",
    "search.failed_above": "**{parameter}** from {threshold} on: {inside} of {beyond:trial} {verb}[; the winner has {winner}]",
    "search.failed_below": "**{parameter}** up to {threshold}: {inside} of {beyond:trial} {verb}[; the winner has {winner}]",
    "search.failed_at": "**{parameter} = {threshold}**: {inside} of {beyond:trial} {verb}[; the winner has {winner}]",
    "parameter.one_value": "**{parameter}**: tried at {value} alone",
    "parameter.unused": "**{parameter}**: no trial used it",
    "parameter.few": "Which parameters matter cannot be said from {judged:trial}; it takes {least}",
    "parameter.not_covered": "**{parameter} = {value}** was never tried where the others are good ({trials:trial})[; {elsewhere} tried it there]",
    # ---- the block ----
    "more": "And {count} more: all findings below",
    "doubt.warning": "✗ {check} {figure}",
    "doubt.unknown": "? {check} {figure}",
    "doubt.more": "And {count} more: the table of checks",
    "next.command": "{command:code}",
    "next.remedy": "as the first line says",
    "next.nothing": "nothing: no check asks for more",
    # ---- cost ----
    "cost.pruned": "Pruning ended {pruned} of {ended:trial} early[ and saved {saved:trial-epoch}, {share:share} of the search without it]",
    "cost.pruned_up_to": "Pruning ended {pruned} of {ended:trial} early[ and saved up to {saved:trial-epoch}, {share:share} of the search without it]",
    "cost.pruned_none": "No trial was pruned",
    "cost.search": "The search took [{duration} of wall time and ]{epochs:trial-epoch}[; {repeats:run} to confirm and compare took {repeat_epochs} more]"
    "[; {baselines:run} of baselines took {baseline_epochs} more]",
    "cost.learned": "The sampler also learned from {trials:trial} of {study}",
}
"""Id of a statement → its template."""

_OPTIONAL = re.compile(r"\[([^\[\]]*)\]")
_FIELD = re.compile(r"\{(\w+)(?::[^{}]*)?\}")


def words(statement: Statement, escape: Callable[[str], str] | None = None) -> str:
    """Return a statement in words.

    Args:
        escape: what makes markdown of a text of the study; without it the words are plain.
    """
    template = TEMPLATES[statement.id] if escape else TEMPLATES[statement.id].replace("**", "")
    shown = {name: _Shown(value, escape) for name, value in statement.values.items()}
    while _OPTIONAL.search(template):
        template = _OPTIONAL.sub(lambda part: _kept(part[1], statement.values), template)
    return string.Formatter().vformat(template, (), shown)


def _kept(part: str, values: Mapping[str, Any]) -> str:
    """Return the words between brackets; nothing where a value in them is missing."""
    return "" if any(_missing(values.get(name)) for name in _FIELD.findall(part)) else part


def _missing(value: Any) -> bool:
    if isinstance(value, Figure):
        return is_missing(value.value)
    return is_missing(value) or value in ("", ())


@dataclass(frozen=True)
class _Shown:
    """A value as the fields of a template write it."""

    value: Any
    escape: Callable[[str], str] | None

    def __format__(self, form: str) -> str:
        value = self.value
        match form:
            case "±":
                return _with_interval(value)
            case "to":
                return f"{format_number(value.low, value.digits)} to {format_number(value.high, value.digits)}"
            case "size":
                return format_number(abs(value.value), value.digits or 2)
            case "size ±":
                return _with_interval(value.turned if value.value < 0 else value)
            case "share":
                return format_share(value)
            case "n":
                return f"{value.n:,}"
            case "code":
                return f"`{value}`" if self.escape else str(value)
            case "":
                return self._text(value)
        return plural(int(value.n or 0) if isinstance(value, Figure) else int(value), form)

    def _text(self, value: Any) -> str:
        if isinstance(value, Figure):
            return format_value(value.value) if value.digits is None else format_number(value.value, value.digits)
        if isinstance(value, tuple | list):
            return join_and([self._text(part) for part in value]) if value else "none"
        text = format_configuration(value) if isinstance(value, Mapping) else value
        text = f"{text:,}" if isinstance(text, int) else str(text)
        return self.escape(text) if self.escape else text


def _with_interval(figure: Figure) -> str:
    """Return `98.12 ± 0.31`; an interval that is not symmetric by its ends; the mean alone where there is none."""
    mean, digits = format_number(figure.value, figure.digits or 2), figure.digits or 2
    if figure.low != figure.low:
        return mean
    below, above = figure.value - figure.low, figure.high - figure.value
    if abs(below - above) > 1e-6 * (above + below):
        return f"{mean} ({format_number(figure.low, digits)} to {format_number(figure.high, digits)})"
    return f"{mean} ± {format_number((below + above) / 2, digits)}"
