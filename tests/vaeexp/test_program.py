"""What messages of `sweeps` tell the users of vaeexp to type: it exists, and every process says
it.
"""

import errno
import os
import re
import shlex
from dataclasses import asdict, fields
from pathlib import Path

import click
import pytest

import sweeps
import vaeexp  # noqa: F401 (which gives the words)
from sweeps import program
from sweeps.errors import UserError
from sweeps.schema import check_schema
from vaeexp.commands import cli, report_failure

ROOT = Path(__file__).resolve().parent.parent.parent
COMMANDS = [name for name, words in asdict(program.program()).items() if words.startswith("`")]


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("study", ["", "toy"])
def test_the_commands_that_messages_name_can_be_typed(name: str, study: str) -> None:
    words = program.how_to(name, study)
    start, command, *rest = shlex.split(words.strip("`"))
    assert start == "vaeexp"
    found = cli.get_command(click.Context(cli), command)
    given = found.make_context(command, rest, resilient_parsing=True)
    typed = [given.params.get(each) for each in ("study", "studies", "names")]
    assert ("{study}" not in getattr(program.program(), name)) or study in str(typed), typed


def test_all_words_are_those_of_vaeexp() -> None:
    for field in fields(program.Program):
        assert "vaeexp" in getattr(program.program(), field.name), field.name
        assert "vaeexp" not in field.default, "other programs do not speak of vaeexp"
    assert program.how_to_install("psycopg[binary]", "postgres") == "pip install 'vaeexp[postgres]'"


def test_a_command_names_the_folders_of_vaeexp_where_one_does_not_serve(
    capsys: pytest.CaptureFixture,
) -> None:
    assert report_failure(OSError(errno.ENOLCK, os.strerror(errno.ENOLCK), "/drive/cache/x")) == 2
    said = capsys.readouterr().err
    for place in ("--runs", "VAEEXP_CACHE", "MPLCONFIGDIR", "TORCHINDUCTOR_CACHE_DIR"):
        assert place in said


def test_another_program_has_words_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEPS_PROGRAM", "")
    monkeypatch.delenv("SWEEPS_PROGRAM")
    assert program.how_to("sync", "toy") == "`sweeps.sync`"
    assert program.how_to_install("psycopg[binary]", "postgres") == "pip install 'psycopg[binary]'"
    sweeps.use_program(sweeps.Program(name="digits", run="`digits go{study}`"))
    assert (program.how_to("run", "toy"), program.how_to("run")) == (
        "`digits go toy`",
        "`digits go`",
    )
    with pytest.raises(UserError, match=re.escape("Use digits 9.9, which wrote it.")):
        check_schema("a file", {"schema": 99, "version": "9.9"})
