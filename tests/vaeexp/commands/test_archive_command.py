"""The commands archive and restore on a study that was really trained: elsewhere, every command
goes on with it.
"""

import shutil
from pathlib import Path

import pytest
import tracked_study
from click.testing import CliRunner
from sealed import flip_bit
from tiny_study import NAME

from sweeps.errors import UserError
from sweeps.storage.journal import journal_path
from vaeexp.commands import cli, main
from vaeexp.console import program
from vaeexp.own_code import check_code, note_beginning
from vaeexp.results import stored_study
from vaeexp.results.tables import study_tables
from vaeexp.run_files import SETTINGS, WEIGHTS, load_json

FILE = "study.tar.zst"


@pytest.fixture
def there(tiny_study, tmp_path, monkeypatch, keep_signals, empty_store):
    """Another place, with the archive of the study, an empty MLflow, and neither its runs nor its
    reports.
    """
    monkeypatch.setenv("VAEEXP_OFFLINE", "1")
    monkeypatch.setenv("VAEEXP_CACHE", str(tiny_study / "cache"))
    monkeypatch.setattr(
        "vaeexp.runs.reproduce.WorkerPool", lambda factory, given: factory(**given[0])
    )
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_study / "mlruns", tmp_path / "before")
    said = called("archive", NAME, FILE, "--runs", "before")
    assert said.startswith(f"{FILE}  {NAME}: ")
    (tmp_path / "mlruns").mkdir()
    shutil.copy(empty_store, tmp_path / "mlruns")
    return tmp_path


def called(*arguments, status=0):
    done = CliRunner().invoke(cli, list(map(str, arguments)), catch_exceptions=False)
    assert done.exit_code == status, done.output
    return done.output


def refused(capsys, *arguments):
    """What a command says on its way out with status 2, which is one line."""
    with pytest.raises(SystemExit) as ended:
        main(list(map(str, arguments)))
    said = capsys.readouterr().err
    assert (ended.value.code, said.count("\n")) == (2, 1), said
    return said


def tables(runs, name=NAME):
    results = study_tables(stored_study(name, Path(runs), None), Path(runs))
    return results.trials.drop(columns=["folder", "name"]), results.epochs


def test_a_restored_study_goes_on_elsewhere(there, tiny_study, no_figures):
    said = called("restore", FILE)
    assert f"{NAME}: 5 trials and repeats" in said
    assert f"mlruns/trials/{NAME}/{NAME}.yaml. Read it before you run it." in said
    for ours, theirs in zip(tables(tiny_study / "mlruns"), tables("mlruns"), strict=True):
        assert ours.equals(theirs)
    evaluated = called("evaluate", f"{NAME}/r0", "--data", tiny_study / "data", "--device", "cpu")
    assert "equal" in evaluated or "agree" in evaluated, evaluated
    assert f"{NAME}/1 matches its record" in called(
        "reproduce", f"{NAME}/1", "--data", tiny_study / "data"
    )
    called("report", NAME)
    assert Path("reports", NAME, "README.md").is_file()
    assert "6 runs in MLflow, 6 brought" in called("sync", NAME)
    assert tracked_study.contents(there / "mlruns", name=NAME)
    assert "✗" not in called("doctor", NAME)


def test_the_next_commands_name_the_folder_of_runs(there):
    said = called("restore", FILE, "--runs", "else where")
    assert f"`{program()} doctor {NAME} --runs 'else where'` checks it" in said
    said = called("doctor", NAME, "--runs", "else where")
    assert f"✓ {NAME}: mirror – MLflow at else where/mlflow.db\n" in said, "it is late, not wrong"


def test_a_study_under_another_name_is_a_study_of_its_own(there, tiny_study):
    called("restore", FILE)
    called("restore", FILE, "--name", "again")
    for ours, theirs in zip(tables("mlruns"), tables("mlruns", "again"), strict=True):
        assert ours.equals(theirs)
    old, new = (
        load_json(Path("mlruns", "trials", name, "repeat-0000", SETTINGS))
        for name in (NAME, "again")
    )
    assert new == {**old, "study": "again"}
    for name in (NAME, "again"):
        assert f"{name}/1 matches its record" in called(
            "reproduce", f"{name}/1", "--data", tiny_study / "data"
        )


def test_a_restored_study_is_foreign_even_where_one_of_its_name_began(there):
    note_beginning(Path("mlruns"), NAME)
    folder = Path("mlruns", "trials", NAME, "trial-0001")
    check_code("x", {"network": "module:Net"}, folder, allow=False)
    called("restore", FILE)
    with pytest.raises(UserError, match="its study did not begin in this folder of runs"):
        check_code("x", {"network": "module:Net"}, folder, allow=False)


def test_what_cannot_be_archived_or_restored_is_one_line(there, capsys):
    assert "no such study 'nothing'" in refused(
        capsys, "archive", "nothing", "x.tar.zst", "--runs", "before"
    )
    assert f"{FILE}: exists already" in refused(capsys, "archive", NAME, FILE, "--runs", "before")
    assert "got '../x' as name" in refused(capsys, "restore", FILE, "--name", "../x")
    Path("cut").write_bytes(Path(FILE).read_bytes()[:-1000])
    assert "cut: is damaged, cut off" in refused(capsys, "restore", "cut")
    flip_bit(Path("before", "trials", NAME, "trial-0001", WEIGHTS))
    said = refused(capsys, "archive", NAME, "x.tar.zst", "--runs", "before")
    said_first = f"First `{program()} doctor {NAME} --repair --runs before`, which moves the file"
    assert said_first in said
    assert not Path("x.tar.zst").exists()
    assert not journal_path(Path("mlruns"), NAME).exists()
