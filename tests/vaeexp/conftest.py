"""What several test modules look at; a module's own fixture of the same name comes before it."""

import signal

import pytest
from report_text import draw_only
from synthetic_study import make_results, write_pictures

from vaeexp.report import chapters
from vaeexp.results.study_view import StudyView


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A study of every kind of trial, whose runs left pictures and arrays."""
    runs = tmp_path_factory.mktemp("runs")
    made = make_results(folder=runs / "trials" / "beta_mnist")
    write_pictures(made, runs)
    return made


@pytest.fixture(scope="session")
def tiny_study(tmp_path_factory):
    """A folder with `data`, `mlruns` of a study that was really trained, and the `cache` that it
    filled.
    """
    from tiny_study import make_tiny_study

    root = tmp_path_factory.mktemp("tiny")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VAEEXP_OFFLINE", "1")
        patch.setenv("VAEEXP_CACHE", str(root / "cache"))
        make_tiny_study(root)
    return root


@pytest.fixture
def no_figures(monkeypatch):
    """Reports have no figures, which take nearly all of the time of a report."""
    draw_only(monkeypatch)


@pytest.fixture
def compose(no_figures):
    """The report's text, with no figure drawn."""
    return lambda results: chapters.compose(StudyView(results))[0]


@pytest.fixture
def keep_signals():
    """`main` replaces the handlers of SIGINT and SIGTERM."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
