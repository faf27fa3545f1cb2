"""A page has 25 MB at most, whatever the study holds, and 11 MB of 10,000 trials with their plots
and pictures: the best trials first, and what is left out is said.
"""

import json
import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic_study import make_results, repeated, write_pictures

from vaeexp.report.chapters import plots_of
from vaeexp.report.page.document import page
from vaeexp.report.page.inline import page_drawings
from vaeexp.report.page.room import MOST_BYTES, as_text, that_fit
from vaeexp.report.page.trial_rows import ordered_trials, study_data
from vaeexp.results.study_view import StudyView
from vaeexp.training.checkpoint import save_arrays

NOISE = np.random.default_rng(0)
TEXT = "# A\n\n" + "\n\n".join(
    f'<img src="{name}.png" width="9" alt="Plot {name}">' for name in "abcde"
)
TEXT += "\n\n[all](trials.csv) and [epochs](curves.csv)\n"
FILES = {"trials.csv": b"x" * 1_400_000, "curves.csv": b"x" * 2_000_000} | {
    f"{name}.png": b"png" for name in "abcde"
}


def pictured(folder):
    """A study of 40 trials, each with a sheet of 0.4 MB, which is far more than one keeps."""
    view = StudyView(make_results(40, folder=folder))
    for folder_of_run in view.search["folder"]:
        Path(folder_of_run).mkdir(parents=True, exist_ok=True)
        parts = {
            name: NOISE.integers(0, 256, (13, 64, 64, 3), dtype=np.uint8)
            for name in ("reconstructions", "samples")
        }
        save_arrays(Path(folder_of_run) / "sheet.npz", parts | {"epoch": np.array(1)})
    return view


def crowded(folder, *, message):
    """A study of 2,000 trials, each of which left a message of so many bytes."""
    results = make_results(40, confirm=False, compare=False, folder=folder)
    parts = [
        results.trials.assign(number=results.trials["number"] + 40 * part) for part in range(50)
    ]
    trials = pd.concat(parts, ignore_index=True)
    trials["duplicate_of"] = pd.Series([None] * len(trials), dtype="Int64")
    return StudyView(replace(results, trials=trials.assign(message="<" * message)))


def data_in(text):
    return json.loads(re.search(r'id="study-data">(.*?)</script>', text)[1])


def drawn(size):
    return {f"{name}.png": f'<svg id="{name}">{"ü" * (size // 2)}</svg>' for name in "abcde"}


@pytest.mark.parametrize(
    ("study", "drawing", "words"),
    [
        pytest.param(pictured, 10, ["Pictures of 21 of 39 runs"], marks=pytest.mark.slow),
        (pictured, 2_300_000, ["Pictures of 1 of 39 runs"]),
        pytest.param(
            pictured,
            6_100_000,
            ["in these plots: Plot b, Plot c, Plot d and Plot e"],
            marks=pytest.mark.slow,
        ),
        pytest.param(
            partial(crowded, message=1_700),
            2_300_000,
            ["of 2,000 rows of trials"],
            marks=pytest.mark.slow,
        ),
        (partial(crowded, message=0), 30_000_000, ["Plot a, Plot b, Plot c, Plot d and Plot e"]),
    ],
    ids=["pictures", "pictures and plots", "large plots", "rows", "plots that no page holds"],
)
def test_a_page_has_25_megabytes_at_most_and_says_what_is_left_out(tmp_path, study, drawing, words):
    view = study(tmp_path)
    text = page(TEXT, FILES, drawings=drawn(drawing), data=partial(study_data, view))
    assert len(text.encode()) <= MOST_BYTES == 25_000_000
    data = data_in(text)
    said = " ".join([*data["left_out"], *data["pictures"].get("notes", [])])
    assert [each for each in words if each not in said] == []
    assert "curves.csv stands beside this page" in said
    order = ordered_trials(view)["row"].tolist()
    rows, pictures = [row["row"] for row in data["rows"]], list(data["pictures"].get("rows", {}))
    assert rows == order[: len(rows)]
    assert pictures == [row for row in order if not row.startswith("r")][: len(pictures)]
    shown = re.findall(
        r'<div class="plot"[^>]*><svg role="img" aria-label="Plot (\w)"|<img src="data:[^"]*" '
        r'alt="Plot (\w)"',
        text,
    )
    assert sorted("".join(each) for each in shown) == list("abcde")


def test_a_page_of_10_000_trials_with_plots_and_pictures_has_11_megabytes_at_most(tmp_path):
    few = make_results(40, folder=tmp_path / "trials" / "beta_mnist")
    write_pictures(few, tmp_path)
    view = StudyView(repeated(few, 10_000))
    plots = {name: plot.draw(view, titled=False) for name, plot in plots_of(view).items()}
    figures = {f"{name}.png": figure for name, figure in plots.items() if figure is not None}
    assert {"equal_epochs.png", "history.png", "beta_strip.png", "traversals.png"} <= figures.keys()
    words = "\n\n".join(f'<img src="{name}" width="9" alt="{name}">' for name in figures)
    drawings = page_drawings(view, figures)
    text = page(words, {}, drawings=drawings, data=partial(study_data, view))
    data = data_in(text)
    assert data["left_out"] == []
    assert len(data["rows"]) > 10_000
    assert len(data["pictures"]["rows"]) > 50
    assert text.count("<svg ") >= len(figures)
    assert 9_000_000 < len(text.encode()) <= 11_000_000


def test_scripts_and_styles_have_70_kilobytes_at_most():
    text = page("# A\n", {}, data=lambda room: {})
    parts = re.findall(r"<style>(.*?)</style>|<script>(.*?)</script>", text, re.DOTALL)
    size = len("".join(map("".join, parts)).encode())
    assert 60_000 < size <= 70_000


def test_a_picture_for_which_there_is_no_room_is_linked():
    text = page(TEXT, FILES | {"b.png": b"x" * 10_000_000})
    assert '<p><a href="b.png">Plot b</a></p>' in text
    assert text.count("<img ") == 4


@pytest.mark.parametrize("room", [-1, 0, 2, 39, 40, 41, 1000])
def test_the_first_parts_that_fit_together(room):
    parts = {"a": "1234", "b": "<", "c": "ü" * 20, "d": ""}
    shown = that_fit(parts, room)
    assert list(shown) == list(parts)[: len(shown)]
    assert len(as_text(shown).encode()) <= max(room, 2)
    more = dict(list(parts.items())[: len(shown) + 1])
    assert shown == parts or len(as_text(more).encode()) > room - 2 * len(more)
