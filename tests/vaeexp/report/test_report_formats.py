"""The report as JSON and as one HTML file: what is in them, that they harm nobody, and how a browser shows them."""

import base64
import json
import math
import re
from dataclasses import replace

import pytest
from markdown_it import MarkdownIt
from pages import needs_browser, opened, page_facts
from reference_pages import COLUMNS, SCHEMA
from report_text import on_view, report_on
from synthetic_study import SEARCH, make_results, part, study_attributes, thin_studies, with_baselines, write_pictures

from sweeps.results.rankings import pruned_epochs_saved, ranked
from sweeps.results.statistics import mean_interval
from vaeexp.report import trials_csv
from vaeexp.report.html import page
from vaeexp.report.summary import Summary, schema_json, summary_json

summary_json, trials_csv = on_view(summary_json), on_view(trials_csv)
NASTY = "a | b <script>alert(1)</script> <img src=x onerror=alert(1)> [l](javascript:alert(1)) ![p](http://x/p.png) \"'&amp;"


@pytest.fixture(scope="module")
def results():
    return with_baselines(make_results())


@pytest.fixture(scope="module")
def report(results, tmp_path_factory):
    root = tmp_path_factory.mktemp("report")
    write_pictures(results, root / "runs")
    return report_on(results, runs=root / "runs", reports=root / "reports", html=True)


# ---- summary.json ----


def leaves(content, path=()):
    """(path, value) of everything in a JSON document that is no container."""
    if isinstance(content, dict | list):
        for key, value in content.items() if isinstance(content, dict) else enumerate(content):
            yield from leaves(value, (*path, key))
    else:
        yield path, content


def test_the_figures_of_the_summary_are_those_of_the_frames(results, report):
    summary = json.loads((report.parent / "summary.json").read_text(encoding="utf-8"))
    trials = results.trials
    best = ranked(results).iloc[0]
    assert (summary["study"], summary["state"], summary["schema_version"]) == ("beta_mnist", "finished", 1)
    assert summary["best"]["trial"] == best["number"]
    assert summary["best"]["search"] == best["objective"]
    assert summary["best"]["configuration"]["latent_size"] == best["params.latent_size"]
    assert set(summary["best"]["configuration"]) <= set(SEARCH)
    runs = trials[
        trials["purposes"].map(lambda purposes: "confirm" in purposes) & (trials["source_trial"] == best["number"])
    ]
    confirmed = summary["best"]["confirmed"]
    assert confirmed in summary["confirmed"]
    assert confirmed["seeds"] == len(runs) == 3
    for name in ("neg_elbo", "iw_nll", "rate", "distortion"):
        interval = mean_interval(runs[f"result.test/{name}"])
        found = confirmed["test"][name]
        assert found == {"mean": interval.mean, "low": interval.low, "high": interval.high, "n": 3}
    assert confirmed["validation"]["mean"] == pytest.approx(runs["objective"].mean())
    assert (confirmed["test"]["images"], confirmed["test"]["importance_samples"]) == (500, 500)
    search = trials[~trials["repeat"]]
    counts = summary["counts"]
    assert sum(counts["search"].values()) == len(search) == counts["budget"] == 40
    assert counts["search"]["repeated"] == 1
    assert counts["search"]["pruned"] == int((search["state"] == "pruned").sum())
    assert counts["repeats"]["complete"] == int(trials["repeat"].sum())
    cost = summary["cost"]
    assert cost["search_epochs"] == int(search["epochs"].sum())
    assert cost["confirm_epochs"] + cost["baseline_epochs"] == int(trials.loc[trials["repeat"], "epochs"].sum())
    assert cost["baseline_epochs"] == int(trials.loc[trials["purposes"] == ("baseline",), "epochs"].sum()) > 0
    assert cost["saved_epochs"] == pruned_epochs_saved(results, 30)
    assert cost["search_seconds"] == 312.4
    (comparison,) = summary["comparisons"]
    assert (comparison["first"], comparison["second"], comparison["pairs"]) == ("adam", "adamax", 8)
    assert comparison["settled"]
    shares = [entry["share"] for entry in summary["importances"]]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(1)
    assert summary["versions"] == results.study.provenance["versions"]
    assert summary["code"]["commit"] == "0123456789abcdef0123456789abcdef01234567"


def test_rows_of_the_summary_name_their_protocol(results):
    summary = json.loads(summary_json(results))
    protocols = summary["protocols"]
    assert protocols[0] == results.study.provenance["protocol"]
    assert all(row["protocol"] == 0 for row in summary["confirmed"])
    rows = {row["baseline"]: row for row in summary["baselines"]}
    assert set(rows) == {"autoencoder", "grey", "many_samples", "strong"}
    assert protocols[rows["autoencoder"]["protocol"]]["posterior"] == "deterministic"
    assert protocols[rows["grey"]["protocol"]]["binarisation"] == "none"
    assert rows["strong"]["protocol"] == 0
    assert rows["strong"]["configuration"] == {"beta": 10.0}
    assert rows["strong"]["trial"] == summary["best"]["trial"]
    plain = rows["autoencoder"]["test"]
    assert plain["neg_elbo"] is None
    assert plain["iw_nll"] is None
    assert plain["importance_samples"] is None
    assert plain["distortion"]["n"] == 1
    assert plain["distortion"]["low"] is None


def test_a_weighted_figure_of_runs_with_different_k_is_left_out(results):
    trials = results.trials.copy()
    first = trials.index[trials["purposes"].map(lambda purposes: "confirm" in purposes)][0]
    trials.loc[first, "result.test/importance_samples"] = 100.0
    rows = {row["trial"]: row for row in json.loads(summary_json(replace(results, trials=trials)))["confirmed"]}
    assert rows.pop(trials.loc[first, "source_trial"])["test"]["iw_nll"] is None
    assert all(row["test"]["iw_nll"]["n"] == 3 for row in rows.values())


def cases():
    return {"full": with_baselines(make_results())} | thin_studies()


@pytest.mark.parametrize("case", cases())
def test_summaries_of_all_studies_keep_to_the_schema(case):
    study = cases()[case]
    text = summary_json(study)
    content = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    Summary.model_validate(content, strict=True)
    assert json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n" == text
    assert all(math.isfinite(value) for _, value in leaves(content) if isinstance(value, float))
    assert (content["best"] is None) == ranked(study).empty
    assert (content["state"] == "finished") == bool(study.study.finished)
    assert summary_json(cases()[case]) == text


@pytest.mark.parametrize("case", cases())
def test_summaries_validate_against_the_shipped_document(case):
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    content = json.loads(summary_json(cases()[case]))
    validator.validate(content)
    for broken in ({"schema_version": 2}, {"state": "done"}, {"more": 1}, {"counts": None}):
        assert not validator.is_valid(content | broken)


def test_the_shipped_schema_is_up_to_date_and_describes_every_field():
    text = SCHEMA.read_text(encoding="utf-8")
    schema = json.loads(text)
    assert schema == json.loads(schema_json()), "the schema is out of date: run `make docs`"
    for place, part_ in {"": schema, **schema["$defs"]}.items():
        for name, field in part_.get("properties", {}).items():
            assert field.get("description", "").endswith("."), f"{place}.{name} is not described"


def test_every_column_of_the_csv_is_documented(results):
    names = set(re.findall(r"`([^`]+)`", COLUMNS))
    for column in trials_csv(results).splitlines()[0].split(","):
        if column.startswith("params."):
            assert "params.<setting>" in names
        elif "/" in column:
            figure = column.rpartition("/")[2].removesuffix("_se")
            assert {figure, f"…/{figure}", column.removesuffix("_se")} & names, column
        else:
            assert column in names, column


# ---- report.html ----


def test_the_page_has_everything_inside(report):
    text = (report.parent / "report.html").read_text(encoding="utf-8")
    sources = re.findall(r'<img src="([^"]*)"', text)
    pictures = sorted(report.parent.glob("*.png"))
    assert len(sources) == len(pictures)
    inside = {base64.b64decode(source.removeprefix("data:image/png;base64,")) for source in sources}
    assert inside == {path.read_bytes() for path in pictures}
    files = dict(re.findall(r'<a href="data:[^;]*;charset=utf-8;base64,([^"]*)" download="([^"]*)"', text))
    assert {name: base64.b64decode(content) for content, name in files.items()} == {
        name: (report.parent / name).read_bytes() for name in ("trials.csv", "summary.json")
    }
    assert "<script" not in text
    assert "default-src 'none'" in text
    assert not re.findall(r'(?:src|href)="(?!data:|#)', text)
    assert "<title>beta_mnist</title>" in text


def test_the_contents_lead_to_every_chapter(report):
    text = (report.parent / "report.html").read_text(encoding="utf-8")
    markdown = re.sub(r"(?s)(````*).*?\1", "", report.read_text(encoding="utf-8"))
    chapters = [line for line in markdown.splitlines() if re.match(r"##?#? ", line)][1:]
    targets = re.findall(r'<li class="h[23]"><a href="#([^"]*)">', text)
    ids = re.findall(r'<h\d id="([^"]*)"', text)
    assert len(targets) == len(chapters)
    assert len(set(ids)) == len(ids)
    assert set(targets) < set(ids)


def test_headings_alike_have_ids_of_their_own():
    text = page("# x\n\n## Same\n\n## Same\n\n### same-1\n\n## !\n", {})
    assert re.findall(r'id="([^"]*)"', text) == ["x", "same", "same-1", "same-1-1", "section"]
    assert "<nav" not in page("no heading", {})


def test_text_of_a_study_brings_no_tag_and_no_link(results, tmp_path):
    trials = results.trials.copy()
    trials["message"] = trials["message"].where(trials["failure"].isna(), NASTY)
    trials["params.prior"] = trials["params.prior"].replace("mixture", NASTY)
    spec = study_attributes().spec
    search = spec["search"] | {"prior": {"kind": "choice", "values": ["normal", NASTY]}}
    study = study_attributes(question=NASTY, stopped=NASTY, spec=spec | {"search": search})
    changed = {"study_file": f"question: {NASTY}\n```\n</pre>{NASTY}", "hardware": {"processor": NASTY}}
    study = replace(study, provenance=study.provenance | changed)
    bad = replace(results, name="a<b>&c", study=study, trials=trials)
    readme_ = report_on(bad, runs=tmp_path, reports=tmp_path, html=True)
    text = (readme_.parent / "report.html").read_text(encoding="utf-8")
    assert "<script" not in text
    assert "<img src=x" not in text
    assert "onerror=alert(1)&gt;" in text
    assert not re.findall(r'(?:src|href)="(?!data:image/png|data:text/csv|data:application/json|#)', text)
    assert text.count("</pre>") == text.count("<pre>")
    assert "<title>a&lt;b&gt;&amp;c</title>" in text


def test_html_in_the_markdown_itself_is_shown_not_obeyed():
    text = page(
        '# x <b>y</b>\n\n<script>alert(1)</script>\n\n<img src="http://x/y.png">\n\n![p](http://x/p.png) <u>z</u>', {}
    )
    body = text[text.index("<main>") :]
    assert set(re.findall(r"<(\w+)", body)) == {"main", "h1", "p", "img"}
    assert re.findall(r'<img src="([^"]*)"', body) == ["data:,"]
    assert "<title>x &lt;b&gt;y&lt;/b&gt;</title>" in text


def test_links_to_other_reports_lead_to_their_pages():
    text = page("[a](../a/README.md) [b](https://x.y/README.md) [c](README.md)", {})
    assert re.findall(r'href="([^"]*)"', text) == ["../a/report.html", "https://x.y/README.md", "README.md"]


# ---- both ----


def test_the_same_results_give_the_same_bytes(results, tmp_path):
    write_pictures(results, tmp_path / "runs")
    folders = [
        report_on(results, runs=tmp_path / "runs", reports=tmp_path / name, html=True).parent for name in ("a", "b")
    ]
    first, second = ({path.name: path.read_bytes() for path in folder.iterdir()} for folder in folders)
    assert {"README.md", "report.html", "summary.json", "trials.csv"} < set(first)
    assert first == second


def test_a_page_that_is_there_never_tells_of_an_earlier_state(results, tmp_path):
    interim = replace(results, study=study_attributes(finished=False))
    path = report_on(interim, runs=tmp_path, reports=tmp_path)
    assert not (path.parent / "report.html").exists()
    report_on(interim, runs=tmp_path, reports=tmp_path, html=True)
    assert "Interim report" in (path.parent / "report.html").read_text(encoding="utf-8")
    report_on(part(results, ranked(results).head(3)), runs=tmp_path, reports=tmp_path)
    assert "Interim report" not in (path.parent / "report.html").read_text(encoding="utf-8")
    assert not list(path.parent.glob(".*"))


def test_only_pictures_of_an_earlier_report_are_removed(results, tmp_path):
    path = report_on(results, runs=tmp_path, reports=tmp_path)
    path.write_text("# beta_mnist\n\n[mine](mine.csv) ![old](old.png)\n", encoding="utf-8")
    for name in ("mine.csv", "old.png", "other.png"):
        (path.parent / name).write_text("x", encoding="utf-8")
    report_on(results, runs=tmp_path, reports=tmp_path)
    assert {name for name in ("mine.csv", "old.png", "other.png") if (path.parent / name).exists()} == {
        "mine.csv",
        "other.png",
    }


# ---- in a browser ----


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with opened(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


def brightness(colour: str) -> float:
    return sum(float(part_) for part_ in re.findall(r"[\d.]+", colour)[:3]) / 3


@pytest.mark.browser
@needs_browser
@pytest.mark.parametrize("width", [900, 1500, 380])
def test_the_page_in_a_browser(browser, report, width):
    facts = page_facts(browser, report.parent / "report.html", width=width)
    assert facts["loaded"] == facts["images"] == len(list(report.parent.glob("*.png")))
    assert facts["overflow"] <= 0
    assert facts["scrolling"] > 0, "the widest table scrolls by itself"
    assert facts["console"] == []
    assert {url.split(":")[0] for url in facts["requests"]} <= {"file", "data"}
    assert {link.removeprefix("#") for link in facts["links"] if link.startswith("#")} <= set(facts["ids"])
    assert brightness(facts["background"]) > 240
    assert brightness(facts["ink"]) < 60


@pytest.mark.browser
@needs_browser
def test_the_page_in_the_dark(browser, report):
    facts = page_facts(browser, report.parent / "report.html", dark=True)
    assert brightness(facts["background"]) < 40
    assert brightness(facts["ink"]) > 180
    assert facts["card"] == "rgb(255, 255, 255)", "pictures keep their white ground"
    assert facts["loaded"] == facts["images"]
    assert facts["overflow"] <= 0


PLAIN = """<!DOCTYPE html><html><head><meta charset="utf-8"><link rel="icon" href="data:,"><style>
body {{ max-width: 900px; margin: 0 auto; }} img {{ max-width: 100%; }} table {{ display: block; overflow: auto; }}
pre {{ overflow: auto; }} p, td, li {{ overflow-wrap: break-word; }}
</style></head><body>{}</body></html>"""
"""As git hosts show markdown."""


@pytest.mark.browser
@needs_browser
def test_the_markdown_in_a_browser(browser, report):
    renderer = MarkdownIt("commonmark", {"html": False}).enable("table")
    shown = report.parent / "shown.html"
    shown.write_text(PLAIN.format(renderer.render(report.read_text(encoding="utf-8"))), encoding="utf-8")
    facts = page_facts(browser, shown)
    assert facts["loaded"] == facts["images"] == len(list(report.parent.glob("*.png")))
    assert facts["overflow"] <= 0
    assert facts["console"] == []
    assert {url.split(":")[0] for url in facts["requests"]} <= {"file", "data"}
    prose = facts["text"]
    assert "**" not in prose
    assert not re.search(r"\|\s*---", prose), "every table is drawn as one"
    missing = [link for link in facts["links"] if not (report.parent / link).exists()]
    assert missing == []
