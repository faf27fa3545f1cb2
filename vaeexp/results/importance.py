"""Old names."""

from vaeexp.results.parameter_effects import LEAST_TRIALS

__all__ = ["LEAST_TRIALS"]
