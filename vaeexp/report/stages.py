"""The stages of a study in its report: what changed with each, and which trials count."""

from itertools import chain

from sweeps import fixed_differences, spec_differences
from vaeexp.report.markup import heading, table
from vaeexp.report.sentences import Block
from vaeexp.results.statements import NATS, Figure, Statement, say
from vaeexp.results.study_view import StudyView
from vaeexp.settings import SECTIONS
from vaeexp.words import format_short, parameter_label


def stage_doubts(view: StudyView) -> list[Statement]:
    """Say how many trials count where not all do, what the others had, and whether the best of them
    was better.
    """
    search = view.results.trials[~view.results.trials["repeat"]]
    left = search[~search["counts"]]
    if left.empty:
        return []
    stages = view.study.stages
    own = [fixed_differences(stages[at - 1], stages[-1]) for at in left["stage"].unique()]
    settings = chain.from_iterable(each.items() for each in own)
    had = [f"{parameter_label(name)} {format_short(value)}" for name, (value, _) in settings]
    complete = left[left["state"] == "complete"].sort_values("objective")
    outside = {}
    if len(complete) and not view.study.objectives:
        best = complete.iloc[0]
        outside = {"best": best["name"], "value": Figure(float(best["objective"]), unit=NATS)}
    numbers = {"counting": len(search) - len(left), "trials": len(search)}
    return [say("doubt.stages", **numbers, had=tuple(dict.fromkeys(had)) or None, **outside)]


def stages_chapter(view: StudyView) -> list[Block]:
    """Return the table of the stages of a study; empty where its file has not changed."""
    stages = view.study.stages
    if all(stage.by_search for stage in stages[1:]):
        return []
    rows = []
    search = view.results.trials[~view.results.trials["repeat"]]
    for place, stage in enumerate(stages):
        own = search[search["stage"] == place + 1]
        complete = own.loc[own["state"] == "complete", "objective"]
        best = "" if complete.empty else f"{complete.min():.2f}"
        changed = _changed(view, place) if place else ""
        counts = [f"{len(own)}", f"{own['counts'].sum()}", best]
        rows.append([str(place + 1), str(stage.trial), changed, *counts])
    titles = ["stage", "from trial", "what changed", "trials", "of them counting", "best"]
    return [heading("Stages of the search"), table(titles, rows, right=(0, 1, 3, 4, 5))]


def _changed(view: StudyView, place: int) -> str:
    before, stage = view.study.stages[place - 1 : place + 1]
    if stage.by_search:
        return "the search widened a range"
    differences = spec_differences(before.spec, stage.spec)
    return "; ".join(
        f"{path}: {format_short(old) or '–'} → {format_short(new) or '–'}"
        for path, (old, new) in differences.items()
        if path.partition(".")[0] in ("search", *SECTIONS)
    )
