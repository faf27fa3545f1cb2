"""The search space: the searched parameters, their ranges or choices, and the conditions under
which each is searched.

A space is data (it goes into the study's record and comes back from it) and knows how to draw from
an Optuna trial.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import product
from typing import Any, Literal

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import BaseTrial

from sweeps.errors import UserError, did_you_mean
from sweeps.study.ranges import BOUNDS, Growth, steps_out

Kind = Literal["float", "int", "choice"]


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One searched parameter: a range of numbers or a choice of values. Raises `UserError` when it
    makes no sense.
    """

    name: str
    kind: Kind
    low: float = 0.0
    """Smallest value of a range, included; 0 for a choice."""
    high: float = 0.0
    """Largest value of a range, included; 0 for a choice."""
    log: bool = False
    """True: drawn evenly in the logarithm."""
    step: float | None = None
    """Distance of neighbouring values; None is 1 for whole numbers and continuous otherwise."""
    values: tuple[Any, ...] = ()
    """Values of a choice; lists are held as tuples."""
    when: Mapping[str, tuple[Any, ...]] = field(default_factory=dict, hash=False)
    """Earlier parameter → values of it under which this one is searched; all must hold."""
    grow: bool = False
    """Whether the search may widen the range (`sweeps.study.ranges`)."""
    limits: Mapping[str, float] = field(default_factory=dict, hash=False)
    """Limits of the setting, `ge`, `gt`, `le` or `lt`, of a range that may grow."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuple(frozen(value) for value in self.values))
        object.__setattr__(
            self, "when", {parent: frozen(values) for parent, values in self.when.items()}
        )
        if self.kind == "choice":
            self._check_choice()
        else:
            self._check_range()

    def _check_choice(self) -> None:
        path = f"search.{self.name}.values"
        value, times = Counter(self.values).most_common(1)[0]
        if times > 1:
            raise UserError(path, f"{as_lists(value)!r} stands there twice; give each value once.")

    def _check_range(self) -> None:
        path = f"search.{self.name}"
        low = self.low
        high = self.high
        if low >= high:
            raise UserError(path, f"got low {low:g}; must be smaller than high, {high:g}.")
        if self.log and low <= 0:
            raise UserError(f"{path}.low", f"got {low:g}; must be above 0 because `log` is true.")
        if self.step is None:
            return
        if self.log:
            raise UserError(
                f"{path}.step",
                f"got {self.step:g} together with log; must have log or a step, not both.",
            )
        if self.step <= 0:
            raise UserError(f"{path}.step", f"got {self.step:g}; must be above 0.")
        first = Decimal(str(low))
        step = Decimal(str(self.step))
        steps = (Decimal(str(high)) - first) / step
        if steps != steps.to_integral_value():
            last = first + math.floor(steps) * step
            problem = (
                f"must be low + a multiple of step: {high:g} is not {low:g} + n·{self.step:g}."
            )
            raise UserError(f"{path}.high", f"{problem} Try {last:g} or {last + step:g}.")

    @property
    def size(self) -> int | None:
        """The number of values; None for a continuous range."""
        if self.kind == "choice":
            return len(self.values)
        if self.kind == "int":
            return int(self.high - self.low) // int(self.step or 1) + 1
        return None if self.step is None else round((self.high - self.low) / self.step) + 1

    def allows(self, value: Any) -> bool:
        """Tell whether the parameter can take this value."""
        if self.kind == "choice":
            return frozen(value) in self.values
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not self.low <= value <= self.high
        ):
            return False
        if self.kind == "int" and value != int(value):
            return False
        if self.step is None:
            return True
        steps = (value - self.low) / self.step
        return abs(steps - round(steps)) < 1e-8

    def suggest(self, trial: BaseTrial) -> Any:
        """Draw a value for an Optuna trial."""
        if self.kind == "choice":
            labels = [_label(value) for value in self.values]
            label = trial.suggest_categorical(self.name, labels)
            return as_lists(self.values[labels.index(label)])
        if self.kind == "int":
            step = int(self.step or 1)
            return trial.suggest_int(
                self.name, int(self.low), int(self.high), step=step, log=self.log
            )
        return trial.suggest_float(self.name, self.low, self.high, step=self.step, log=self.log)

    @property
    def distribution(self) -> BaseDistribution:
        """The distribution that `suggest` draws from, as Optuna records it with a trial."""
        if self.kind == "choice":
            return CategoricalDistribution([_label(value) for value in self.values])
        if self.kind == "int":
            return IntDistribution(
                int(self.low), int(self.high), log=self.log, step=int(self.step or 1)
            )
        return FloatDistribution(self.low, self.high, log=self.log, step=self.step)

    def encode(self, value: Any) -> Any:
        """Return a value as Optuna stores it, which knows no lists: `[512, 512]` → `"[512,
        512]"`.
        """
        return _label(frozen(value)) if self.kind == "choice" else value

    def value(self, index: int) -> Any:
        """Return the value at a place, from 0, in the order of a parameter that has a `size`."""
        if self.kind == "choice":
            return as_lists(self.values[index])
        if self.kind == "int":
            return int(self.low) + index * int(self.step or 1)
        return float(Decimal(str(self.low)) + Decimal(str(self.step)) * index)

    def listed(self) -> list[Any]:
        """Return every value, in order.

        Raises:
            UserError: for a range of floats without a step, or more than `MAXIMUM_CONFIGURATIONS`
                values.
        """
        path = f"search.{self.name}"
        if self.size is None:
            raise UserError(
                path,
                "a grid needs a finite list: give `step`, or `values` instead of low and high.",
            )
        if self.size > MAXIMUM_CONFIGURATIONS:
            raise UserError(
                path, f"a grid of {self.size:,} values; must be at most {MAXIMUM_CONFIGURATIONS:,}."
            )
        return [self.value(index) for index in range(self.size)]

    def at(self, quantile: float) -> Any:
        """Return the value below which a share `quantile` in [0, 1) of the parameter's distribution
        lies.
        """
        if self.log:
            low, high = self._log_ends()
            value = math.exp(low + quantile * (high - low))
            value = round(value) if self.kind == "int" else value
            return min(max(value, self.low), self.high)
        if self.size is None:
            return min(self.low + quantile * (self.high - self.low), self.high)
        return self.value(int(quantile * self.size))

    def quantile(self, value: Any) -> float:
        """Return the quantile in (0, 1) in the middle of those that `at` maps to this value."""
        if self.kind == "choice":
            return (self.values.index(frozen(value)) + 0.5) / len(self.values)
        if self.log:
            low, high = self._log_ends()
            return (math.log(value) - low) / (high - low)
        if self.size is not None:
            return (round((value - self.low) / (self.step or 1)) + 0.5) / self.size
        return float((value - self.low) / (self.high - self.low))

    def _log_ends(self) -> tuple[float, float]:
        """Return the logarithms of the ends; whole numbers reach half a step beyond them."""
        margin = 0.5 if self.kind == "int" else 0.0
        return math.log(self.low - margin), math.log(self.high + margin)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields that apply, JSON-able."""
        content: dict[str, Any] = {"kind": self.kind}
        if self.kind == "choice":
            content["values"] = as_lists(self.values)
        else:
            content |= {"low": self.low, "high": self.high, "log": self.log}
        if self.step is not None:
            content["step"] = self.step
        if self.grow:
            content |= {"grow": True, "limits": dict(self.limits)}
        if self.when:
            content["when"] = {parent: as_lists(values) for parent, values in self.when.items()}
        return content

    def domain(self) -> str:
        """Return the values in words, for messages."""
        if self.kind == "choice":
            rest = f" and {len(self.values) - 10:,} more" if len(self.values) > 10 else ""
            return ", ".join(repr(as_lists(value)) for value in self.values[:10]) + rest
        steps = f" in steps of {self.step}" if self.step else ""
        kind = "whole numbers" if self.kind == "int" else "numbers"
        return f"{kind} from {self.low} to {self.high}{steps}"


def dependents(name: str, search: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the parameters that are searched only under some values of this one, directly or
    through others.

    Args:
        search: name → range or choice, as `Space.as_dict` gives them: conditions look at earlier
            parameters only.
    """
    names: list[str] = []
    for other, content in search.items():
        if {name, *names} & {*(content.get("when") or {})}:
            names.append(other)
    return names


def frozen(value: Any) -> Any:
    """Return lists as tuples, all the way down."""
    return tuple(frozen(item) for item in value) if isinstance(value, list | tuple) else value


def as_lists(value: Any) -> Any:
    """Return tuples as lists, all the way down."""
    return [as_lists(item) for item in value] if isinstance(value, list | tuple) else value


def read_conditions(
    when: Mapping[str, Any] | None, parameters: Mapping[str, Parameter]
) -> dict[str, tuple[Any, ...]]:
    """Return parent → values of what a study file has as `when`. `parameters`: those that may be a
    parent.
    """
    conditions = {}
    for parent, value in (when or {}).items():
        # A list is one value where the parent's choices are lists, and alternatives otherwise.
        single = not isinstance(value, list) or (
            parent in parameters and parameters[parent].allows(value)
        )
        conditions[parent] = (value,) if single else tuple(value)
    return conditions


def _label(value: Any) -> Any:
    # Optuna's choices are None, bool, int, float or str; anything else would not survive its
    # storages.
    return json.dumps(as_lists(value)) if isinstance(value, tuple) else value


MAXIMUM_CONFIGURATIONS = 100_000
"""The largest grid that is listed."""


@dataclass(frozen=True)
class Space:
    """Parameters in the order of the study file; a condition looks at earlier ones only."""

    parameters: tuple[Parameter, ...]

    def __post_init__(self) -> None:
        for parameter in self.parameters:
            for parent, values in parameter.when.items():
                self._check_condition(parameter.name, parent, values)

    def _check_condition(self, name: str, parent: str, values: Sequence[Any]) -> None:
        path = f"search.{name}.when"
        if parent not in self.names:
            raise UserError(
                path, f"'{parent}' is not searched. {did_you_mean(parent, {*self.names} - {name})}"
            )
        if self.names.index(parent) >= self.names.index(name):
            raise UserError(path, f"'{parent}' must stand above '{name}'.")
        if self[parent].kind == "float":
            raise UserError(
                path,
                f"'{parent}' is a continuous range; a condition needs a choice or whole numbers.",
            )
        if not values:
            raise UserError(
                f"{path}.{parent}",
                "got an empty list; must hold the values under which it is searched.",
            )
        for value in values:
            if not self[parent].allows(value):
                problem = f"'{parent}' never is {value!r}; it takes {self[parent].domain()}."
                raise UserError(f"{path}.{parent}", problem)

    def __getitem__(self, name: str) -> Parameter:
        return next(parameter for parameter in self.parameters if parameter.name == name)

    @property
    def names(self) -> list[str]:
        """The names of all parameters, in order."""
        return [parameter.name for parameter in self.parameters]

    def active(self, params: Mapping[str, Any]) -> list[str]:
        """Return the names of the parameters whose condition holds, given at least the values of
        those they depend on.
        """
        active: list[str] = []
        for parameter in self.parameters:
            conditions = parameter.when.items()
            if all(
                parent in active and parent in params and frozen(params[parent]) in v
                for parent, v in conditions
            ):
                active.append(parameter.name)
        return active

    def changed(self, params: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return a configuration with these settings. Its parameters that become inactive are
        dropped; what is set stays.
        """
        values = {**params, **settings}
        useless = {*params} - {*self.active(values), *settings}
        return {name: value for name, value in values.items() if name not in useless}

    def suggest(self, trial: BaseTrial) -> dict[str, Any]:
        """Draw every parameter whose condition holds; values are plain Python (lists, not
        tuples).
        """
        params: dict[str, Any] = {}
        for parameter in self.parameters:
            if parameter.name in self.active(params):
                params[parameter.name] = parameter.suggest(trial)
        return params

    def stored(self, params: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Return `params` and `distributions` of an Optuna trial with this configuration, as far as
        it lies in the space.
        """
        lying = [
            parameter
            for parameter in self.parameters
            if parameter.name in params and parameter.allows(params[parameter.name])
        ]
        return {
            "params": {each.name: each.encode(params[each.name]) for each in lying},
            "distributions": {each.name: each.distribution for each in lying},
        }

    def context(self, name: str) -> dict[str, Any]:
        """Return values of other parameters under which this one is active: the first that its
        conditions name.
        """
        values: dict[str, Any] = {}
        for parent, allowed in self[name].when.items():
            values |= self.context(parent) | {parent: as_lists(allowed[0])}
        return values

    def configurations(self) -> list[dict[str, Any]]:
        """Return every valid combination once, in an order that does not depend on the order of the
        file.

        Raises:
            UserError: for a range of floats without a step, or more than `MAXIMUM_CONFIGURATIONS`
                combinations.
        """
        listed: list[dict[str, Any]] = [{}]
        for parameter in self.parameters:
            values = parameter.listed()
            active = [parameter.name in self.active(params) for params in listed]
            if sum(len(values) if searched else 1 for searched in active) > MAXIMUM_CONFIGURATIONS:
                problem = (
                    f"a grid of more than {MAXIMUM_CONFIGURATIONS:,} combinations; use larger "
                    "steps."
                )
                raise UserError("search", problem)
            extended = list[dict[str, Any]]()
            for params, searched in zip(listed, active, strict=True):
                if searched:
                    extended += [params | {parameter.name: value} for value in values]
                else:
                    extended.append(params)
            listed = extended
        return sorted(listed, key=lambda params: json.dumps(params, sort_keys=True))

    def maximum(self, name: str) -> Any:
        """Return the largest value that a parameter can take, in a range that grows, too; None when
        it is not searched or its values have no order.
        """
        if name not in self.names:
            return None
        parameter = self.widest()[name]
        if parameter.kind != "choice":
            return parameter.high
        numbers = [
            v for v in parameter.values if isinstance(v, int | float) and not isinstance(v, bool)
        ]
        return max(numbers) if len(numbers) == len(parameter.values) else None

    def grown(self, growths: Iterable[Growth]) -> "Space":
        """Return the space with the ranges that a search has widened."""
        ends = {(growth.parameter, growth.bound): growth.end for growth in growths}
        if not ends:
            return self
        return Space(
            tuple(
                replace(
                    p,
                    low=ends.get((p.name, "lower"), p.low),
                    high=ends.get((p.name, "upper"), p.high),
                )
                for p in self.parameters
            )
        )

    def widest(self) -> "Space":
        """Return the space with each range that may grow as wide as it may become."""
        growing = (parameter for parameter in self.parameters if parameter.grow)
        growths = list[Growth]()
        for parameter, bound in product(growing, BOUNDS):
            growths += [
                Growth(parameter=parameter.name, bound=bound, end=end, round=0, trial=0)
                for end in steps_out(parameter, bound, parameter.limits)
            ]
        return self.grown(growths)

    def as_dict(self) -> dict[str, Any]:
        """Return name → its range or choice, in order, JSON-able."""
        return {parameter.name: parameter.as_dict() for parameter in self.parameters}

    @classmethod
    def from_dict(cls, content: Mapping[str, Mapping[str, Any]]) -> "Space":
        """Make the space of which `as_dict` gave this content."""
        return cls(tuple(Parameter(name=name, **parameter) for name, parameter in content.items()))
