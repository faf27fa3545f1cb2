"""A real PostgreSQL for the tests of the storage."""

import pytest
from postgres import new_schema, postgres_server


@pytest.fixture(scope="module")
def server():
    with postgres_server("studies") as server:
        yield server


@pytest.fixture
def url(server):
    """An address with nothing of ours behind it yet."""
    return new_schema(server.get_uri(database="studies", driver="psycopg"))


@pytest.fixture(autouse=True)
def no_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages have the words for callers of `sweeps`, also where another test has imported a
    program.
    """
    monkeypatch.delenv("SWEEPS_PROGRAM", raising=False)
