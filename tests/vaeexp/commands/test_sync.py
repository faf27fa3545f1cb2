"""The command sync: every study of a runs folder; what fails does not stop the others."""

import shutil
from dataclasses import replace
from types import SimpleNamespace

import tracked_study as small
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
        return SimpleNamespace(notice="", runs=5, brought=5, deleted=0)

    monkeypatch.setattr("vaeexp.commands.tracking.sync_study", sync)
    command = ["sync", "--runs", str(tmp_path), "--tracking", "http://server"]
    done = CliRunner().invoke(cli, command)
    assert str(done.exception) == "study 'one': MLflow lacks 5 of 5 runs."
    assert done.stdout == "two: 5 runs in MLflow, 5 brought up to date.\n"
    done = CliRunner().invoke(cli, [*command, "two"])
    assert (done.exit_code, done.stderr) == (0, "")


def test_a_run_that_was_deleted_in_mlflow_does_not_count_as_there(tmp_path, empty_store):
    runs = tmp_path / "runs"
    runs.mkdir()
    shutil.copy(empty_store, runs)
    small.SmallStudy(runs).tell_all()

    def sync():
        return CliRunner().invoke(cli, ["sync", "small", "--runs", str(runs)]).stdout

    assert sync().endswith("small: 5 runs in MLflow, 5 brought up to date.\n")
    client = small.client(runs)
    [run] = client.search_runs(
        [client.get_experiment_by_name("small").experiment_id], "tags.`sweeps.trial` = 'small/1'"
    )
    client.delete_run(run.info.run_id)
    assert sync() == (
        "small: 4 runs in MLflow, nothing to bring.\n"
        "small: 1 of 5 runs are deleted in MLflow. To restore them, list them on its pages (State: "
        "Deleted).\n"
    )
    client.restore_run(run.info.run_id)
    assert sync() == "small: 5 runs in MLflow, nothing to bring.\n"
