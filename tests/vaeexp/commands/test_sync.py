"""The command sync: every study of a runs folder; what fails does not stop the others."""

from dataclasses import replace
from types import SimpleNamespace

from click.testing import CliRunner
from toy_study import toy_study

from sweeps.errors import UserError
from sweeps.storage import open_storage, open_study
from vaeexp.commands import cli


def test_every_study_is_brought_and_a_failure_is_told(tmp_path, monkeypatch):
    study = toy_study()
    for name in ("one", "two"):
        open_study(open_storage(None, tmp_path, name), replace(study, name=name))

    def sync(name, *, runs, storage, tracking):
        assert (runs, storage, tracking) == (tmp_path, None, "http://server")
        if name == "one":
            raise UserError("study 'one'", "MLflow lacks 5 of 5 runs.")
        return SimpleNamespace(notice="", runs=5, brought=5)

    monkeypatch.setattr("vaeexp.commands.tracking.sync_study", sync)
    command = ["sync", "--runs", str(tmp_path), "--tracking", "http://server"]
    done = CliRunner().invoke(cli, command)
    assert str(done.exception) == "study 'one': MLflow lacks 5 of 5 runs."
    assert done.stdout == "two: 5 runs in MLflow, 5 brought up to date.\n"
    done = CliRunner().invoke(cli, [*command, "two"])
    assert (done.exit_code, done.stderr) == (0, "")
