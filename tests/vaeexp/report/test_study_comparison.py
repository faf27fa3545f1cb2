"""Several studies beside each other: what may share a table, what is said of them, the index of
all.
"""

import re
from dataclasses import replace

import pytest
from markdown_it import MarkdownIt
from pages import page_facts, slow_in_browser
from report_text import bad_english, on_view, tables_of
from stored_studies import renamed
from synthetic_study import part, study_attributes, thin_studies

from sweeps.errors import UserError
from sweeps.results import ranked
from sweeps.results.statistics import mean_interval
from vaeexp.report.markup import escape, linked_files
from vaeexp.report.study_comparison import (
    check_index,
    folder_name,
    leader_sentence,
    protocol_titles,
    protocol_words,
    write_comparison,
    write_index,
)
from vaeexp.results.plan import PROTOCOL
from vaeexp.results.study_summary import by_protocol, summarise_study
from vaeexp.results.study_view import StudyView
from vaeexp.results.tables import search_trials

summarise = on_view(summarise_study)
DYNAMIC = {"binarisation": "dynamic (drawn anew each epoch)", "fingerprint": "77aa" * 16}


def unconfirmed(results):
    return part(
        results,
        results.trials[~results.trials["repeat"]],
        replace(results.study, finished=False, stopped=None),
    )


@pytest.fixture(scope="module")
def found():
    """Two confirmed studies and one that still runs, of one protocol; one of another."""
    studies = [
        renamed("base"),
        renamed("better", shift=-9.0, trials=30),
        unconfirmed(renamed("running", shift=1.0, trials=20)),
        renamed("dynamic", shift=-30.0, protocol=DYNAMIC),
    ]
    return [summarise(results) for results in studies]


@pytest.fixture(scope="module")
def comparison(found, tmp_path_factory):
    return write_comparison(found, reports=tmp_path_factory.mktemp("reports"), html=True)


def sections(text):
    """Heading of level 2 → what stands below it."""
    title, *parts = re.split(r"^## (.*)$", text, flags=re.MULTILINE)
    return {"": title} | dict(zip(parts[::2], parts[1::2], strict=True))


def table_of(block):
    """The pipe table in a block, header → column; where it was too wide, its parts."""
    (table,) = tables_of(block).values()
    return {name: tuple(table[name]) for name in table}


# ---- where a study stands ----


def test_a_summary_has_the_figures_of_its_study():
    results = renamed("base")
    each = summarise(results)
    runs = StudyView(results).retrained.confirm_runs
    best = runs.groupby("source_trial")["objective"].mean().idxmin()
    interval = mean_interval(runs.loc[runs["source_trial"] == best, "result.test/neg_elbo"])
    assert each.confirmed
    assert (each.test.mean, each.test.low, each.test.n) == (interval.mean, interval.low, 3)
    assert each.search_value == ranked(results)["objective"].iloc[0]
    trials = search_trials(results.trials)
    assert (each.trials, each.ended, each.budget) == (len(trials), len(trials), 40)
    assert each.epochs == int(trials["epochs"].sum())
    assert each.more_epochs == int(results.trials.loc[results.trials["repeat"], "epochs"].sum())


@pytest.mark.parametrize("part_", PROTOCOL)
def test_studies_share_a_table_only_where_every_part_of_the_protocol_is_the_same(part_):
    one, same = summarise(renamed("one")), summarise(renamed("same"))
    other = summarise(renamed("other", protocol={part_: "something else"}))
    groups = by_protocol([other, one, same])
    assert [[each.name for each in group] for group in groups] == [["one", "same"], ["other"]]
    titles = protocol_titles(groups)
    assert len(set(titles)) == 2


@pytest.mark.parametrize(
    ("likelihoods", "apart"),
    [
        (("poisson", "negative_binomial"), "poisson, given the sum of each image"),
        (("gaussian_learned", "student_t, 4 degrees of freedom"), "poisson"),
        (("categorical_256", "discretised_logistic"), "discretised_logistic, 16 levels"),
        (("bernoulli", "bernoulli"), "continuous_bernoulli"),
    ],
)
def test_old_studies_share_a_table_where_their_likelihoods_measure_one_thing(likelihoods, apart):
    words = dict(zip(("one", "same", "other"), (*likelihoods, apart), strict=True))
    grey = {"binarisation": "none (grey levels in [0, 1])"}
    made = [
        summarise(renamed(name, protocol=grey | {"likelihood": each}))
        for name, each in words.items()
    ]
    groups = by_protocol(made)
    assert [[each.name for each in group] for group in groups] == [["one", "same"], ["other"]]
    together = " or ".join(dict.fromkeys(likelihoods)).replace("_", " ")
    assert f"{together} likelihood" in protocol_titles(groups)[0]
    said = protocol_words(groups[0])
    if len({*likelihoods}) > 1:
        assert f"likelihood of one: {escape(likelihoods[0])}" in said
        assert f"likelihood of same: {escape(likelihoods[1])}" in said
    else:
        assert f"; likelihood: {likelihoods[0]}." in said


def test_studies_without_a_record_share_nothing():
    bare = [
        summarise(replace(thin_studies()["nothing recorded"], name=name)) for name in ("a", "b")
    ]
    assert [len(group) for group in by_protocol(bare)] == [1, 1]
    assert protocol_titles(by_protocol(bare)) == [
        "a: protocol not recorded",
        "b: protocol not recorded",
    ]


def test_rows_are_sorted_by_validation_and_the_unconfirmed_come_last():
    first = renamed("first")
    trials = first.trials.copy()
    confirming = trials["repeat"]
    trials.loc[confirming, "objective"] -= 50
    trials.loc[confirming, "result.test/neg_elbo"] += 50
    lucky = unconfirmed(renamed("lucky", shift=-60.0))
    group = [
        summarise(lucky),
        summarise(renamed("second")),
        summarise(replace(first, trials=trials)),
    ]
    assert [each.name for each in by_protocol(group)[0]] == ["first", "second", "lucky"]


# ---- the comparison ----


def test_the_folder_has_the_names_in_one_order():
    assert folder_name(["b", "a"]) == folder_name(["a", "b"]) == "a+b"
    many = [f"study_with_a_long_name_{number:02d}" for number in range(20)]
    name = folder_name(many)
    assert len(name) <= 120
    assert name == folder_name(many[::-1])
    assert name != folder_name([*many[:-1], "another"])
    assert name.startswith("study_with_a_long_name_00+19-others-")


def test_protocols_stand_apart_and_it_says_why(found, comparison):
    assert comparison.parent.name == "base+better+dynamic+running"
    text = comparison.read_text(encoding="utf-8")
    parts = sections(text)
    static, dynamic = [title for title in parts if "binarisation" in title]
    assert "stand in 2 tables, for they differ in images and binarisation" in parts[""]
    assert "**Interim report: running has not finished; figures will change.**" in parts[""]
    assert "images: `77aa77aa77aa…`" in parts[dynamic]
    assert [re.sub(r"\[(.*?)\].*", r"\1", name) for name in table_of(parts[static])["study"]] == [
        "better",
        "base",
        "running",
    ]
    assert len(table_of(parts[dynamic])["study"]) == 1
    assert "small part of the data set" in parts[static]
    assert not linked_files(text)


def test_figures_of_the_table_are_those_of_the_studies(found, comparison):
    parts = sections(comparison.read_text(encoding="utf-8"))
    table = table_of(next(block for title, block in parts.items() if "static" in title))
    by_name = {each.name: each for each in found}
    shown = [by_name[name] for name in ("better", "base", "running")]
    assert table["n"] == ("3", "3", "–")
    assert table["test −ELBO"][:2] == tuple(
        f"{each.test.mean:.2f} ± {each.test.half_width:.2f}" for each in shown[:2]
    )
    assert table["test −ELBO"][2] == table["test IW-NLL"][2] == "–"
    assert table["best val −ELBO, search"] == tuple(f"{each.search_value:.2f}" for each in shown)
    assert table["search trials"] == tuple(str(each.trials) for each in shown)
    assert table["search trial-epochs"] == tuple(f"{each.epochs:,}" for each in shown)
    assert table["wall time of the search"] == ("5 min 12 s",) * 3
    assert table["state"] == ("finished", "finished", "interim: 20 of 40 trials have ended")
    assert "latent size = " in table["best configuration"][0]


def said_of(*studies):
    (words,) = leader_sentence([summarise(study) for study in studies])
    return words


def first_seeds(results, count):
    trials = results.trials
    return part(results, trials[~trials["repeat"] | (trials["seed_index"] < count)])


def one_seed(results):
    return first_seeds(results, 1)


def test_the_leader_sentence_says_how_sure_it_is():
    base, near, far = renamed("base"), renamed("near", shift=0.3), renamed("far", shift=9.0)
    assert "The other interval lies above its own." in said_of(base, far)
    words = said_of(base, near, far)
    assert words.startswith("The lowest confirmed test −ELBO is that of base, ")
    assert re.search(
        r"That it is better than near \([\d.]+ ± [\d.]+\) is not settled: the intervals overlap",
        words,
    )
    assert "fewer than three seeds" in said_of(one_seed(base), far)
    assert "fewer than three seeds" in said_of(base, first_seeds(far, 2))
    assert said_of(base, unconfirmed(near)).startswith("One of them alone is confirmed on test")
    assert said_of(unconfirmed(base), unconfirmed(near)).startswith("None of them is confirmed")


def test_plain_autoencoders_are_compared_by_distortion(tmp_path):
    spec = study_attributes().spec
    studies = []
    for name, shift in (("one", 0.0), ("two", 5.0)):
        made = renamed(name, shift=shift, protocol={"posterior": "deterministic"})
        fixed = spec | {"model": spec["model"] | {"posterior": "deterministic"}}
        studies.append(replace(made, study=replace(made.study, spec=fixed)))
    text = write_comparison([summarise(each) for each in studies], reports=tmp_path).read_text(
        encoding="utf-8"
    )
    table = table_of(text)
    assert "test −ELBO" not in table
    runs = StudyView(studies[0]).retrained.confirm_runs
    best = runs.groupby("source_trial")["objective"].mean().idxmin()
    mean = runs.loc[runs["source_trial"] == best, "result.test/distortion"].mean()
    assert table["test distortion"][0].startswith(f"{mean:.2f} ± ")
    assert "deterministic autoencoder" in text


@pytest.mark.parametrize("case", ["no trial", "nothing recorded", "all failed", "one complete"])
def test_thin_studies_are_compared_in_good_english(case, tmp_path):
    thin = replace(thin_studies()[case], name="thin")
    studies = [summarise(thin), summarise(renamed("base"))]
    path = write_comparison(studies, reports=tmp_path)
    text = path.read_text(encoding="utf-8")
    assert not bad_english(text.replace("../", ""), r"\b1 \w+s\b")
    assert linked_files(text) == {file.name for file in path.parent.iterdir()} - {
        "README.md",
        "report.html",
    }
    index = write_index([summarise(thin)], {}, reports=tmp_path).read_text(encoding="utf-8")
    assert "[thin](thin/README.md)" in index
    assert not re.search(r"\bnan\b|\bNone\b", index)


# ---- the index ----


def test_the_index_has_a_line_for_each_study_and_a_table_for_each_protocol(found, tmp_path):
    text = write_index(found, {"broken": "is not an Optuna journal"}, reports=tmp_path).read_text(
        encoding="utf-8"
    )
    parts = sections(text)
    tables = {title: table_of(block) for title, block in parts.items() if "| study" in block}
    assert [len(table["study"]) for table in tables.values()] == [1, 3]
    static = next(table for title, table in tables.items() if "static" in title)
    assert static["study"][0] == "[better](better/README.md)"
    by_name = {each.name: each for each in found}
    assert static["result"][0] == (
        f"test −ELBO {by_name['better'].test.mean:.2f} ± {by_name['better'].test.half_width:.2f} "
        "(n = 3)"
    )
    assert static["result"][2].endswith("not confirmed")
    assert static["question"][0].startswith("Which β")
    assert "- broken: is not an Optuna journal" in parts["Studies that could not be read"]
    assert "never to be ranked together" in parts[""]


def test_the_index_replaces_none_but_its_own(found, tmp_path):
    check_index(tmp_path)
    write_index(found, {}, reports=tmp_path)
    check_index(tmp_path)
    (tmp_path / "README.md").write_text("# My reports\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"README.md: is not an index.*--reports"):
        check_index(tmp_path)


def test_the_same_studies_give_the_same_bytes_in_any_order(found, tmp_path):
    files = []
    for folder, order in ((tmp_path / "a", found), (tmp_path / "b", found[::-1])):
        write_comparison(order, reports=folder, html=True)
        write_index(order, {}, reports=folder, html=True)
        paths = [path for path in folder.rglob("*") if path.is_file()]
        files.append({path.relative_to(folder): path.read_bytes() for path in paths})
    assert len(files[0]) == 4
    assert files[0] == files[1]


def test_text_of_studies_cannot_break_the_pages(tmp_path):
    nasty = "a | b <script>alert(1)</script> *x* [l](http://x) `y`"
    studies = [
        summarise(renamed(name, question=nasty, protocol={"data": nasty}))
        for name in ("one", "two")
    ]
    for path in (
        write_comparison(studies, reports=tmp_path, html=True),
        write_index(studies, {}, reports=tmp_path, html=True),
    ):
        text = path.read_text(encoding="utf-8")
        shown = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
        page = path.with_name("report.html").read_text(encoding="utf-8")
        for html in (shown, page):
            assert "<script" not in html
            assert 'href="http://x"' not in html
            for table in re.findall(r"<table>(.*?)</table>", html, re.DOTALL):
                rows = re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)
                assert len({row.count("</td>") + row.count("</th>") for row in rows}) == 1


@slow_in_browser
def test_the_pages_in_a_browser(browser, found, comparison):
    index = write_index(found, {}, reports=comparison.parent.parent, html=True)
    for readme in (comparison, index):
        for dark in (False, True):
            facts = page_facts(browser, readme.with_name("report.html"), dark=dark)
            assert facts["loaded"] == facts["images"]
            assert facts["images"] + facts["plots"] == 0
            assert facts["overflow"] <= 0
            assert facts["console"] == []
            assert {url.split(":")[0] for url in facts["requests"]} <= {"file", "data"}
            assert facts["background"] == ("rgb(22, 24, 26)" if dark else "rgb(255, 255, 255)")
        assert {"../base/report.html", "base/report.html"} & {*facts["links"]}
