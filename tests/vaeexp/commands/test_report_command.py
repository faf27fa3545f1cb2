"""`vaeexp report`: one study, several, all; as HTML; again and again; and what is refused."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from stored_studies import renamed, store
from synthetic_study import part

from sweeps.results import Results
from sweeps.storage import open_storage
from sweeps.storage.journal import journal_path
from vaeexp.commands import cli, main

pytestmark = pytest.mark.usefixtures("keep_signals")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def small(name: str, **changes: object) -> Results:
    """A study of three trials, whose report takes a moment."""
    results = renamed(name, trials=3, **changes)
    return part(results, results.trials[~results.trials["repeat"]])


def bare(name: str, **changes: object) -> Results:
    """A study without a trial, whose report takes no time."""
    results = small(name, **changes)
    return part(results, results.trials.iloc[:0])


def run(*arguments: str) -> list[str]:
    result = CliRunner().invoke(cli, ("report", *arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output.splitlines()


def status_of(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["report", *arguments])
    return ended.value.code or 0


def written(place: Path) -> set[str]:
    every = (place / "reports").rglob("*")
    return {
        str(path.relative_to(place / "reports"))
        for path in every
        if path.suffix in (".md", ".html")
    }


# ---- what is written ----


@pytest.mark.usefixtures("no_figures")
def test_one_study(place):
    store(small("base"), place / "mlruns")
    store(small("other"), place / "mlruns")
    assert run("base", "--no-html") == ["reports/base/README.md"]
    assert written(place) == {"base/README.md"}
    assert json.loads((place / "reports/base/summary.json").read_text())["study"] == "base"
    assert run("studies/base.yaml") == ["reports/base/report.html"]
    assert "<title>base</title>" in (place / "reports/base/report.html").read_text()
    assert run("base", "--no-html") == ["reports/base/README.md"]
    assert written(place) == {"base/README.md"}, "no page of an earlier report stays"


def test_several_studies_are_reported_and_compared(place):
    for name in ("base", "other", "third"):
        store(bare(name), place / "mlruns")
    folders = ("other", "base", "base+other")
    assert run("other", "base") == [f"reports/{folder}/report.html" for folder in folders]
    assert written(place) == {
        f"{folder}/{file}" for folder in folders for file in ("README.md", "report.html")
    }
    assert run("other", "base", "--no-html") == [
        f"reports/{folder}/README.md" for folder in folders
    ]
    assert written(place) == {f"{folder}/README.md" for folder in folders}
    assert "third/README.md" not in written(place)
    text = (place / "reports/base+other/README.md").read_text()
    for target in ("../base/README.md", "../other/README.md"):
        assert f"]({target})" in text
        assert (place / "reports/base+other" / target).exists()


def test_all_studies_and_their_index(place, capsys):
    for name in ("base", "other"):
        store(bare(name), place / "mlruns")
    assert run("--all") == [
        "reports/base/report.html",
        "reports/other/report.html",
        "reports/report.html",
    ]
    journal_path(place / "mlruns", "broken").write_text("no journal\nat all\n")
    assert status_of("--all") == 2
    said = capsys.readouterr()
    assert said.out.splitlines()[-1] == "reports/report.html"
    assert said.err.startswith(
        "vaeexp: some studies could not be read and have no report (broken: "
    )
    assert said.err.count("\n") == 1
    text = (place / "reports/README.md").read_text()
    assert "[base](base/README.md)" in text
    assert "- broken: " in text


# ---- watching ----


def advance(place: Path, name: str, **attributes: object) -> None:
    """What another process would write meanwhile."""
    storage = open_storage(None, place / "mlruns", name)
    (study,) = [each for each in storage.get_all_studies() if each.study_name == name]
    for key, value in attributes.items():
        storage.set_study_user_attr(study._study_id, key, value)


def test_watching_writes_at_each_change_until_the_end(place, monkeypatch):
    store(bare("base", finished=False, stopped=None), place / "mlruns")
    waited: list[float] = []
    readme = place / "reports/base/README.md"
    changes = [{}, {"stopped": "Enough."}, {}, {"finished": True}]
    times: list[int] = []
    interim: list[str] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        times.append(readme.stat().st_mtime_ns)
        interim.append(readme.read_text())
        advance(place, "base", **changes[len(waited) - 1])

    monkeypatch.setattr("time.sleep", sleep)
    lines = run("base", "--watch")
    assert waited == [30.0] * 4
    assert times[0] == times[1] < times[2] == times[3] < readme.stat().st_mtime_ns
    assert len(lines) == 3
    assert [line.split(" ", 1)[1].split(" (")[0] for line in lines] == [
        "reports/base/report.html"
    ] * 3
    assert "**Interim report: " in interim[0]
    assert lines[0].endswith("trials have ended)")
    assert lines[-1].endswith("(finished)")
    assert "Interim" not in readme.read_text()
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail("there is nothing to wait for"))
    assert len(run("base", "--watch")) == 1


def test_watching_all_sees_studies_that_start(place, monkeypatch):
    store(bare("base", finished=False), place / "mlruns")

    def sleep(seconds: float) -> None:
        assert seconds == 90
        advance(place, "base", finished=True)
        store(bare("late"), place / "mlruns")

    monkeypatch.setattr("time.sleep", sleep)
    lines = run("--all", "--watch", "90")
    assert lines[-2].split()[1] == "reports/late/report.html"
    assert "[late](late/README.md)" in (place / "reports/README.md").read_text()


# ---- what is refused, before any work ----


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "vaeexp report STUDY..., or --all"),
        (("--all", "base"), "not both"),
        (("base", "base"), "'base' is given twice"),
        (("base", "bsae"), "Did you mean 'base'?"),
        (("base", "--watch", "soon"), "'soon' is not a time"),
        (("--all", "--runs", "nowhere"), "--runs: there is no folder 'nowhere'"),
        (("--all", "--storage", "sqlite:///none.db"), "is no storage of studies"),
    ],
)
def test_wrong_combinations_are_refused_before_any_work(place, capsys, arguments, words):
    store(bare("base"), place / "mlruns")
    before = sorted(place.rglob("*"))
    assert status_of(*arguments) == 2
    said = capsys.readouterr()
    assert words in said.err
    assert said.out == ""
    assert sorted(place.rglob("*")) == before


def test_a_page_of_somebody_else_is_not_replaced_by_the_index(place, capsys):
    store(bare("base"), place / "mlruns")
    (place / "reports").mkdir()
    (place / "reports/README.md").write_text("# Mine\n")
    assert status_of("--all") == 2
    assert "is not an index of studies" in capsys.readouterr().err
    assert (place / "reports/README.md").read_text() == "# Mine\n"
    assert list((place / "reports").iterdir()) == [place / "reports/README.md"]
