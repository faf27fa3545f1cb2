"""How often the costs of parameters and the holes of numbers that a study states are right, where the truth is planted."""

import math
from dataclasses import dataclass

from default_studies import HEIGHT, default_study, truth_of

from vaeexp.results.study_view import StudyView

LARGE = 5.0
"""Nats from which a cost should be found."""


@dataclass(kw_only=True)
class Judged:
    """What one study, or several, say of what was planted."""

    studies: int = 0
    false: int = 0
    """Studies that say of a parameter which does nothing that it costs something."""
    intervals: int = 0
    held: int = 0
    """Intervals that hold the difference of the formula."""
    large: int = 0
    found: int = 0
    """Intervals above 0, of those whose planted difference is large."""
    holes: int = 0
    """Studies with a hole of a number."""

    def __add__(self, other: "Judged") -> "Judged":
        return Judged(**{name: value + getattr(other, name) for name, value in vars(self).items()})


def judge(kind: str, seed: int, **shape: float) -> Judged:
    """Compare what a study of a kind says of its parameters with what was planted in it."""
    truth, view = truth_of(kind, seed), StudyView(default_study(kind, seed, **shape))
    judged = Judged(studies=1, holes=bool(view.holes.numbers))

    def value(params: dict, epoch: int) -> float:
        return truth.level(params) + HEIGHT * math.exp(-truth.speed(params) * epoch)

    for effect in view.equal_epochs:
        if effect.why:
            continue
        best = view.params(view.search[view.search["number"] == effect.trial].iloc[0])
        cost = value(best | {effect.parameter: effect.at}, effect.epoch) - value(best, effect.epoch)
        low, high = effect.behind.low, effect.behind.high
        judged.intervals += 1
        judged.held += low <= cost <= high
        judged.large += cost >= LARGE
        judged.found += cost >= LARGE and low > 0
        judged.false |= effect.parameter in truth.facts["without"] and not low <= 0 <= high
    return judged
