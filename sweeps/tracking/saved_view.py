"""A saved view of a study in MLflow's pages: runs by objective, with searched parameters as columns
and pictures that show at once.

MLflow keeps views as tags of the experiment and lists them under *Views*. Without a view its page
shows the parent run alone, no metric and no parameter, and its pictures at step 0, where no run has
one.
"""

import json
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from typing import Any

from sweeps.state.record import StudyRecord
from sweeps.state.trial import Trial

TAG = "mlflow.sharedViewState."
"""Start of the names of the tags that hold views. What follows is the view's key in addresses
(`viewStateShareKey=`).
"""
KEY = "sweeps-"
"""Start of the keys of the views that are written here."""
COLUMNS = 8
"""Searched parameters that are columns, at most; MLflow's page offers the others under
*Columns*.
"""


def view_key(study: StudyRecord) -> str:
    """Return the key of the study's view. Studies of one name that share an experiment have views
    of their own.
    """
    return f"{KEY}{study.identity[:8]}"


def saved_view(study: StudyRecord, records: Sequence[Trial]) -> dict[str, Any]:
    """Return the view of a study as MLflow's page stores it."""
    objectives = [f"metrics.`{metric}`" for metric in study.objectives.values()] or [
        "metrics.`objective`"
    ]
    parameters = [f"params.`{name}`" for name in list(study.spec.get("search") or {})[:COLUMNS]]
    view = {
        "orderByKey": objectives[0],
        "orderByAsc": True,
        "selectedColumns": [*objectives, *parameters],
    }
    steps = Counter(
        min(picture.epoch for picture in record.pictures) for record in records if record.pictures
    )
    if steps:
        pictures = chain.from_iterable(record.pictures for record in records)
        names = sorted({picture.name for picture in pictures})
        first = min(steps, key=lambda step: (-steps[step], step))
        view["compareRunCharts"] = [_pictures(name, first) for name in names]
        view["compareRunSections"] = [
            {"uuid": KEY, "name": "Pictures", "display": True, "deleted": False}
        ]
    return view


def _pictures(name: str, step: int) -> dict[str, Any]:
    """Return the chart of the pictures of one name, which begins at `step`."""
    return {
        "type": "IMAGE",
        "uuid": f"{KEY}{name}",
        "runsCountToCompare": 10,
        "metricSectionId": KEY,
        "deleted": False,
        "isGenerated": True,
        "imageKeys": [name],
        "step": step,
        "showRunParams": False,
    }


def view_text(name: str, view: dict[str, Any], at: int) -> str:
    """Return the value of the tag: the view under its name for people. `at`: unix ms of its
    creation.
    """
    return json.dumps({"name": name, "createdAt": at, "updatedAt": at, "state": json.dumps(view)})
