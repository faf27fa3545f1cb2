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
    """Say how many trials count where not all do, what the others had, and which of them was the
    best.
    """
    search = view.results.trials[~view.results.trials["repeat"]]
    left = search[~search["counts"]]
    stages = view.study.stages
    own = [fixed_differences(stages[at - 1], stages[-1]) for at in left["stage"].unique()]
    settings = chain.from_iterable(each.items() for each in own)
    had = [f"{parameter_label(name)} {format_short(value)}" for name, (value, _) in settings]
    outside = {}
    for _, best in left[left["state"] == "complete"].nsmallest(1, "objective").iterrows():
        outside = {"best": best["name"], "value": Figure(best["objective"], unit=NATS)}
    numbers = {"counting": len(search) - len(left), "trials": len(search)}
    said = say("doubt.stages", **numbers, had=tuple(dict.fromkeys(had)) or None, **outside)
    return [said] if len(left) else []


def stages_chapter(view: StudyView) -> list[Block]:
    """Return the table of the stages of a study; empty where its file has not changed."""
    stages = view.study.stages
    rows = []
    search = view.results.trials[~view.results.trials["repeat"]]
    for place, stage in enumerate(stages, start=1):
        own = search[search["stage"] == place]
        best = own.loc[own["state"] == "complete", "objective"].min()
        changed = spec_differences(stages[place - 2].spec, stage.spec) if place > 1 else {}
        words = [
            f"{path}: {format_short(old) or '–'} → {format_short(new) or '–'}"
            for path, (old, new) in changed.items()
            if path.partition(".")[0] in ("search", *SECTIONS)
        ]
        counts = [len(own), own["counts"].sum(), format_short(best)]
        rows.append([*map(str, (place, stage.trial, "; ".join(words), *counts))])
    titles = ["stage", "from trial", "what changed", "trials", "of them counting", "best"]
    shown = [heading("Stages of the search"), table(titles, rows, right=(0, 1, 3, 4, 5))]
    return [] if all(stage.by_search for stage in stages[1:]) else shown
