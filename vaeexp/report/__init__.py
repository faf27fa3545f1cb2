"""The report of a study: `reports/<study>/README.md` with its plots, `trials.csv` and `summary.json`, readable on any git host.

The names below are imported when they are first asked for, because they bring matplotlib and pandas.
"""

from typing import TYPE_CHECKING

from sweeps import lazy

if TYPE_CHECKING:
    from vaeexp.report.answer import answer_lines, failed_checks
    from vaeexp.report.chapters import write_report
    from vaeexp.report.study_comparison import check_index, state_words, write_comparison, write_index

PAGE = "report.html"
"""The report as one file."""
_COMPARISON = ("check_index", "state_words", "write_comparison", "write_index")
__all__ = [
    "answer_lines",
    "check_index",
    "failed_checks",
    "state_words",
    "write_comparison",
    "write_index",
    "write_report",
]
__getattr__ = lazy(
    __name__,
    {"answer": ("answer_lines", "failed_checks"), "chapters": ("write_report",), "study_comparison": _COMPARISON},
)
