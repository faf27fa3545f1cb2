"""The report of a study: `reports/<study>/README.md` with its plots, `trials.csv` and `summary.json`, readable on any git host.

The names below are imported when they are first asked for, because they bring matplotlib and pandas.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vaeexp.report.chapters import write_report
    from vaeexp.report.several_studies import check_index, state_words, write_comparison, write_index

__all__ = ["check_index", "state_words", "write_comparison", "write_index", "write_report"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    module = "chapters" if name == "write_report" else "several_studies"
    return getattr(importlib.import_module(f"{__name__}.{module}"), name)
