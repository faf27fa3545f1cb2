"""Text that is shown or kept holds no password."""

import pytest

from sweeps.errors import masked


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "postgresql+psycopg://me:se:cr/et@host:5432/runs",
            "postgresql+psycopg://me:***@host:5432/runs",
        ),
        ("http://me:se@cret@host:5000", "http://me:***@host:5000"),
        (
            "postgresql://host/runs?user=me&password=secret&x=1",
            "postgresql://host/runs?user=me&password=***&x=1",
        ),
        (
            "cannot reach 'http://:secret@host': Password=secret",
            "cannot reach 'http://:***@host': Password=***",
        ),
        ("http://host:5000/a and sqlite:///a/b.db", "http://host:5000/a and sqlite:///a/b.db"),
    ],
)
def test_passwords_are_masked_and_all_else_stays(text, shown):
    assert masked(text) == shown
