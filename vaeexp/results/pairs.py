"""Old names."""

from vaeexp.results.differences import PairComparison

__all__ = ["PairComparison"]
