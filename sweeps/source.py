"""Where the trials of a phase come from: what the rounds ask for."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from optuna.trial import FrozenTrial

from sweeps.atomic import Draft

__all__ = ["Source"]


class Source(Protocol):
    """Where the trials of a phase come from."""

    planned: int | None
    """How many there will be, if that is known."""

    def draft(self, trials: Sequence[FrozenTrial], elapsed: float, round_: int) -> Draft | str:
        """The next trial, to begin in this round, given all so far and the seconds spent; or a sentence that says why there is
        none."""

    def prepare(self, trials: Sequence[FrozenTrial], round_: int, seconds: float) -> None:
        """While the lanes train in this round: work for about so long on what `draft` may be asked for in the next."""

    def params(self, trial: FrozenTrial) -> dict[str, Any]:
        """The searched parameters as the workload gets them."""

    def twin(self, stored: Mapping[str, Any], earlier: Sequence[FrozenTrial]) -> FrozenTrial | None:
        """The earlier trial with these parameters, finished or running, that makes another one a duplicate."""
