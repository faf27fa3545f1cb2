"""Reports of made-up results, and reports taken apart again: tables by the heading above them, and
headings.
"""

import html
import re
from collections import deque
from dataclasses import replace

import pandas as pd
from synthetic_study import part

from sweeps.lanes import run_folder
from vaeexp.report import chapters, write_report
from vaeexp.report.sentences import sentence, written
from vaeexp.results.study_view import StudyView

_views = deque(maxlen=4)
"""The last results that were looked at, each with its view, which computes each selection once."""


def on_view(function):
    """The same function, for the results of a study instead of its view."""
    return lambda results, *given, **options: function(_view_of(results), *given, **options)


def as_written(function):
    """The same function, for the results of a study, with the blocks that it returns as
    markdown.
    """
    made = on_view(function)

    def write(results, *given):
        blocks = made(results, *given)
        return [written(block) for block in blocks] if isinstance(blocks, list) else written(blocks)

    return write


def _view_of(results):
    for known, view in _views:
        if known is results:
            return view
    _views.append((results, StudyView(results)))
    return _views[-1][1]


def with_test_figures(results, *figures):
    """The study whose confirmed configurations, best first, have these test figures: −ELBO of each
    seed; other runs of them go.
    """
    trials = results.trials.copy()
    confirming = trials["purposes"].map(lambda purposes: "confirm" in purposes)
    kept = ~confirming
    for setting, values in zip(_view_of(results).confirmed, figures, strict=False):
        own = trials.index[confirming & (trials["source_trial"] == setting.source_trial)][
            : len(values)
        ]
        trials.loc[own, "result.test/neg_elbo"] = values
        kept |= trials.index.isin(own)
    return part(results, trials[kept])


def uncovered_prior(results):
    """The study in which the normal prior was tried at β below 0.1 alone, and no other trial
    was.
    """
    trials = results.trials.copy()
    normal = ~trials["repeat"] & (trials["params.prior"] == "normal")
    trials.loc[normal, ["params.beta", "objective"]] = [0.02, 150.0]
    trials.loc[~trials["repeat"] & (trials["params.beta"] < 0.1) & ~normal, "params.beta"] = 0.5
    return replace(results, trials=trials)


def in_words(parts):
    """The words of a caption, or of several statements, one after the other."""
    return " ".join(part if isinstance(part, str) else sentence(part) for part in parts)


def report_on(results, *, runs, reports, html=False):
    """Write the report of these results, whose trials left their pictures below `runs`."""
    return write_report(StudyView(located(results, runs)), reports=reports, html=html)


def draw_only(patch, plots=None):
    """Let reports draw these plots alone, chapter → name → plot: none, unless told."""
    patch.setattr(chapters, "CHAPTERS", plots or {})
    patch.setattr(
        chapters,
        "PLOTS",
        {name: plot for entries in (plots or {}).values() for name, plot in entries.items()},
    )


def located(results, runs):
    """The results whose trials have their folder below `runs` where it lies there."""
    keys = zip(results.trials["number"], results.trials["repeat"], strict=True)
    below = [
        runs / "trials" / results.name / run_folder(number, repeat=repeat)
        for number, repeat in keys
    ]
    folders = [
        str(path) if path.is_dir() else old
        for path, old in zip(below, results.trials["folder"], strict=True)
    ]
    return replace(results, trials=results.trials.assign(folder=pd.Series(folders, dtype="object")))


def tables_of(text):
    """Pipe tables of markdown as frames of text, by the heading or the summary above them; of
    several below one heading, the last.
    """
    return dict(table_list(text))


def table_list(text):
    """(heading or summary above, frame of text) of each pipe table. Tables that follow each other
    are one that was too wide.
    """
    found, title, before = [], "", ""
    for block in re.split(r"\n\n+", text):
        if block.startswith("#"):
            title = block.lstrip("# ")
        elif block.startswith("<details>"):
            title = summary_of(block)
        elif block.startswith("|"):
            rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in block.splitlines()]
            cells = [[cell.strip() for cell in row] for row in rows]
            frame = pd.DataFrame(cells[2:], columns=cells[0])
            if before.startswith("|"):
                last = found.pop()[1]
                frame = last.join(frame[[name for name in frame if name not in last]])
            found.append((title, frame))
        before = block
    return found


def summary_of(block):
    return html.unescape(re.search(r"<summary>(.*)</summary>", block)[1])


def headings(text):
    """Headings, and the lines that open what is folded away."""
    lines = without_code(text).splitlines()
    marked = [line for line in lines if line.startswith(("#", "<summary>"))]
    return [summary_of(line) if line.startswith("<") else line.lstrip("# ") for line in marked]


def without_code(text):
    """The text without its fenced blocks."""
    return re.sub(r"(?s)(````*).*?\1", "", text)


WRONG = (r"\bnan\b", r"\bNone\b(?! of)", r"\bNaN\b", r"<NA>", r"\binf\b", r"\S  [a-z]", r"\.\.")
"""What no sentence of a report has: a value that is missing, two spaces, two full stops."""


def bad_english(text, *more):
    """The first words of prose that no reader should see, with the patterns of `WRONG` and these;
    None where all is well.
    """
    found = (re.search(wrong, text) for wrong in (*WRONG, *more))
    return next((match[0] for match in found if match), None)
