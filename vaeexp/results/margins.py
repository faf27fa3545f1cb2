"""Old names."""

from typing import TYPE_CHECKING

from vaeexp.results.differences import WinnerMargin

if TYPE_CHECKING:
    from sweeps.results.rankings import Results


Margin = WinnerMargin


def margins(results: "Results") -> list[WinnerMargin]:
    from vaeexp.results.study_view import StudyView

    return StudyView(results).margins
