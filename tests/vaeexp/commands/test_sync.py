"""The command sync: every study of a runs folder, into any store; what fails does not stop the
others.
"""

import shutil
import socket

import tracked_study as small
from click.testing import CliRunner

from vaeexp.commands import cli


def sync(runs, *arguments):
    done = CliRunner().invoke(cli, ["sync", "--runs", str(runs), *arguments])
    return done.exit_code, done.stdout.splitlines(), done.exception


def test_all_studies_into_the_store_of_the_folder(tmp_path, empty_store):
    runs = tmp_path / "runs"
    runs.mkdir()
    shutil.copy(empty_store, runs)
    for name in ("one", "two"):
        small.SmallStudy(runs, name=name, identity=name).tell_all()
    code, said, _ = sync(runs)
    assert (code, said[1::2]) == (
        0,
        [f"{name}: 5 runs in MLflow, 5 brought up to date." for name in ("one", "two")],
    )
    # The loader of these models is not to be had here.
    for name, line in zip(("one", "two"), said[::2], strict=True):
        assert line.startswith(
            f"The registered model '{name}-best' loads only where its packages are installed: "
            "Module"
        )
    assert sync(runs, "one")[:2] == (0, ["one: 5 runs in MLflow, nothing to bring."])
    assert small.reduced(small.contents(runs, name="two"))


def test_what_cannot_be_brought_is_an_error(tmp_path):
    code, _, error = sync(tmp_path / "runs")
    assert (code, str(error)) == (
        1,
        f"--runs: there is no folder '{tmp_path / 'runs'}'; must be a folder of runs.",
    )
    assert not (tmp_path / "runs").exists()
    runs = tmp_path / "runs"
    small.SmallStudy(runs).tell_all()
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://me:secret@127.0.0.1:{unused.getsockname()[1]}"
        code, lines, error = sync(runs, "--tracking", address)
    assert (code, lines) == (1, [])
    assert (
        str(error)
        == f"study 'small': MLflow at {address.replace('secret', '***')} lacks 5 of 5 runs (no "
        "answer)."
    )
    assert not (runs / "mlflow.db").exists()
