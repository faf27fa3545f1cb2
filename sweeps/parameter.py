"""One searched setting: a range of numbers or a choice of values."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

from sweeps.errors import UserError

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

__all__ = ["Parameter", "frozen", "plain"]


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One searched setting: a range of numbers or a choice of values. Raises `UserError` when it makes no sense."""

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
        for index, value in enumerate(self.values):
            if value in self.values[:index]:
                raise UserError(place, f"{_shown(value)} stands there twice; give each value once.")

    def _check_range(self) -> None:
        place = f"search.{self.name}"
        if self.low >= self.high:
            raise UserError(place, f"the range is empty: low {self.low:g} must be smaller than high {self.high:g}.")
        if self.log and self.low <= 0:
            raise UserError(f"{place}.low", f"got {self.low:g}; a log range needs low above 0.")
        if self.step is None:
            return
        if self.log:
            raise UserError(
                f"{place}.step", f"got {self.step:g} together with log; a range has log or a step, not both."
            )
        if self.step <= 0:
            raise UserError(f"{place}.step", f"got {self.step:g}; a step must be above 0.")
        steps = (Decimal(str(self.high)) - Decimal(str(self.low))) / Decimal(str(self.step))
        if steps != steps.to_integral_value():
            last = Decimal(str(self.low)) + math.floor(steps) * Decimal(str(self.step))
            raise UserError(
                f"{place}.high",
                f"got {self.high:g}, which steps of {self.step:g} from {self.low:g} do not meet; "
                f"the nearest are {last:g} and {last + Decimal(str(self.step)):g}.",
            )

    def allows(self, value: Any) -> bool:
        """Whether the parameter can take this value."""
        if self.kind == "choice":
            return frozen(value) in self.values
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.low <= value <= self.high:
            return False
        if self.kind == "int" and value != int(value):
            return False
        if self.step is None:
            return True
        steps = (value - self.low) / self.step
        return abs(steps - round(steps)) < 1e-8

    def suggest(self, trial: "BaseTrial") -> Any:
        """Draw a value for an Optuna trial."""
        if self.kind == "choice":
            return self.decode(trial.suggest_categorical(self.name, [_label(value) for value in self.values]))
        if self.kind == "int":
            return trial.suggest_int(self.name, int(self.low), int(self.high), step=int(self.step or 1), log=self.log)
        return trial.suggest_float(self.name, self.low, self.high, step=self.step, log=self.log)

    def decode(self, stored: Any) -> Any:
        """The value behind what Optuna stores, which knows no lists: `"[512, 512]"` → `[512, 512]`."""
        if self.kind != "choice":
            return stored
        return next(plain(value) for value in self.values if _label(value) == stored)

    def encode(self, value: Any) -> Any:
        """What Optuna stores for a value; the inverse of `decode`."""
        return _label(frozen(value)) if self.kind == "choice" else value

    def listed(self) -> list[Any]:
        """Every value, in order.

        Raises:
            UserError: for a range of floats without a step.
        """
        if self.kind == "choice":
            return [plain(value) for value in self.values]
        if self.kind == "int":
            return list(range(int(self.low), int(self.high) + 1, int(self.step or 1)))
        if self.step is None:
            raise UserError(
                f"search.{self.name}", "a grid needs a finite list: give `step`, or `values` instead of low and high."
            )
        low, step = Decimal(str(self.low)), Decimal(str(self.step))
        return [float(low + step * index) for index in range(round((self.high - self.low) / self.step) + 1)]

    def at(self, quantile: float) -> Any:
        """The value below which a share `quantile` in [0, 1) of the parameter's distribution lies."""
        if self.log:
            margin = 0.5 if self.kind == "int" else 0.0
            low, high = math.log(self.low - margin), math.log(self.high + margin)
            value = math.exp(low + quantile * (high - low))
            value = round(value) if self.kind == "int" else value
            return min(max(value, self.low), self.high)
        if self.kind == "float" and self.step is None:
            return min(self.low + quantile * (self.high - self.low), self.high)
        listed = self.listed()
        return listed[int(quantile * len(listed))]

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
            return ", ".join(_shown(value) for value in self.values)
        steps = f" in steps of {self.step}" if self.step else ""
        return f"whole numbers from {self.low} to {self.high}{steps}"


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
