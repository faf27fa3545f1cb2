"""Where the trials of a phase come from: what the rounds ask for."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from optuna.trial import FrozenTrial

from sweeps.atomic import Draft

__all__ = ["Source", "next_drafts"]


class Source(Protocol):
    """Where the trials of a phase come from."""

    planned: int | None
    """How many there will be, if that is known."""

    def draft(self, trials: Sequence[FrozenTrial], drafts: Sequence[Draft], elapsed: float, round_: int) -> Draft | str:
        """The next trial, to begin in this round; or a sentence that says why there is none.

        Args:
            trials: all so far.
            drafts: those among them that are not written yet, the last ones.
            elapsed: seconds spent.
        """

    def prepare(self, trials: Sequence[FrozenTrial], round_: int, seconds: float) -> None:
        """While the lanes train in this round: work for about so long on what `draft` may be asked for in the next."""

    def params(self, trial: FrozenTrial) -> dict[str, Any]:
        """The searched parameters as the workload gets them."""

    def twin(self, stored: Mapping[str, Any], earlier: Sequence[FrozenTrial]) -> FrozenTrial | None:
        """The earlier trial with these parameters, finished or running, that makes another one a duplicate."""


def next_drafts(
    source: Source, trials: Sequence[FrozenTrial], most: int, elapsed: float, round_: int
) -> tuple[list[Draft], FrozenTrial | None, str]:
    """Up to `most` trials to begin together: up to the first that is a duplicate, which needs no lane. With it the trial that
    it equals, which may be an earlier draft; and why there are no more, where the source has no more."""
    drafts, so_far = [], list(trials)
    while len(drafts) < most:
        draft = source.draft(so_far, drafts, elapsed, round_)
        if isinstance(draft, str):
            return drafts, None, draft
        drafts.append(draft)
        if twin := source.twin(draft.stored, so_far):
            return drafts, twin, ""
        so_far.append(draft.trial)
    return drafts, None, ""
