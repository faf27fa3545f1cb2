"""What several test modules look at; a module's own fixture of the same name comes before it."""

import pytest
from synthetic_study import make_results, write_pictures


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A study of every kind of trial, whose runs left pictures and arrays."""
    runs = tmp_path_factory.mktemp("runs")
    made = make_results(folder=runs / "trials" / "beta_mnist")
    write_pictures(made, runs)
    return made
