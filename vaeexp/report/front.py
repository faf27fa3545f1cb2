"""The front of a study with two objectives as a table, with what it does not show."""

from vaeexp.report.markup import escape, heading, narrow_tables
from vaeexp.report.sentences import sentence
from vaeexp.results.front_view import FrontView
from vaeexp.results.statements import Figure, Statement
from vaeexp.results.study_view import StudyView
from vaeexp.words import format_configuration, format_number

LESSON = (
    "Every row is one run with one seed (n = 1). The front takes the luckiest run at each place of many that are noisy: with fresh seeds "
    "its configurations will lie behind it on average, and which of two near trials is on the front may be chance. No interval stands here, "
    "because a bootstrap over trials would show how the front varies with the configurations that were tried, and not with seeds. "
    "Rows of `baselines` in the study file, with the settings of a trial of the front, train it with fresh seeds and test it."
)


def front_chapter(view: StudyView) -> list[str]:
    """Return the front as a table, what it does not show, and its hypervolume; empty with one objective, or before a trial is complete."""
    found = view.front
    if found is None or found.complete.empty:
        return []
    first, second = map(escape, found.labels)
    introduction = (
        f"The complete trials that no other complete trial equals or beats in both {first} and {second}, on validation images at the last "
        f"epoch, in order of {first}."
    )
    return [heading("The front"), introduction, _table(view, found), LESSON, sentence(volume(found), escape)]


def _table(view: StudyView, found: FrontView) -> str:
    columns = dict(zip(found.labels, found.metrics, strict=True)) | {"−ELBO": "val/neg_elbo"}
    rows = [
        [
            str(row["number"]),
            *(format_number(row[metric]) for metric in columns.values()),
            escape(format_configuration(view.params(row))),
        ]
        for _, row in found.members.iterrows()
    ]
    return narrow_tables(["trial", *columns, "configuration"], rows, right=range(1 + len(columns)))


def volume(found: FrontView) -> Statement:
    """Return the hypervolume with its reference point."""
    first, second = (float(value) for value in found.reference)
    values = {
        "first": found.labels[0],
        "second": found.labels[1],
        "volume": Figure(value=found.volume, unit=found.unit),
    }
    values |= {"unit": found.unit, "first_worst": Figure(value=first), "second_worst": Figure(value=second)}
    return Statement(id="front.volume", values=values)
