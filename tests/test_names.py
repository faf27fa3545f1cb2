"""Names that would leave their folder, or that no file system takes, are refused wherever a name
becomes a path.
"""

import os
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from postgres import postgres_server, sql
from toy_study import toy_study

from sweeps import run_study
from sweeps.errors import UserError
from sweeps.names import LONGEST, check_name
from sweeps.postgres.database import Database, open_tables
from sweeps.storage import hold_study
from sweeps.storage.journal import study_lock
from sweeps.study.yaml_file import find_study
from vaeexp import api
from vaeexp.commands import cli
from vaeexp.commands.report import ReportWriter
from vaeexp.runs.run import open_run

BAD = ("../../x", "/abs/x", "a/b", "", ".", "..", "a\0b", "a\nb", "a+b", "a b", "é", "x" * 300)


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working directory deep enough that nothing outside of it would go unseen."""
    folder = tmp_path / "a" / "b" / "c"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("VAEEXP_OFFLINE", "1")
    yield folder
    assert tree(tmp_path) == ["a", "a/b", "a/b/c"]
    assert not Path("/abs").exists()


@pytest.mark.parametrize("name", BAD, ids=ascii)
class TestRefused:
    def test_the_check(self, name):
        with pytest.raises(
            UserError, match=r"--name: got .* as name; must be letters, digits"
        ) as refused:
            check_name(name, "--name")
        assert str(refused.value).isprintable()
        assert len(str(refused.value)) < 200

    @pytest.mark.parametrize("dry", [True, False])
    def test_option_name_of_sweep(self, name, dry, place):
        """With --dry-run, too: exit status 2 and one line, before the study file is read."""
        if "\0" in name:
            pytest.skip("no process has such an argument")
        words = ["sweep", "no_such_study", "--name", name, *(["--dry-run"] if dry else [])]
        with pytest.raises(UserError, match="--name: got"):
            CliRunner().invoke(cli, words, catch_exceptions=False, standalone_mode=False)

    def test_argument_name_of_run_study(self, name, place):
        with pytest.raises(UserError, match="--name: got"):
            api.run_study("smoke", name=name)

    def test_a_study_that_another_program_makes(self, name, place):
        with pytest.raises(UserError, match="study: got"):
            run_study(toy_study(name=name), lambda: None)
        with pytest.raises(UserError, match="study: got"), study_lock(place, name):
            pass

    def test_init(self, name, place):
        with pytest.raises(UserError, match="NAME: got"):
            CliRunner().invoke(cli, ["init", name], catch_exceptions=False, standalone_mode=False)

    def test_commands_that_read(self, name, place):
        for words in (
            ["report", name],
            ["status", name],
            ["sync", name],
            ["show", f"{name}/3"],
            ["evaluate", f"{name}/3"],
        ):
            with pytest.raises((UserError, click.UsageError)):
                CliRunner().invoke(cli, words, catch_exceptions=False, standalone_mode=False)
        with pytest.raises(UserError):
            api.load_study(name)


@pytest.mark.parametrize("name", ["a b", "é", "a.b", "x" * 200])
def test_the_file_of_a_study(name, tmp_path):
    path = tmp_path / f"{name}.yaml"
    path.write_text("question: none\n")
    with pytest.raises(UserError, match="as name; must be"):
        find_study(str(path), None)


def test_a_run_in_a_folder_beside_the_studies_is_none(tmp_path):
    outside = tmp_path / "mlruns" / "trial-0007"
    outside.mkdir(parents=True)
    (tmp_path / "mlruns" / "trials").mkdir()
    with pytest.raises(UserError, match="is no finished run"):
        open_run("../7", tmp_path / "mlruns")


def test_names_in_a_database_of_others(tmp_path, monkeypatch):
    """`report --all` goes by the names that the database holds."""
    monkeypatch.chdir(tmp_path)
    with postgres_server("studies") as server:
        url = server.get_uri(database="studies", driver="psycopg")
        open_tables(Database(url), create=True)
        sql(
            url,
            "insert into sweeps_claims (study, number, beats, writes) values ('../../x', 1, 0, 0)",
        )
        sql(url, "insert into sweeps_journal (study, line) values ('../../x', '{}')")
        reports, runs = tmp_path / "reports", tmp_path / "r"
        writer = ReportWriter(
            studies=("../../x",),
            runs=runs,
            reports=reports,
            storage=url,
            html=False,
            watch=None,
            tracking=None,
        )
        with pytest.raises(UserError, match=r"study: got '\.\./\.\./x' as name"):
            writer.write()
        with pytest.raises(UserError, match="study: got"), hold_study(url, tmp_path, "../../x"):
            pass
        assert tree(tmp_path) == []


def test_names_that_people_give(tmp_path):
    for name in ("beta_mnist", "2", "-", "A-b_3", "x" * LONGEST):
        assert check_name(name, "--name") == name
        (tmp_path / f"{name}.mirror-01234567.lock.log").touch()
    assert os.pathconf(tmp_path, "PC_NAME_MAX") > 2 * LONGEST
