"""What the tests of reports look at; a module's own fixture of the same name comes before it."""

import pytest
from pages import opened
from synthetic_study import make_results, with_baselines


@pytest.fixture(scope="session")
def plain():
    """A study of every kind of trial, without baselines and pictures."""
    return make_results()


@pytest.fixture(scope="session")
def results(plain):
    return plain


@pytest.fixture(scope="session")
def baselined(plain):
    """The same study with four baselines."""
    return with_baselines(plain)


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    with opened(tmp_path_factory.mktemp("profile")) as driver:
        yield driver
