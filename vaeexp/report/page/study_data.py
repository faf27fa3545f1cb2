"""What the page's script knows of a study: its trials, their curves and their pictures."""

from typing import Any

from vaeexp.report.page.picture_data import picture_data
from vaeexp.report.page.room import MOST_BYTES, OF_WORDS, size_of, that_fit
from vaeexp.report.page.trial_rows import ordered_trials, trial_columns, trial_curves, trial_rows
from vaeexp.results.study_view import StudyView


def study_data(view: StudyView, room: int = MOST_BYTES) -> dict[str, Any]:
    """Return the data of the page's tables, plots and pictures, as JSON has them, in `room` bytes at most.

    study: its name. rows: trials of the search, the best first, then repeats; each has `row`, its name (`45`, `r3`), and the values
    of `columns` that it has, under the names of `trials.csv`. curves: row → epoch, value, epoch, value … best: the rows that the
    study found best. pictures: of `picture_data`. left_out: sentences on the rows and curves for which there was no room. Rows come
    before curves, and curves before pictures.
    """
    trials = ordered_trials(view)
    columns = trial_columns(view, trials)
    front = [] if view.front is None else view.front.members["number"].tolist()
    best = front if view.best_number is None else [view.best_number]
    data: dict[str, Any] = {"study": view.name, "columns": columns, "best": [str(number) for number in best]}
    rows = {row["row"]: row for row in trial_rows(trials, columns)}
    curves = trial_curves(view, trials)
    room -= size_of(data) + OF_WORDS
    shown = that_fit(rows, room)
    room -= size_of(shown)
    drawn = that_fit(curves, room)
    room -= size_of(drawn)
    data |= {"rows": list(shown.values()), "curves": drawn, "pictures": picture_data(view, trials, room)}
    return data | {
        "left_out": [*_left_out("rows of trials", shown, rows), *_left_out("learning curves", drawn, curves)]
    }


def _left_out(what: str, shown: dict[str, Any], parts: dict[str, Any]) -> list[str]:
    if len(shown) == len(parts):
        return []
    return [
        f"There was room for {len(shown):,} of {len(parts):,} {what}, the best first; trials.csv and curves.csv have all."
    ]
