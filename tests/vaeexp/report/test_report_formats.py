"""The formats of a report: its summary as JSON, its table as CSV, pieces of markdown, and the HTML
made from them.
"""

import functools
import json
import math
import re
from dataclasses import replace

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from matplotlib.figure import Figure
from reference_pages import ROOT, columns
from report_text import on_view
from synthetic_study import SEARCH, make_results, thin_studies, with_baselines

from sweeps.results import ranked
from sweeps.results.statistics import mean_interval
from vaeexp.report.markup import (
    code,
    escape,
    fenced,
    folded,
    linked_files,
    narrow_tables,
    picture,
    table,
)
from vaeexp.report.page.document import page
from vaeexp.report.summary import summary_json, trials_csv
from vaeexp.results.study_view import StudyView

summary_json, trials_csv = on_view(summary_json), on_view(trials_csv)
SCHEMA = ROOT / "vaeexp" / "report" / "summary.schema.json"
RENDER = MarkdownIt("commonmark").enable(["table", "strikethrough"])


@pytest.fixture(scope="module")
def results(baselined):
    return baselined


# ---- summary.json ----


def leaves(content, path=()):
    """(path, value) of everything in a JSON document that is no container."""
    if isinstance(content, dict | list):
        for key, value in content.items() if isinstance(content, dict) else enumerate(content):
            yield from leaves(value, (*path, key))
    else:
        yield path, content


def test_the_figures_of_the_summary_are_those_of_the_frames(results):
    summary = json.loads(summary_json(results))
    trials = results.trials
    best = ranked(results).iloc[0]
    assert (summary["study"], summary["state"], summary["schema_version"]) == (
        "beta_mnist",
        "finished",
        4,
    )
    assert summary["best"]["trial"] == best["number"]
    assert summary["best"]["search"] == best["objective"]
    assert summary["best"]["configuration"]["latent_size"] == best["params.latent_size"]
    assert set(summary["best"]["configuration"]) <= set(SEARCH)
    runs = trials[
        trials["purposes"].map(lambda purposes: "confirm" in purposes)
        & (trials["source_trial"] == best["number"])
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
    assert cost["confirm_epochs"] + cost["baseline_epochs"] == int(
        trials.loc[trials["repeat"], "epochs"].sum()
    )
    assert (
        cost["baseline_epochs"]
        == int(trials.loc[trials["purposes"] == ("baseline",), "epochs"].sum())
        > 0
    )
    assert cost["saved_epochs"] == StudyView(results).plan.epochs_saved(StudyView(results).search)
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
    recorded = results.study.provenance["protocol"]
    assert protocols[0] == recorded | {"measure": "masses of zeros and ones"}
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
    rows = {
        row["trial"]: row
        for row in json.loads(summary_json(replace(results, trials=trials)))["confirmed"]
    }
    assert rows.pop(trials.loc[first, "source_trial"])["test"]["iw_nll"] is None
    assert all(row["test"]["iw_nll"]["n"] == 3 for row in rows.values())


@pytest.fixture(scope="module")
def validator():
    """Of the shipped schema, with every field required: a field may be null, and is always
    there.
    """
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    for part in (schema, *schema["$defs"].values()):
        part |= {"required": list(part.get("properties", {}))}
    return jsonschema.Draft202012Validator(schema)


@functools.cache
def cases():
    full = with_baselines(make_results())
    tested = [name for name in full.trials if name.startswith("result.test/")]
    infinite = replace(full, trials=full.trials.assign(**dict.fromkeys(tested, math.inf)))
    return {"full": full, "infinite": infinite} | thin_studies()


@pytest.mark.parametrize("case", cases())
def test_summaries_of_all_studies_keep_to_the_schema(case, validator):
    study = cases()[case]
    text = summary_json(study)
    content = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    validator.validate(content)
    for broken in ({"schema_version": 2}, {"state": "done"}, {"more": 1}, {"counts": None}):
        assert not validator.is_valid(content | broken)
    assert json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n" == text
    assert all(math.isfinite(value) for _, value in leaves(content) if isinstance(value, float))
    assert (content["best"] is None) == ranked(study).empty
    assert (content["state"] == "finished") == bool(study.study.finished)
    assert summary_json(replace(study)) == text, "of a view of its own"


def test_the_shipped_schema_describes_every_field():
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    for place, part_ in {"": schema, **schema["$defs"]}.items():
        for name, field in part_.get("properties", {}).items():
            assert field.get("description", "").endswith("."), f"{place}.{name} is not described"


def test_every_column_of_the_csv_is_documented(results):
    names = set(re.findall(r"`([^`]+)`", columns()))
    for column in trials_csv(results).splitlines()[0].split(","):
        if column.startswith("params."):
            assert "params.<setting>" in names
        elif "/" in column:
            place = (
                "result.test_last/…"
                if column.startswith("result.test_last/")
                else column.removesuffix("_se")
            )
            assert place in names, column
        else:
            assert column in names, column


# ---- report.html ----


def test_headings_alike_have_ids_of_their_own():
    text = page("# x\n\n## Same\n\n## Same\n\n### same-1\n\n## !\n", {})
    assert re.findall(r'id="([^"]*)"', text) == ["x", "same", "same-1", "same-1-1", "section"]
    assert "<nav" not in page("no heading", {})


def test_html_in_the_markdown_itself_is_shown_not_obeyed():
    text = page(
        "# x <b>y</b>\n\n<script>alert(1)</script>\n\n<img "
        'src="http://x/y.png">\n\n![p](http://x/p.png) <u>z</u>',
        {},
    )
    body = text[text.index("<main>") :]
    assert set(re.findall(r"<(\w+)", body)) == {"main", "h1", "p", "img"}
    assert re.findall(r'<img src="([^"]*)"', body) == ["data:,"]
    assert "<title>x &lt;b&gt;y&lt;/b&gt;</title>" in text


def test_links_to_other_reports_lead_to_their_pages():
    text = page("[a](../a/README.md) [b](https://x.y/README.md) [c](README.md)", {})
    assert re.findall(r'href="([^"]*)"', text) == [
        "../a/report.html",
        "https://x.y/README.md",
        "README.md",
    ]


# ---- pieces of markdown ----


WORDS = st.text(
    st.characters(exclude_categories=("Cc", "Cs", "Zs", "Zl", "Zp"), include_characters=" "),
    max_size=40,
)
MARKS = st.text(st.sampled_from(list("\\`*_{}[]()#+-.!|<>~$&;:=1a ")), max_size=20)


def shown(html):
    text = re.sub(r"<[^>]*>", "", html)
    for entity, character in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&amp;", "&")):
        text = text.replace(entity, character)
    return text


@settings(max_examples=300, deadline=None)
@given(WORDS | MARKS)
def test_escaped_text_is_shown_as_it_stands(text):
    line = " ".join(text.split())
    html = RENDER.render(escape(text))
    assert html.strip() == "" or html.startswith("<p>")
    assert shown(html).strip() == line
    cells = re.findall(r"<td>(.*?)</td>", RENDER.render(table(["x", "y"], [(escape(text), "end")])))
    assert [shown(cell) for cell in cells] == [line, "end"]


@settings(max_examples=200, deadline=None)
@given(MARKS)
def test_code_is_shown_as_it_stands(text):
    line = " ".join(text.split())
    html = RENDER.render(table(["x", "y"], [(code(text), "end")]))
    cells = re.findall(r"<td>(.*?)</td>", html)
    assert len(cells) == 2
    if "\\" not in line:
        assert shown(cells[0]).strip() == line


def test_small_pieces_of_markdown():
    assert fenced("a ``` b", "sh") == "````sh\na ``` b\n````"
    assert (
        picture("a.png", 'x [y] "z"', Figure((9, 4)))
        == '<img src="a.png" width="900" alt="x &#91;y&#93; &quot;z&quot;">'
    )
    assert table(["a", "b"], [("1", "2")], right=(1,)) == "| a | b |\n| --- | ---: |\n| 1 | 2 |"
    text = '![x](a.png) [y](b.csv) [z](https://x.y/z) [w](#top)\n<img src="c.png" width="9" alt="">'
    assert linked_files(text) == {"a.png", "b.csv", "c.png"}


def test_only_lines_of_the_reports_own_making_become_tags():
    own = "\n\n".join(
        folded("a *b* <c>", [picture("p.png", 'x "y"', Figure((9, 4))), "inside **bold**"])
    )
    text = page(f"# x\n\n{own}\n\nend", {"p.png": b"png"})
    body = text[text.index("<main>") :]
    assert (
        '<details>\n<summary>a &#42;b&#42; &lt;c&gt;</summary>\n<img src="data:image/png;base64,'
        in body
    )
    assert "<strong>bold</strong>" in body
    assert body.count("<details>") == body.count("</details>") == 1
    for line in (
        '<details open onclick="x()">',
        "<summary><b>x</b></summary>",
        '<img src="a.png" onerror="x()">',
    ):
        shown_ = page(f"# x\n\n{line}", {})
        assert line.split(" ")[0] not in shown_[shown_.index("<main>") :], line
    assert '<img src="http' not in page('# x\n\n<img src="http://x/y.png" width="9" alt="">', {})
    assert "&lt;details&gt;" in page(f"# x\n\n{fenced('<details>')}", {})


def test_a_table_of_many_columns_is_cut_into_tables_that_name_their_rows():
    header = ["row", *map(str, range(17))]
    rows = [["a", *map(str, range(17))], ["b", *["–"] * 16, "1"]]
    parts = [block.splitlines() for block in narrow_tables(header, rows, right=[17]).split("\n\n")]
    assert [part[0].count("|") - 1 for part in parts] == [8, 8, 4]
    assert all(part[2].startswith("| a |") and part[3].startswith("| b |") for part in parts)
    assert parts[-1][1].endswith("---: |")
    cells = [cell.strip() for part in parts for cell in part[0].split("|")[2:-1]]
    assert cells == header[1:]
    assert narrow_tables(["row", "x", "y"], [["a", "–", "1"]]).splitlines()[0] == "| row | y |"
