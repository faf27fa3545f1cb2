"""Old names, until the report takes a view."""

from sweeps.results.rankings import Results
from vaeexp.results.differences import PairComparison
from vaeexp.results.study_view import StudyView

Comparison = PairComparison


def comparisons(results: Results) -> list[PairComparison]:
    return StudyView(results).pairs
