"""The search space: the searched parameters, their ranges or choices, and the conditions under which each is searched.

A space is data (it goes into the study's record and comes back from it) and knows how to draw from an Optuna trial.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

from sweeps.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from optuna.trial import BaseTrial


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One searched parameter: a range of numbers or a choice of values. Raises `UserError` when it makes no sense."""

    name: str
    kind: Literal["float", "int", "choice"]
    low: float | None = None
    """Smallest value of a range, included."""
    high: float | None = None
    """Largest value of a range, included."""
    log: bool = False
    """True: drawn evenly in the logarithm."""
    step: float | None = None
    """Distance of neighbouring values; None is 1 for whole numbers and continuous otherwise."""
    values: tuple[Any, ...] = ()
    """Values of a choice; lists are held as tuples."""
    when: Mapping[str, tuple[Any, ...]] = field(default_factory=dict, hash=False)
    """Earlier parameter → values of it under which this one is searched; all must hold."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuple(frozen(value) for value in self.values))
        object.__setattr__(self, "when", {parent: frozen(values) for parent, values in self.when.items()})
        if self.kind == "choice":
            self._check_choice()
        else:
            self._check_range()

    def _check_choice(self) -> None:
        place = f"search.{self.name}.values"
        if not self.values:
            raise UserError(place, "got an empty list; give the values to choose from.")
        seen = set()
        for value in self.values:
            if value in seen:
                raise UserError(place, f"{_shown(value)} stands there twice; give each value once.")
            seen.add(value)

    def _check_range(self) -> None:
        place, low, high = f"search.{self.name}", self.lowest, self.highest
        if low >= high:
            raise UserError(place, f"got low {low:g}; must be smaller than high, {high:g}.")
        if self.log and low <= 0:
            raise UserError(f"{place}.low", f"got {low:g}; must be above 0 because `log` is true.")
        if self.step is None:
            return
        if self.log:
            raise UserError(f"{place}.step", f"got {self.step:g} together with log; must have log or a step, not both.")
        if self.step <= 0:
            raise UserError(f"{place}.step", f"got {self.step:g}; must be above 0.")
        if not math.isfinite((high - low) / self.step):
            raise UserError(f"{place}.step", f"got {self.step:g}; must be larger for a range of this width.")
        first, step = Decimal(str(low)), Decimal(str(self.step))
        steps = (Decimal(str(high)) - first) / step
        if steps != steps.to_integral_value():
            last = first + math.floor(steps) * step
            raise UserError(
                f"{place}.high",
                f"must be low + a multiple of step: {high:g} is not {low:g} + n·{self.step:g}. "
                f"Try {last:g} or {last + step:g}.",
            )

    @property
    def lowest(self) -> float:
        """`low` of a range."""
        assert self.low is not None
        return self.low

    @property
    def highest(self) -> float:
        """`high` of a range."""
        assert self.high is not None
        return self.high

    @property
    def size(self) -> int | None:
        """How many values there are; None for a continuous range."""
        if self.kind == "choice":
            return len(self.values)
        if self.kind == "int":
            return int(self.highest - self.lowest) // int(self.step or 1) + 1
        return None if self.step is None else round((self.highest - self.lowest) / self.step) + 1

    def allows(self, value: Any) -> bool:
        """Whether the parameter can take this value."""
        if self.kind == "choice":
            return frozen(value) in self.values
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.lowest <= value <= self.highest:
            return False
        if self.kind == "int" and value != int(value):
            return False
        if self.step is None:
            return True
        steps = (value - self.lowest) / self.step
        return abs(steps - round(steps)) < 1e-8

    def suggest(self, trial: "BaseTrial") -> Any:
        """Draw a value for an Optuna trial."""
        if self.kind == "choice":
            return self.decode(trial.suggest_categorical(self.name, [_label(value) for value in self.values]))
        if self.kind == "int":
            low, high = int(self.lowest), int(self.highest)
            return trial.suggest_int(self.name, low, high, step=int(self.step or 1), log=self.log)
        return trial.suggest_float(self.name, self.lowest, self.highest, step=self.step, log=self.log)

    def decode(self, stored: Any) -> Any:
        """The value behind what Optuna stores, which knows no lists: `"[512, 512]"` → `[512, 512]`."""
        if self.kind != "choice":
            return stored
        return next(plain(value) for value in self.values if _label(value) == stored)

    def encode(self, value: Any) -> Any:
        """What Optuna stores for a value; the inverse of `decode`."""
        return _label(frozen(value)) if self.kind == "choice" else value

    def value(self, index: int) -> Any:
        """The value at a place, from 0, in the order of a parameter that has a `size`."""
        if self.kind == "choice":
            return plain(self.values[index])
        if self.kind == "int":
            return int(self.lowest) + index * int(self.step or 1)
        return float(Decimal(str(self.lowest)) + Decimal(str(self.step)) * index)

    def listed(self) -> list[Any]:
        """Every value, in order.

        Raises:
            UserError: for a range of floats without a step, or more than `MAXIMUM_CONFIGURATIONS` values.
        """
        if self.size is None:
            raise UserError(
                f"search.{self.name}", "a grid needs a finite list: give `step`, or `values` instead of low and high."
            )
        if self.size > MAXIMUM_CONFIGURATIONS:
            raise UserError(
                f"search.{self.name}", f"a grid of {self.size:,} values; must be at most {MAXIMUM_CONFIGURATIONS:,}."
            )
        return [self.value(index) for index in range(self.size)]

    def at(self, quantile: float) -> Any:
        """The value below which a share `quantile` in [0, 1) of the parameter's distribution lies."""
        if self.log:
            margin = 0.5 if self.kind == "int" else 0.0
            low, high = math.log(self.lowest - margin), math.log(self.highest + margin)
            value = math.exp(low + quantile * (high - low))
            value = round(value) if self.kind == "int" else value
            return min(max(value, self.lowest), self.highest)
        if self.size is None:
            return min(self.lowest + quantile * (self.highest - self.lowest), self.highest)
        return self.value(int(quantile * self.size))

    def as_dict(self) -> dict[str, Any]:
        """JSON-able, without what does not apply."""
        content: dict[str, Any] = {"kind": self.kind}
        if self.kind == "choice":
            content["values"] = plain(self.values)
        else:
            content |= {"low": self.low, "high": self.high, "log": self.log}
        if self.step is not None:
            content["step"] = self.step
        if self.when:
            content["when"] = {parent: plain(values) for parent, values in self.when.items()}
        return content

    def domain(self) -> str:
        """The values in words, for messages."""
        if self.kind == "choice":
            rest = f" and {len(self.values) - 10:,} more" if len(self.values) > 10 else ""
            return ", ".join(_shown(value) for value in self.values[:10]) + rest
        steps = f" in steps of {self.step}" if self.step else ""
        kind = "whole numbers" if self.kind == "int" else "numbers"
        return f"{kind} from {self.low} to {self.high}{steps}"


def frozen(value: Any) -> Any:
    """Lists as tuples, all the way down."""
    return tuple(frozen(item) for item in value) if isinstance(value, list | tuple) else value


def plain(value: Any) -> Any:
    """Tuples as lists, all the way down."""
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def _label(value: Any) -> Any:
    # Optuna's choices are None, bool, int, float or str; anything else would not survive its storages.
    return json.dumps(plain(value)) if isinstance(value, tuple) else value


def _shown(value: Any) -> str:
    return repr(plain(value))


MAXIMUM_CONFIGURATIONS = 100_000
"""The largest grid that is listed."""


@dataclass(frozen=True)
class Space:
    """Parameters in the order of the study file; a condition looks at earlier ones only."""

    parameters: tuple[Parameter, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", tuple(self.parameters))
        earlier: dict[str, Parameter] = {}
        for parameter in self.parameters:
            for parent, values in parameter.when.items():
                self._check_condition(parameter, parent, values, earlier)
            earlier[parameter.name] = parameter

    def _check_condition(
        self, parameter: Parameter, parent: str, values: Sequence[Any], earlier: Mapping[str, Parameter]
    ) -> None:
        place = f"search.{parameter.name}.when"
        if parent == parameter.name:
            raise UserError(place, f"'{parent}' cannot depend on itself.")
        if parent not in self.names:
            raise UserError(
                place, f"'{parent}' is not searched. {did_you_mean(parent, {*self.names} - {parameter.name})}"
            )
        if parent not in earlier:
            if parameter.name in self._ancestors(parent):
                raise UserError(place, f"'{parameter.name}' and '{parent}' depend on each other; drop one condition.")
            raise UserError(place, f"'{parent}' stands further down; move it above '{parameter.name}'.")
        if earlier[parent].kind == "float":
            raise UserError(place, f"'{parent}' is a continuous range; a condition needs a choice or whole numbers.")
        if not values:
            raise UserError(f"{place}.{parent}", "got an empty list; must hold the values under which it is searched.")
        for value in values:
            if not earlier[parent].allows(value):
                raise UserError(
                    f"{place}.{parent}", f"'{parent}' never is {value!r}; it takes {earlier[parent].domain()}."
                )

    def _ancestors(self, name: str) -> set[str]:
        ancestors: set[str] = set()
        waiting = [name]
        while waiting:
            current = waiting.pop()
            if current in self.names and current not in ancestors:
                ancestors.add(current)
                waiting.extend(self[current].when)
        return ancestors

    def __getitem__(self, name: str) -> Parameter:
        return next(parameter for parameter in self.parameters if parameter.name == name)

    @property
    def names(self) -> list[str]:
        """Names of all parameters, in order."""
        return [parameter.name for parameter in self.parameters]

    @property
    def conditional(self) -> list[str]:
        """Names of the parameters that have a condition."""
        return [parameter.name for parameter in self.parameters if parameter.when]

    def active(self, params: Mapping[str, Any]) -> list[str]:
        """Names of the parameters whose condition holds, given at least the values of those they depend on."""
        active: list[str] = []
        for parameter in self.parameters:
            if all(
                parent in active and parent in params and frozen(params[parent]) in values
                for parent, values in parameter.when.items()
            ):
                active.append(parameter.name)
        return active

    def suggest(self, trial: "BaseTrial") -> dict[str, Any]:
        """Draw every parameter whose condition holds; values are plain Python (lists, not tuples)."""
        params: dict[str, Any] = {}
        for parameter in self.parameters:
            if parameter.name in self.active(params):
                params[parameter.name] = parameter.suggest(trial)
        return params

    def decode(self, stored: Mapping[str, Any]) -> dict[str, Any]:
        """`optuna_trial.params` → the dict that `suggest` returned for it."""
        return {p.name: p.decode(stored[p.name]) for p in self.parameters if p.name in stored}

    def context(self, name: str) -> dict[str, Any]:
        """Values of other parameters under which this one is active: the first that its conditions name."""
        values: dict[str, Any] = {}
        for parent, allowed in self[name].when.items():
            values |= self.context(parent) | {parent: plain(allowed[0])}
        return values

    def configurations(self) -> list[dict[str, Any]]:
        """Every valid combination once, in an order that does not depend on the order of the file.

        Raises:
            UserError: for a range of floats without a step, or more than `MAXIMUM_CONFIGURATIONS` combinations.
        """
        listed: list[dict[str, Any]] = [{}]
        for parameter in self.parameters:
            values = parameter.listed()
            active = [parameter.name in self.active(params) for params in listed]
            if sum(len(values) if searched else 1 for searched in active) > MAXIMUM_CONFIGURATIONS:
                raise UserError(
                    "search", f"a grid of more than {MAXIMUM_CONFIGURATIONS:,} combinations; use larger steps."
                )
            listed = [
                extended
                for params, searched in zip(listed, active, strict=True)
                for extended in ([params | {parameter.name: value} for value in values] if searched else [params])
            ]
        return sorted(listed, key=lambda params: json.dumps(params, sort_keys=True))

    def maximum(self, name: str) -> Any:
        """The largest value that a parameter can take; None when it is not searched or its values have no order."""
        if name not in self.names:
            return None
        parameter = self[name]
        if parameter.kind != "choice":
            return parameter.high
        numbers = [v for v in parameter.values if isinstance(v, int | float) and not isinstance(v, bool)]
        return max(numbers) if len(numbers) == len(parameter.values) else None

    def as_dict(self) -> dict[str, Any]:
        """JSON-able: name → its range or choice, in order."""
        return {parameter.name: parameter.as_dict() for parameter in self.parameters}

    @classmethod
    def from_dict(cls, content: Mapping[str, Mapping[str, Any]]) -> "Space":
        """The inverse of `as_dict`."""
        return cls(tuple(Parameter(name=name, **parameter) for name, parameter in content.items()))
