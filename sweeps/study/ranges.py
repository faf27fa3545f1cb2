"""The ends of searched ranges: whether the best trials pile up at one, and how far the range then grows."""

import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

import numpy as np

EDGE = 0.05
"""Share of a range at each end, in the scale of the search, that counts as being at the bound."""
BEST = 10
"""So many of the best trials are looked at."""
LEAST_RANKED = 20
"""Trials that can be ranked, with a parameter, before a search widens its range."""
MOST_STEPS = 2
"""Steps that a search takes on each side of a range."""
_LEVEL = 0.05

Bound = Literal["lower", "upper"]


class Range(Protocol):
    """A searched range of numbers: a `Parameter`, or what a report makes of one."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> Literal["float", "int", "choice"]: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...
    @property
    def log(self) -> bool: ...
    @property
    def step(self) -> float | None: ...


@dataclass(frozen=True, kw_only=True)
class BoundHit:
    """The best configurations that lie at one end of a parameter's range."""

    parameter: str
    bound: Bound
    count: int
    """Of `top`, those within `EDGE` of this end."""
    top: int


@dataclass(frozen=True, kw_only=True)
class Growth:
    """A step that a search took beyond one end of a range."""

    parameter: str
    bound: Bound
    end: float
    """The new end."""
    round: int
    """Round of the first trial that could lie there."""
    trial: int
    """Number of this trial."""


# ---- the rule ----


def bound_hit(parameter: Range, best: Sequence[float] | np.ndarray, *, parameters: int = 1) -> BoundHit | None:
    """Return the end of a range at which the best trials pile up; None where they do not, or where the end is a natural one.

    They do where at least 2 lie within `EDGE` of one end, and as many would lie there by chance in at most 2.5 % of random
    searches, divided by the number of `parameters` that are looked at. An end is natural where no value lies beyond: 0 of an
    even range, and 1 of whole numbers.

    Args:
        best: values of the parameter in the best trials.
    """
    if parameter.kind == "choice" or not len(best):
        return None
    places = _places(parameter, np.asarray(best, dtype=float))
    ends: tuple[tuple[Bound, np.ndarray, float], ...] = (
        ("lower", places <= EDGE, _edge_mass(parameter, upper=False)),
        ("upper", places >= 1 - EDGE, _edge_mass(parameter, upper=True)),
    )
    for bound, near, chance in ends:
        natural = bound == "lower" and parameter.low <= (1 if parameter.kind == "int" else 0)
        count = int(near.sum())
        if not natural and count >= 2 and _binomial_tail(count, len(best), chance) <= _LEVEL / 2 / parameters:
            return BoundHit(parameter=parameter.name, bound=bound, count=count, top=len(best))
    return None


def hits_of(parameters: Sequence[Range], ranked: Sequence[Mapping[str, Any]]) -> list[BoundHit]:
    """Return the ends at which the best trials of a search pile up, of ranges that `LEAST_RANKED` of them have.

    Args:
        parameters: all that are searched.
        ranked: parameters of the trials, the best first (`sweeps.results.found_trials`).
    """
    hits = []
    for parameter in parameters:
        values = [params[parameter.name] for params in ranked if parameter.name in params]
        if parameter.kind != "choice" and len(values) >= LEAST_RANKED:
            hits.append(bound_hit(parameter, values[:BEST], parameters=len(parameters)))
    return [hit for hit in hits if hit is not None]


def _places(parameter: Range, numbers: np.ndarray) -> np.ndarray:
    """Return where these numbers lie between the ends of the range, from 0 to 1."""
    if parameter.log:
        return np.asarray(
            np.log(np.maximum(numbers, 1e-300) / parameter.low) / math.log(parameter.high / parameter.low)
        )
    return (numbers - parameter.low) / (parameter.high - parameter.low)


def _edge_mass(parameter: Range, *, upper: bool) -> float:
    """Return the chance that a random draw lies within `EDGE` of an end; whole numbers and steps have few values."""
    if parameter.kind == "float" and parameter.step is None:
        return EDGE
    step = parameter.step or 1
    values = np.arange(parameter.low, parameter.high + step / 2, step)
    if parameter.log:
        edges = np.log(np.concatenate([values - step / 2, values[-1:] + step / 2]))
        mass = np.diff(edges) / (edges[-1] - edges[0])
    else:
        mass = np.full(len(values), 1 / len(values))
    places = _places(parameter, values)
    return float(mass[places >= 1 - EDGE].sum() if upper else mass[places <= EDGE].sum())


def _binomial_tail(count: int, trials: int, chance: float) -> float:
    """Return the chance of `count` or more successes."""
    return math.fsum(math.comb(trials, k) * chance**k * (1 - chance) ** (trials - k) for k in range(count, trials + 1))


# ---- the step ----


def limits_of(number: Any) -> dict[str, float]:
    """Return the limits of a setting's numbers by name: `ge`, `gt`, `le`, `lt`; of the type that `number_type` gives."""
    rules = [rule for part in get_args(number)[1:] for rule in getattr(part, "metadata", [part])]
    names = ("ge", "gt", "le", "lt")
    return {name: float(getattr(rule, name)) for rule in rules for name in names if hasattr(rule, name)}


def wider_end(parameter: Range, bound: Bound, limits: Mapping[str, float], *, end: float | None = None) -> float | None:
    """Return an end beyond the present one: four times as far on a logarithmic range, else by half the range.

    Where the setting allows no such value, it is the last one that it allows, or halfway to a limit that it cannot reach.
    None where it allows none beyond.

    Args:
        limits: of the setting (`limits_of`).
        end: the present end, where it is no longer that of `parameter`; steps have the same length.
    """
    sign = -1 if bound == "lower" else 1
    end = (parameter.low if sign < 0 else parameter.high) if end is None else end
    half = (parameter.high - parameter.low) / 2
    value = end * 4.0**sign if parameter.log else end + sign * half
    closed, beyond = (limits.get(name) for name in (("ge", "gt") if sign < 0 else ("le", "lt")))
    if closed is not None:
        value = sign * min(sign * value, sign * closed)
    if beyond is not None and sign * value >= sign * beyond:
        value = (end + beyond) / 2
    if parameter.step is not None:
        value = end + round((value - end) / parameter.step) * parameter.step
    value = round(value) if parameter.kind == "int" else float(f"{value:.10g}")
    if not _allowed(value, limits):  # rounding has passed the limit
        value -= sign * (parameter.step or 1)
    return value if sign * value > sign * end else None


def steps_out(parameter: Range, bound: Bound, limits: Mapping[str, float]) -> list[float]:
    """Return the ends to which a search may take one side of a range, step by step; empty where its setting allows none."""
    ends: list[float] = []
    while len(ends) < MOST_STEPS:
        end = wider_end(parameter, bound, limits, end=ends[-1] if ends else None)
        if end is None:
            break
        ends.append(end)
    return ends


def _allowed(value: float, limits: Mapping[str, float]) -> bool:
    return all(getattr(operator, name)(value, limit) for name, limit in limits.items())
