"""What the page's script knows of a study: its trials, their curves and their pictures."""

from typing import Any

from vaeexp.results.study_view import StudyView


def study_data(view: StudyView) -> dict[str, Any]:
    """Return the data of the page's tables, plots and pictures, as JSON has them."""
    rows = view.search[["number", "state", "epochs", "objective"]].astype(object)
    trials = rows.where(rows.notna(), None).rename(columns={"number": "row"}).to_dict("records")
    return {"study": view.name, "trials": trials}
