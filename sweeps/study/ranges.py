"""The ends of searched numbers: whether the best trials pile up at one, and how far a range then
grows.
"""

import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal, Protocol, get_args

import numpy as np

EDGE = 0.05
"""Share of a range at each end, in the scale of the search, that counts as being at the bound."""
BEST = 10
"""So many of the best trials are looked at."""
LEAST_RANKED = 20
"""Trials that can be ranked, with a parameter, before its ends are looked at."""
LEAST_NUMBERS = 3
"""Fewer numbers have no inside, so they have no ends."""
MOST_STEPS = 2
"""Steps that a search takes on each side of a range."""
_LEVEL = 0.05
_FREEDOM = 10
"""Trials beyond the terms of a regression, below which it says nothing."""

Bound = Literal["lower", "upper"]
BOUNDS: tuple[Bound, ...] = ("lower", "upper")


class Searched(Protocol):
    """A searched parameter: a `Parameter`, or what a report makes of one."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> Literal["float", "int", "choice"]: ...
    @property
    def values(self) -> tuple[Any, ...]: ...
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
    """The best trials that lie at one end of the numbers of a parameter."""

    parameter: str
    bound: Bound
    count: int
    """Of `top`, those at this end: within `EDGE` of it, or with the last number of a list."""
    top: int
    near: int
    """Of `ranked`, those at this end."""
    ranked: int
    """All trials that can be ranked and have the parameter."""
    told: bool
    """Whether they pile up there. False: all the best lie there, and so do most of all trials; the
    search has settled there, and what it tried elsewhere does not tell whether this end is better.
    """


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


# ---- the ends ----


def numbers_of(parameter: Searched) -> list[float] | None:
    """Return the numbers of a list, in ascending order; None where the parameter is a range, or a
    list of anything else.
    """
    if parameter.kind != "choice" or not all(_is_number(value) for value in parameter.values):
        return None
    return sorted(float(value) for value in parameter.values)


def has_ends(parameter: Searched) -> bool:
    """Tell whether a parameter has ends: a range, or a list of numbers, of `LEAST_NUMBERS` or
    more.
    """
    if parameter.kind == "choice":
        return len(numbers_of(parameter) or ()) >= LEAST_NUMBERS
    step = parameter.step or (1 if parameter.kind == "int" else None)
    return step is None or parameter.high - parameter.low > (LEAST_NUMBERS - 1.5) * step


def end_at(parameter: Searched, value: Any) -> Bound | None:
    """Return the end that a value of the parameter is: the last number itself, or one within `EDGE`
    of it where numbers are continuous.

    None inside, at a natural end, or where there are no ends. An end is natural where no value lies
    beyond: 0 of numbers, and 1 of whole numbers.
    """
    if not has_ends(parameter) or not _is_number(value):
        return None
    if parameter.kind == "float" and parameter.step is None:
        place = _places(parameter, [value])
        return next((bound for bound in _open_bounds(parameter) if _near(place, bound)[0]), None)
    return next(
        (bound for bound in _open_bounds(parameter) if value == end_of(parameter, bound)), None
    )


def end_of(parameter: Searched, bound: Bound) -> float:
    """Return the last number of a range or of a list on one side."""
    numbers = numbers_of(parameter) or [parameter.low, parameter.high]
    return numbers[0] if bound == "lower" else numbers[-1]


def _open_bounds(parameter: Searched) -> list[Bound]:
    """Return the ends beyond which there may be values."""
    whole = parameter.kind == "int" or all(
        isinstance(value, int) for value in parameter.values or (0.5,)
    )
    natural = end_of(parameter, "lower") <= (1 if whole else 0)
    return [bound for bound in BOUNDS if bound == "upper" or not natural]


def _is_number(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, int | float | np.integer | np.floating)


def _places(parameter: Searched, values: Sequence[Any]) -> np.ndarray:
    """Return where these numbers lie between the ends, from 0 to 1; those of a list at even
    distances.
    """
    numbers = np.asarray(values, dtype=float)
    if (listed := numbers_of(parameter)) is not None:
        return np.interp(numbers, listed, np.linspace(0, 1, len(listed)))
    if parameter.log:
        return np.asarray(
            np.log(np.maximum(numbers, 1e-300) / parameter.low)
            / math.log(parameter.high / parameter.low)
        )
    return (numbers - parameter.low) / (parameter.high - parameter.low)


def _near(places: np.ndarray, bound: Bound) -> np.ndarray:
    return places <= EDGE if bound == "lower" else places >= 1 - EDGE


# ---- the rule ----


def hits_of(parameters: Sequence[Searched], ranked: Sequence[Mapping[str, Any]]) -> list[BoundHit]:
    """Return the ends at which the best trials of a search lie, one for each parameter at most:
    piled up, or because it settled there.

    They are compared with *all* trials that can be ranked, because a sampler returns to the ends of
    a range that does nothing.

    - Where at most half of the best `BEST` lie at an end, they pile up if so many drawn from all
      trials would seldom lie there (hypergeometric).
    - Where more do, the search may have tried the end so often that this says nothing. They pile up
      if the trials there rank before the others at equal values of all other parameters: in a
      regression of the normal scores of the ranks on the end and on the other parameters (numbers
      with their squares), by Student's t.

    The level is 5 % for a study, divided by parameters and ends. It holds in a random search in
    which no parameter acts. Under the default search, whose trials depend on each other, it is
    measured: `test_known_truth.py`.

    Args:
        parameters: all that are searched.
        ranked: parameters of the trials, the best first (`sweeps.results.candidates`). Parameters
            that `LEAST_RANKED` of them have are looked at.
    """
    level = _LEVEL / len(BOUNDS) / max(1, len(parameters))
    hits = []
    for parameter in parameters:
        having = [params for params in ranked if parameter.name in params]
        if has_ends(parameter) and len(having) >= LEAST_RANKED:
            hits += _hits(parameter, parameters, having, level)[:1]
    return hits


def _hits(
    parameter: Searched,
    parameters: Sequence[Searched],
    ranked: Sequence[Mapping[str, Any]],
    level: float,
) -> list[BoundHit]:
    """Return the ends of one parameter, of these trials that have it."""
    from scipy.stats import hypergeom

    places = _places(parameter, [params[parameter.name] for params in ranked])
    hits = []
    for bound in _open_bounds(parameter):
        near = _near(places, bound)
        count = int(near[:BEST].sum())
        total = int(near.sum())
        if 2 * count > BEST:
            others = _terms([other for other in parameters if other.name != parameter.name], ranked)
            told = _rank_p(near, others) <= level
        else:
            told = hypergeom.sf(count - 1, len(near), total, BEST) <= level
        if told or (count == BEST and 2 * total > len(near)):
            found = {"count": count, "top": BEST, "near": total, "ranked": len(near)}
            hits.append(BoundHit(parameter=parameter.name, bound=bound, told=told, **found))
    return hits


def _rank_p(near: np.ndarray, others: np.ndarray) -> float:
    """Return the one-sided p that the trials near an end rank before the rest, at equal other
    terms: [N], [N, terms]. 1 with too few.
    """
    from scipy.special import ndtri, stdtr  # `scipy.stats` takes half a second to import

    vectors, sizes, _ = np.linalg.svd(others, full_matrices=False)
    basis = vectors[:, sizes > 1e-9 * sizes[0]]
    scores = ndtri((np.arange(len(near)) + 0.5) / len(near))
    own, rest = ((each - basis @ (basis.T @ each)) for each in (near.astype(float), scores))
    freedom = len(near) - basis.shape[1] - 1
    length = float(own @ own)
    if freedom < _FREEDOM or length < 1e-9:
        return 1.0
    slope = float(own @ rest) / length
    left = rest - slope * own
    error = math.sqrt(max(float(left @ left), 1e-12) / freedom / length)
    return float(stdtr(freedom, slope / error))


def _terms(parameters: Iterable[Searched], ranked: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Return a constant and the terms of these parameters in each trial: a number with its square,
    or each value of a choice but one; and whether it is active."""
    columns = [np.ones(len(ranked))]
    for parameter in parameters:
        name = parameter.name
        active = np.array([name in params for params in ranked])
        values = [params[name] for params in ranked if name in params]
        if not values:
            continue
        if parameter.kind == "choice" and numbers_of(parameter) is None:
            texts = np.array([str(params.get(name)) for params in ranked])
            columns += [(texts == text).astype(float) for text in np.unique(texts)[1:]]
            continue
        places = np.zeros(len(ranked))
        places[active] = _places(parameter, values)
        columns += [places, places**2, active.astype(float)]
    return np.stack(columns, axis=1)


# ---- the step ----


def limits_of(number: Any) -> dict[str, float]:
    """Return the limits of a setting's numbers by name: `ge`, `gt`, `le`, `lt`; of the type that
    `number_type` gives.
    """
    parts = get_args(number)[1:]
    limits: dict[str, float] = {}
    for rule in chain.from_iterable(getattr(part, "metadata", [part]) for part in parts):
        names = (name for name in ("ge", "gt", "le", "lt") if hasattr(rule, name))
        limits |= {name: float(getattr(rule, name)) for name in names}
    return limits


def wider_end(
    parameter: Searched, bound: Bound, limits: Mapping[str, float], *, end: float | None = None
) -> float | None:
    """Return an end beyond the present one: four times as far on a logarithmic range, else by half
    the range.

    Where the setting allows no such value, it is the last one that it allows, or halfway to a limit
    that it cannot reach. None where it allows none beyond.

    Args:
        limits: of the setting (`limits_of`).
        end: the present end, where it is no longer that of `parameter`; steps have the same length.
    """
    sign = -1 if bound == "lower" else 1
    if end is None:
        end = parameter.low if sign < 0 else parameter.high
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


def further_number(parameter: Searched, bound: Bound, limits: Mapping[str, float]) -> float | None:
    """Return a number beyond one end of a list: as far as the last step, or as many times, where
    steps grow towards the end.

    It has two digits, and lies within the limits of the setting. None where the setting allows none
    beyond.
    """
    numbers = numbers_of(parameter) or []
    sign = -1 if bound == "lower" else 1
    end, before, third = numbers[::-1][:3] if sign > 0 else numbers[:3]
    last = abs(end - before)
    earlier = abs(before - third)
    grows = min(numbers) > 0 and (last > earlier if sign > 0 else last < earlier)
    value = end * end / before if grows else end + sign * last
    whole = all(isinstance(number, int) for number in parameter.values)
    value = round(value) if whole else float(f"{value:.2g}")
    if not _allowed(value, limits):
        value = limits.get("ge" if sign < 0 else "le", end)
    if sign * value <= sign * end:
        return None
    return int(value) if whole else value


def steps_out(parameter: Searched, bound: Bound, limits: Mapping[str, float]) -> list[float]:
    """Return the ends to which a search may take one side of a range, step by step; empty where its
    setting allows none.
    """
    ends: list[float] = []
    while len(ends) < MOST_STEPS:
        end = wider_end(parameter, bound, limits, end=ends[-1] if ends else None)
        if end is None:
            break
        ends.append(end)
    return ends


def _allowed(value: float, limits: Mapping[str, float]) -> bool:
    return all(getattr(operator, name)(value, limit) for name, limit in limits.items())
