"""What the report knows of a figure besides how it is drawn."""

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.figure import Figure

from sweeps.results import Results

__all__ = ["Plot"]


@dataclass(frozen=True)
class Plot:
    """A figure and the words that go with it."""

    title: str
    draw: Callable[[Results], Figure | None]
    """None when the study has too little for it."""
    caption: str | Callable[[Results], str]
    """How to read it, in a sentence or two."""
    absent: str
    """Why it may be missing."""

    def reading(self, results: Results) -> str:
        """The caption for this study."""
        return self.caption if isinstance(self.caption, str) else self.caption(results)
