"""What the page's script knows of a study: its trials, their curves and their pictures."""

from typing import Any

from vaeexp.report.page.picture_data import picture_data
from vaeexp.report.page.trial_rows import ordered_trials, trial_columns, trial_curves, trial_rows
from vaeexp.results.study_view import StudyView


def study_data(view: StudyView) -> dict[str, Any]:
    """Return the data of the page's tables, plots and pictures, as JSON has them.

    study: its name. rows: trials of the search, the best first, then repeats; each has `row`, its name (`45`, `r3`), and the values
    of `columns` that it has, under the names of `trials.csv`. curves: row → epoch, value, epoch, value … best: the rows that the
    study found best. pictures: of `picture_data`.
    """
    trials = ordered_trials(view)
    columns = trial_columns(view, trials)
    front = [] if view.front is None else view.front.members["number"].tolist()
    best = front if view.best_number is None else [view.best_number]
    return {
        "study": view.name,
        "columns": columns,
        "rows": trial_rows(trials, columns),
        "curves": trial_curves(view, trials),
        "best": [str(number) for number in best],
        "pictures": picture_data(view, trials),
    }
