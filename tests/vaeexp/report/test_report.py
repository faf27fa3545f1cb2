"""The report of a study as a whole: its words and figures against the frames, its files, its page
in a browser.
"""

import base64
import hashlib
import io
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from command_line import ROOT
from markdown_it import MarkdownIt
from pages import page_facts, slow_in_browser
from PIL import Image
from report_text import (
    bad_english,
    draw_only,
    headings,
    on_view,
    report_on,
    tables_of,
    without_code,
)
from synthetic_study import (
    part,
    study_attributes,
    thin_studies,
    with_baselines,
    write_pictures,
)

from sweeps.errors import UserError
from sweeps.results import ranked
from vaeexp.plots import CHAPTERS, PLOTS
from vaeexp.plots.style import DPI
from vaeexp.report import chapters
from vaeexp.report.answer import answer
from vaeexp.report.chapters import notices
from vaeexp.report.closing import SHEET, outcomes
from vaeexp.report.markup import linked_files
from vaeexp.report.page.document import page
from vaeexp.report.summary import curves_csv, summary_json, trials_csv
from vaeexp.results.study_view import StudyView

answer, notices, outcomes, trials_csv = map(on_view, (answer, notices, outcomes, trials_csv))
curves_csv = on_view(curves_csv)
summary_json = on_view(summary_json)
RENDER = MarkdownIt("commonmark").enable(["table", "strikethrough"])


@pytest.fixture(scope="module")
def whole(results):
    return with_baselines(results)


@pytest.fixture(scope="module")
def runs(whole, tmp_path_factory):
    """The folder where the runs of the whole study left their pictures."""
    folder = tmp_path_factory.mktemp("runs")
    write_pictures(whole, folder)
    return folder


@pytest.fixture(scope="module")
def report(whole, runs, tmp_path_factory):
    """The README of a whole report with its page and all figures, which takes seconds: tests read
    this one.
    """
    return report_on(whole, runs=runs, reports=tmp_path_factory.mktemp("report"), html=True)


def test_the_report_has_its_chapters_in_order_and_every_link_resolves(whole, report):
    text = report.read_text(encoding="utf-8")
    names = headings(text)
    assert names[0] == "beta_mnist"
    order = [
        "Answer",
        "Contents",
        "Can this study be trusted?",
        "Tables",
        "Rows by protocol",
        "Plots",
        "How the trials ended",
        "Failed",
        "Left out",
        "How this was made",
        "What the numbers are",
        "Commands",
        "Study file",
    ]
    places = [names.index(name) for name in order]
    assert places == sorted(places)
    files = linked_files(text)
    assert files == {f"{name}.png" for name in chapters.plots_of(StudyView(whole))} | {
        "trials.csv",
        "curves.csv",
        "per_image.npz",
        "summary.json",
    }
    assert {path.name for path in report.parent.iterdir()} == files | {"README.md", "report.html"}
    for file in files - {"trials.csv", "curves.csv", "per_image.npz", "summary.json"}:
        assert (report.parent / file).read_bytes().startswith(b"\x89PNG")
    assert text.index("paired_differences.png") < text.index("## Tables")


@pytest.mark.parametrize(
    ("baselines", "compares", "hero"),
    [
        ({"strong": {"settings": {"beta": 10.0}}}, True, "paired_differences"),
        ({"strong": {"settings": {"beta": 10.0}}}, False, "rate_distortion"),
        ({"plain": {"settings": {"prior": "normal"}}}, False, "confirmed_seeds"),
        ({}, False, None),
    ],
)
def test_the_picture_under_the_answer_is_of_what_the_study_compares(
    results, baselines, compares, hero
):
    spec = results.study.spec | {"baselines": baselines}
    view = StudyView(replace(results, study=replace(results.study, spec=spec)))
    drawn = {
        name: None for name in chapters.plots_of(view) if compares or name != "paired_differences"
    }
    assert chapters.hero_of(view, drawn) == hero


def unfolded(text):
    """The text without what is folded away."""
    return re.sub(r"(?s)<details>.*?</details>", "", text)


def test_a_reader_sees_answer_and_picture_first_then_the_contents_and_little_else(report):
    text = report.read_text(encoding="utf-8")
    open_ = unfolded(text)
    order = [
        "*Question:*",
        "**Every figure",
        "## Answer",
        '<img src="paired_differences.png"',
        "## Contents",
        "## Tables",
    ]
    places = [open_.index(words) for words in order]
    assert places == sorted(places)
    assert 3 <= open_.count("<img ") <= 8
    assert text.count("<img ") == len(list(report.parent.glob("*.png")))
    assert text.count("<details>") == text.count("</details>") == text.count("<summary>")
    for hidden in (
        "vaeexp report beta_mnist",
        "2.15.0",
        "x86_64",
        "Fingerprint",
        "# A study |",
        "beta_mnist/9",
    ):
        assert hidden not in open_, hidden
    chapters_ = re.findall(r"(?m)^## (.*)", text)
    links = re.findall(r"(?m)^- \[(.*)\]\(#(.*)\)$", text.split("## Contents")[1].split("\n## ")[0])
    assert [title for title, _ in links] == chapters_[chapters_.index("Contents") + 1 :]
    ids = re.findall(
        r'<h2 id="([^"]*)"', (report.parent / "report.html").read_text(encoding="utf-8")
    )
    assert [anchor for _, anchor in links] == ids[ids.index("answer") + 1 :]


def test_no_table_has_more_than_eight_columns(report):
    rules = re.findall(r"(?m)^\|(?: -+:? \|)+$", report.read_text(encoding="utf-8"))
    assert len(rules) > 10
    assert max(rule.count("|") - 1 for rule in rules) <= 8


def test_every_picture_has_its_width_stated(report):
    shown = dict(
        re.findall(r'<img src="([^"]*)" width="(\d+)"', report.read_text(encoding="utf-8"))
    )
    assert shown.keys() == {path.name for path in report.parent.glob("*.png")}
    for name, width in shown.items():
        with Image.open(report.parent / name) as file:
            # A file ends at a whole pixel.
            assert 0 <= DPI * int(width) / 100 - file.width < DPI / 100, name
        assert int(width) <= 1000


def test_the_subset_is_announced_before_anything_else(results, report):
    text = report.read_text(encoding="utf-8")
    first = text.split("\n\n")[2]
    assert first.startswith("**Every figure here is of MNIST, 5,000-image subset")
    assert first.endswith("**")
    record = results.study.provenance
    whole = replace(results.study, provenance=record | {"data": record["data"] | {"subset": False}})
    assert notices(replace(results, study=whole)) == []


def test_the_winner_is_chosen_on_validation_never_on_test(results):
    trials = results.trials.copy()
    first, second = ranked(results)["number"].head(2)
    confirming = trials["purposes"].map(lambda purposes: "confirm" in purposes)
    trials.loc[confirming & (trials["source_trial"] == first), "objective"] += 5
    trials.loc[confirming & (trials["source_trial"] == first), "result.test/neg_elbo"] -= 50
    assert f"(trial {second})" in answer(replace(results, trials=trials)).splitlines()[0]


def test_csv_has_every_trial_and_no_path(results):
    frame = pd.read_csv(io.StringIO(trials_csv(results)))
    assert len(frame) == len(results.trials)
    assert "folder" not in frame
    assert frame["objective"].equals(results.trials["objective"])
    complete = frame[frame["state"] == "complete"].dropna(subset=["best_epoch"])
    assert (complete["val/neg_elbo"] - complete["objective"]).abs().max() < 1e-9
    assert set(frame["purposes"].dropna()) == {"confirm", "compare", "confirm+compare"}


def test_the_curves_have_every_epoch_of_every_run(results):
    frame = pd.read_csv(io.StringIO(curves_csv(results)))
    assert len(frame) == len(results.epochs)
    lowest = frame.groupby(["repeat", "number"])["objective"].min()
    trained = results.trials[
        results.trials["best_epoch"].notna() & results.trials["duplicate_of"].isna()
    ]
    for _, row in trained.iterrows():
        assert lowest[row["repeat"], row["number"]] == pytest.approx(row["objective"])
    assert (frame["val/rate"] + frame["val/distortion"] - frame["objective"]).abs().max() < 1e-9


def test_the_figures_of_each_test_image_lie_beside_the_report(whole, report):
    with np.load(report.parent / "per_image.npz") as file:
        arrays = {name: file[name] for name in file.files}
    view = StudyView(whole)
    rows = pd.concat([setting.runs for setting in (view.best, *view.retrained.baselines)])
    tested = rows.dropna(subset=["result.test/neg_elbo", "result.test/iw_nll"])
    assert {name for name in arrays if name.endswith("/iw_nll")} == {
        f"r{number}/iw_nll" for number in tested["number"]
    }
    for _, run in rows.dropna(subset=["result.test/neg_elbo"]).iterrows():
        values = arrays[f"r{run['number']}/neg_elbo"]
        assert values.dtype == np.float32
        assert len(values) == run["result.test/images"]
        assert values.mean(dtype=float) == pytest.approx(run["result.test/neg_elbo"], abs=1e-4)


SOME = ("rate_distortion", "baseline_strip", "latent_map")
"""Plots of trials, pictures and arrays."""


@pytest.mark.parametrize(
    "names", [SOME, pytest.param(PLOTS, marks=pytest.mark.slow)], ids=["some plots", "all plots"]
)
def test_the_same_results_give_the_same_bytes_wherever_they_lie(
    whole, runs, tmp_path, monkeypatch, names
):
    kept = {
        title: {name: plot for name, plot in plots.items() if name in names}
        for title, plots in CHAPTERS.items()
    }
    draw_only(monkeypatch, kept)
    shutil.copytree(runs, tmp_path / "moved")
    moved = replace(whole, trials=whole.trials.assign(folder="/elsewhere/trial"))
    one = report_on(whole, runs=runs, reports=tmp_path / "one", html=True)
    again = report_on(moved, runs=tmp_path / "moved", reports=tmp_path / "again", html=True)
    first, second = (
        {path.name: path.read_bytes() for path in path.parent.iterdir()} for path in (one, again)
    )
    drawn = {name for name in names if PLOTS[name].objectives != 2}
    assert {f"{name}.png" for name in drawn} < set(first)
    assert {"README.md", "report.html", "summary.json", "trials.csv", "curves.csv"} < set(first)
    assert first == second


def test_files_of_an_earlier_report_go_and_others_stay(results, runs, tmp_path, monkeypatch):
    draw_only(
        monkeypatch, {"Plots": {name: PLOTS[name] for name in ("history", "component_samples")}}
    )
    readme = report_on(results, runs=runs, reports=tmp_path)
    assert (readme.parent / "component_samples.png").exists()
    with readme.open("a", encoding="utf-8") as earlier:
        earlier.write("[mine](mine.csv) ![old](old.png)\n")
    mine = {"mine.csv", "other.png", "notes.md"}
    for name in (*mine, "old.png"):
        (readme.parent / name).write_text("mine", encoding="utf-8")
    again = report_on(results, runs=tmp_path / "nothing", reports=tmp_path)
    assert again == readme
    files = linked_files(readme.read_text(encoding="utf-8"))
    assert files == {"history.png", "trials.csv", "curves.csv", "summary.json"}
    assert {path.name for path in readme.parent.iterdir()} == files | {"README.md"} | mine


def test_a_page_that_is_there_never_tells_of_an_earlier_state(results, tmp_path, no_figures):
    interim = part(results, ranked(results).head(3), study=study_attributes(finished=False))
    path = report_on(interim, runs=tmp_path, reports=tmp_path)
    assert not (path.parent / "report.html").exists()
    report_on(interim, runs=tmp_path, reports=tmp_path, html=True)
    assert "Interim report" in (path.parent / "report.html").read_text(encoding="utf-8")
    report_on(part(results, ranked(results).head(3)), runs=tmp_path, reports=tmp_path)
    assert not (path.parent / "report.html").exists()
    assert not list(path.parent.glob(".*"))


def test_a_folder_that_cannot_be_written_is_named(results, tmp_path, no_figures):
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(UserError, match=r"file/beta_mnist.*--reports"):
        report_on(part(results, ranked(results).head(1)), runs=tmp_path, reports=tmp_path / "file")


DRAWN = ("no trial", "one parameter", "equal values", "one seed, one pair")
"""Thin studies whose plots are drawn in each run of the tests."""


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("case", "drawn"),
    [
        *((case, case in DRAWN) for case in thin_studies()),
        *(
            pytest.param(case, True, marks=pytest.mark.slow)
            for case in thin_studies()
            if case not in DRAWN
        ),
    ],
)
def test_thin_studies_get_a_whole_report_in_good_english(case, drawn, monkeypatch):
    """And every plot gives a figure, which is rendered here, or none."""
    if not drawn:
        draw_only(monkeypatch)
    study = thin_studies()[case]
    view = StudyView(study)
    text, figures, _ = chapters.compose(view)
    for drawn in figures.values():
        drawn.set_dpi(40)
        drawn.canvas.draw()
    assert linked_files(text) == {*figures, "trials.csv", "curves.csv", "summary.json"}
    ones = r"(?<!= )(?<!near )\b1 (?!spares|has)\w+s\b(?! of)"
    nothing = r"(?<!interval )\b0 %(?! to)"
    assert not bad_english(without_code(text).replace("none (", ""), ones, nothing)
    # No figure is missing without a reason, and none is there that was not drawn.
    for name, plot in chapters.plots_of(view).items():
        assert (f"{name}.png" in figures) != (f"- {plot.title}: " in text), name
        assert isinstance(chapters.reading(plot, view), str)
    if case in ("no trial", "nothing recorded", "one failed before an epoch"):
        assert not figures
    if case == "one parameter":
        assert len([axes for axes in figures["equal_epochs.png"].axes if axes.get_visible()]) == 1
    assert ("**Interim report" in text) == (not study.study.finished)
    names = headings(text)
    assert ("How the trials ended" in names) == bool(len(study.trials))
    assert ("Failed" in names) == (study.trials["state"] == "failed").any()


SPEC = study_attributes().spec
GREY = SPEC | {"data": SPEC["data"] | {"binarisation": "none"}}
CODES = SPEC | {"model": SPEC["model"] | {"posterior": "deterministic"}}


@pytest.mark.parametrize(
    ("study", "words"),
    [
        (
            {"stopped": None, "finished": False},
            "**Interim report: 40 trials of 40 ended so far; figures will change.**",
        ),
        (
            {"finished": False},
            "**Interim report: the search is over, its confirmation is not; figures will change.**",
        ),
        ({"spec": GREY}, "means nothing in absolute terms"),
        ({"spec": CODES}, "what is called −ELBO here is the distortion alone"),
    ],
)
def test_notices_say_what_is_missing_or_means_nothing(results, study, words):
    assert words in "\n".join(notices(replace(results, study=study_attributes(**study))))


NASTY = (
    "a | b <script>alert(1)</script> <img src=x onerror=alert(1)> *x* _y_ `z` "
    "[l](javascript:alert(1)) [l](http://x) ![p](http://x/p.png) # h\n\n- item $x$ ~~s~~ \"'&amp;"
)


def test_text_of_study_and_trials_cannot_break_the_report(results, tmp_path, monkeypatch):
    draw_only(
        monkeypatch,
        {
            "Plots": {
                name: PLOTS[name] for name in ("history", "equal_epochs", "paired_differences")
            }
        },
    )
    trials = results.trials.copy()
    trials["message"] = trials["message"].where(trials["failure"].isna(), NASTY)
    trials["params.prior"] = trials["params.prior"].replace("mixture", NASTY)
    spec = study_attributes().spec
    search = spec["search"] | {"prior": {"kind": "choice", "values": ["normal", NASTY]}}
    study = study_attributes(question=NASTY, stopped=NASTY, spec=spec | {"search": search})
    changed = {
        "command": "vaeexp `x` | y",
        "hardware": {"processor": NASTY},
        "study_file": f"question: {NASTY}\n```\n</pre>{NASTY}",
    }
    study = replace(study, provenance=study.provenance | changed)
    readme = report_on(
        replace(results, name="a<b>&c", study=study, trials=trials),
        runs=tmp_path,
        reports=tmp_path,
        html=True,
    )
    text = readme.read_text(encoding="utf-8")
    html = RENDER.render(text)
    assert "<script>" not in html
    assert not [link for link in re.findall(r'(?:src|href)="([^"]*)"', html) if ":" in link]
    assert "<del>" not in html
    for table_ in tables_of(text).values():
        assert not table_.isna().any().any()
    assert linked_files(text) == {path.name for path in readme.parent.iterdir()} - {
        "README.md",
        "report.html",
    }
    page_ = (readme.parent / "report.html").read_text(encoding="utf-8")
    assert only_our_script(page_)
    assert "<img src=x" not in page_
    assert "onerror=alert(1)&gt;" in page_
    assert not re.findall(
        r'(?:src|href)="(?!data:image/png|data:text/csv|data:application/json|#)', page_
    )
    assert page_.count("</pre>") == page_.count("<pre>")
    assert "<title>a&lt;b&gt;&amp;c</title>" in page_


# ---- report.html ----


def test_each_picture_has_its_title_once_in_the_line_above(report):
    title, found = "", 0
    for line in report.read_text(encoding="utf-8").splitlines():
        if line.startswith(("#", "<summary>")):
            title = line.removeprefix("<summary>").removesuffix("</summary>").lstrip("# ")
        elif (picture := re.match(r'<img src="([^"]*)" .*alt="([^"]*)"', line)) and picture[
            1
        ] != SHEET:
            assert title == picture[2]
            found += 1
    assert found >= 20


def only_our_script(text: str) -> bool:
    """Whether a page has the data of its study and the one script that its policy names by hash,
    and nothing else runs.
    """
    scripts = re.findall(r"(?s)<script([^>]*)>(.*?)</script>", text)
    digest = base64.b64encode(hashlib.sha256(scripts[-1][1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'\"" in text
    assert json.loads(scripts[0][1])["rows"]
    return [kind for kind, _ in scripts] == [' type="application/json" id="study-data"', ""]


def test_the_page_has_everything_inside(report):
    text = (report.parent / "report.html").read_text(encoding="utf-8")
    assert "<img" not in text
    labels = re.findall(r'<svg role="img" aria-label="([^"]*)"', text)
    labels = [label for label in labels if label != "The same plot with all trials"]
    assert labels == re.findall(r'<img [^>]*alt="([^"]*)"', report.read_text(encoding="utf-8"))
    ids = re.findall(r' id="([^"]*)"', text)
    assert len(ids) == len(set(ids))
    files = dict(
        re.findall(r'<a href="data:[^;]*;charset=utf-8;base64,([^"]*)" download="([^"]*)"', text)
    )
    assert {name: base64.b64decode(content) for content, name in files.items()} == {
        name: (report.parent / name).read_bytes()
        for name in ("trials.csv", "curves.csv", "summary.json")
    }
    assert only_our_script(text)
    assert "default-src 'none'" in text
    assert not re.findall(r'(?:src|href)="(?!data:|#|per_image.npz")', text)
    assert 'href="per_image.npz"' in text
    assert "<title>beta_mnist</title>" in text
    chapters_ = re.findall(
        r"(?m)^## (?!Contents)(.*)", without_code(report.read_text(encoding="utf-8"))
    )
    targets = re.findall(r'<li><a href="#([^"]*)">', text.split("</nav>")[0])
    assert len(targets) == len(chapters_)
    assert {*targets} < {*ids}


# ---- in a browser ----

EXAMPLES = sorted(path.parent for path in (ROOT / "docs" / "examples").glob("*/README.md"))


def brightness(colour: str) -> float:
    return sum(float(part_) for part_ in re.findall(r"[\d.]+", colour)[:3]) / 3


@slow_in_browser
@pytest.mark.parametrize("width", [1000, 1500, 380])
def test_the_page_in_a_browser(browser, report, width):
    facts = page_facts(browser, report.parent / "report.html", width=width)
    assert facts["plots"] == len(list(report.parent.glob("*.png")))
    assert facts["overflow"] <= 0
    assert facts["scrolling"] == 0 or width < 1000, "no table scrolls sideways"
    assert facts["console"] == []
    assert {url.split(":")[0] for url in facts["requests"]} <= {"file", "data"}
    assert {link.removeprefix("#") for link in facts["links"] if link.startswith("#")} <= set(
        facts["ids"]
    )
    assert brightness(facts["background"]) > 240
    assert brightness(facts["ink"]) < 60


@slow_in_browser
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda folder: folder.name)
def test_no_table_of_a_shipped_example_scrolls_sideways(browser, example, tmp_path):
    files = {path.name: path.read_bytes() for path in example.iterdir()}
    text = files.pop("README.md").decode()
    (tmp_path / "report.html").write_text(page(text, files), encoding="utf-8")
    facts = page_facts(browser, tmp_path / "report.html", width=1000)
    assert (facts["overflow"], facts["scrolling"]) == (0, 0)


PLAIN = """<!DOCTYPE html><html><head><meta charset="utf-8"><link rel="icon" href="data:,"><style>
body {{ max-width: 900px; margin: 0 auto; }} img {{ max-width: 100%; }} table {{ display: block; overflow: auto; }}
pre {{ overflow: auto; }} p, td, li {{ overflow-wrap: break-word; }}
</style></head><body>{}</body></html>"""  # noqa: E501
"""As git hosts show markdown."""


@slow_in_browser
def test_the_markdown_in_a_browser(browser, report):
    renderer = MarkdownIt("commonmark", {"html": True}).enable("table")
    shown = report.parent / "shown.html"
    shown.write_text(
        PLAIN.format(renderer.render(report.read_text(encoding="utf-8"))), encoding="utf-8"
    )
    facts = page_facts(browser, shown)
    assert facts["loaded"] == facts["images"] == len(list(report.parent.glob("*.png")))
    assert facts["overflow"] <= 0
    assert facts["console"] == []
    assert {url.split(":")[0] for url in facts["requests"]} <= {"file", "data"}
    prose = facts["text"]
    assert "**" not in prose
    assert not re.search(r"\|\s*---", prose), "every table is drawn as one"
    missing = [
        link
        for link in facts["links"]
        if not link.startswith("#") and not (report.parent / link).exists()
    ]
    assert missing == []


@pytest.mark.parametrize(
    ("columns", "noun"), [(["weight", "width", "power"], "row"), ([], "signal")]
)
def test_a_report_names_its_data_and_speaks_of_no_image(results, columns, noun):
    record = results.study.provenance
    data = record["data"] | {
        "image_shape": [1, 1, 3],
        "title": "cars.csv, 600 images",
        "subset": False,
    }
    own = record | {"data": data, "columns": columns, "study_file": ""}
    spec = results.study.spec
    spec = spec | {"data": spec["data"] | {"binarisation": "none"}}
    view = StudyView(
        replace(results, study=replace(results.study, provenance=own, spec=spec, question=""))
    )
    text = chapters.compose(view)[0]
    assert f"nats per {noun}" in text
    summary = chapters.summary_json(view, {})
    assert f'"unit": "nats per {noun}"' in summary
    assert "nats per image" not in summary
    assert f"cars.csv, 600 {noun}s" in text
    links = re.compile(r"<[^>]*>|\]\([^)]*\)|\[per_image.npz\]")
    wrong = re.compile(r"(?<!_)\bimages?\b|pixel|cross-fad|binaris", re.IGNORECASE)
    plain = links.sub("", text)
    assert [line for line in plain.splitlines() if wrong.search(line)] == []
