"""The search space: which settings are searched, over which values, and under which conditions.

A space is data (it goes into the study's record and comes back from it) and knows how to draw from an Optuna trial.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sweeps.errors import UserError, did_you_mean
from sweeps.parameter import Parameter, frozen, plain

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

__all__ = ["MAXIMUM_CONFIGURATIONS", "Parameter", "Space"]

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
        if parent not in earlier:
            if parent not in self.names:
                raise UserError(
                    place, f"'{parent}' is not searched. {did_you_mean(parent, {*self.names} - {parameter.name})}"
                )
            if parameter.name in self._ancestors(parent):
                raise UserError(place, f"'{parameter.name}' and '{parent}' depend on each other; drop one condition.")
            raise UserError(place, f"'{parent}' stands further down; move it above '{parameter.name}'.")
        if earlier[parent].kind == "float":
            raise UserError(place, f"'{parent}' is a continuous range; a condition needs a choice or whole numbers.")
        if not values:
            raise UserError(f"{place}.{parent}", f"got an empty list; give the values of '{parent}' that are meant.")
        for value in values:
            if not earlier[parent].allows(value):
                raise UserError(
                    f"{place}.{parent}", f"'{parent}' never is {value!r}; it takes {earlier[parent].domain()}."
                )

    def _ancestors(self, name: str) -> set[str]:
        found: set[str] = set()
        waiting = [name]
        while waiting:
            current = waiting.pop()
            if current in self.names and current not in found:
                found.add(current)
                waiting.extend(self[current].when)
        return found

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

    def grid(self) -> dict[str, list[Any]]:
        """Name → every value of each parameter.

        Raises:
            UserError: for a range of floats without a step.
        """
        return {parameter.name: parameter.listed() for parameter in self.parameters}

    def configurations(self) -> list[dict[str, Any]]:
        """Every valid combination once, in an order that does not depend on the order of the file.

        Raises:
            UserError: for a range of floats without a step, or more than `MAXIMUM_CONFIGURATIONS` combinations.
        """
        found: list[dict[str, Any]] = [{}]
        for name, values in self.grid().items():
            found = [
                extended
                for params in found
                for extended in (
                    [params | {name: value} for value in values] if name in self.active(params) else [params]
                )
            ]
            if len(found) > MAXIMUM_CONFIGURATIONS:
                raise UserError(
                    "search", f"a grid of more than {MAXIMUM_CONFIGURATIONS:,} combinations; use larger steps."
                )
        return sorted(found, key=lambda params: json.dumps(params, sort_keys=True))

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
