"""A run that came from elsewhere runs no module that its user has not allowed."""

import shutil
import sys
import uuid
from pathlib import Path

import optuna
import pytest
from click.testing import CliRunner
from saved_runs import finished_run
from tiny_study import NAME

from sweeps.errors import UserError
from sweeps.lanes import run_folder
from sweeps.results import best_run, read_results
from sweeps.storage import open_storage
from sweeps.storage.study_record import study_record, write_study
from vaeexp import api
from vaeexp.commands import cli, main
from vaeexp.import_paths import flat_settings
from vaeexp.launch.run import best_model
from vaeexp.own_code import check_code, note_beginning
from vaeexp.training.checkpoint import load_model

COMMANDS = ("evaluate", "sample", "export", "reproduce")


class Module:
    """A user's module in the working directory, which leaves a file when it is run."""

    def __init__(self, folder: Path) -> None:
        self.name = f"net_{uuid.uuid4().hex}"
        self.network = f"{self.name}:Net"
        self.mark = folder / "it ran"
        self.path = folder / f"{self.name}.py"
        self.write("")

    def write(self, more: str) -> None:
        text = (
            f"open({str(self.mark)!r}, 'w').close()\nfrom vaeexp.models.networks import "
            "NETWORKS\nclass Net:\n    encoder = staticmethod(NETWORKS['mlp'].encoder)\n"
            "    decoder = staticmethod(NETWORKS['mlp'].decoder)\n"
        )
        self.path.write_text(text + more)
        self.forget()

    def forget(self) -> None:
        sys.modules.pop(self.name, None)
        self.mark.unlink(missing_ok=True)

    def ran(self) -> bool:
        found = self.mark.exists()
        self.forget()
        return found


@pytest.fixture
def module(tmp_path: Path, keep_signals: None, monkeypatch: pytest.MonkeyPatch) -> Module:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.setenv("VAEEXP_OFFLINE", "1")
    monkeypatch.setenv("VAEEXP_CACHE", str(tmp_path / "cache"))
    return Module(tmp_path / "here")


@pytest.fixture
def runs(module: Module, tmp_path: Path) -> Path:
    """A folder of runs with the run made/0, whose network is the module's."""
    finished_run(
        tmp_path / "runs" / "trials" / "made" / "trial-0000",
        (1, 28, 28),
        hidden=(8,),
        network=module.network,
    )
    assert module.ran(), "while it was made"
    return tmp_path / "runs"


def sampled(*arguments: object) -> str:
    words = ["sample", *map(str, arguments), "-n", "2", "-o", "two.png"]
    result = CliRunner().invoke(cli, words, catch_exceptions=False, standalone_mode=False)
    return result.output


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_runs_the_module_of_a_run_from_elsewhere(
    command, runs, module, tiny_study, tmp_path, capsys
):
    run = "made/0"
    if command == "reproduce":
        shutil.copytree(tiny_study / "mlruns", tmp_path / "copied")
        runs, run = other_network(tmp_path / "copied", module.network), f"{NAME}/1"
    with pytest.raises(SystemExit) as ended:
        main([command, run, "--runs", str(runs), *(["-o", "out"] if command == "export" else [])])
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert said.startswith(f"vaeexp: {run}: names the network '{module.network}'")
    assert "--allow-code" in said
    assert said.count("\n") == 1
    assert not module.ran()


def other_network(runs: Path, network: str) -> Path:
    """A study whose records name another network; the folder of its trial 1, which says otherwise,
    is gone.
    """
    storage = open_storage(None, runs, NAME, must_exist=True)
    study = optuna.load_study(study_name=NAME, storage=storage)
    spec = dict(study_record(study).spec)
    write_study(study, spec=spec | {"model": {**spec["model"], "network": network}})
    shutil.rmtree(runs / "trials" / NAME / "trial-0001")
    return runs


def test_commands_that_only_look_run_no_module(module, tiny_study, tmp_path):
    shutil.copytree(tiny_study / "mlruns", tmp_path / "copied")
    runs = other_network(tmp_path / "copied", module.network)
    for words in (
        ["status", NAME],
        ["trials", NAME],
        ["best", NAME],
        ["show", NAME],
        ["show", f"{NAME}/1"],
    ):
        CliRunner().invoke(cli, [*words, "--runs", str(runs)], catch_exceptions=False)
    assert not module.ran()


def test_a_module_from_elsewhere_is_allowed_each_time(runs, module):
    folder = runs / "trials" / "made" / "trial-0000"
    for load in (api.load_model, load_model):
        assert load(folder, allow_code=True).encoder
        assert module.ran()
        with pytest.raises(UserError, match="names the network"):
            load(folder)
    sampled("made/0", "--runs", runs, "--allow-code")
    assert module.ran()
    for refused in ("made/0", folder):
        with pytest.raises(UserError, match="names the network"):
            sampled(refused, "--runs", runs)
    assert not module.ran()


def test_a_sweep_registers_no_model_whose_module_came_from_elsewhere(
    module, tiny_study, tmp_path, caplog
):
    runs = Path(shutil.copytree(tiny_study / "mlruns", tmp_path / "copied"))
    results = read_results(open_storage(None, runs, NAME, must_exist=True), NAME)
    best = best_run(results)
    folder = runs / "trials" / NAME / run_folder(best["number"], repeat=best["repeat"])
    shutil.rmtree(folder)
    finished_run(folder, (1, 28, 28), hidden=(8,), network=module.network)
    assert module.ran(), "while it was made"
    assert best_model(results, None, runs) is None
    assert not module.ran()
    assert f"{best['name']}: names the network '{module.network}'" in caplog.text
    assert "No model is registered." in caplog.text


def test_a_study_that_began_here_runs_its_module(runs, module, tmp_path):
    note_beginning(runs, "made")
    sampled("made/0", "--runs", runs)
    assert module.ran()
    module.write("# changed\n")
    sampled(runs / "trials" / "made" / "trial-0000")
    assert module.ran(), "its user may edit it"
    shutil.copytree(runs, tmp_path / "sent")
    with pytest.raises(UserError, match="names the network"):
        sampled("made/0", "--runs", tmp_path / "sent")
    (runs / "trials" / "made").rename(runs / "trials" / "theirs")
    with pytest.raises(UserError, match="names the network"):
        sampled("theirs/0", "--runs", runs)
    assert not module.ran()


@pytest.mark.parametrize("mark", ["../../../../x", "0" * 32])
def test_a_mark_that_somebody_made_up_is_no_beginning(mark, runs, module, tmp_path):
    (tmp_path / "x").write_text(str((runs / "journal" / "made.origin").resolve()))
    (runs / "journal").mkdir()
    (runs / "journal" / "made.origin").write_text(mark)
    with pytest.raises(UserError, match="names the network"):
        sampled("made/0", "--runs", runs)
    assert not module.ran()


@pytest.mark.parametrize("network", ["sys:exit", "__main__:Net", "mlflow.pyfunc:Net", ":"])
def test_modules_of_python_and_of_packages_are_code_too(network, module, tmp_path):
    before = set(sys.modules)
    with pytest.raises(UserError, match="names the network"):
        check_code("a run", {"network": network}, tmp_path / "a", allow=False)
    check_code("a run", {"network": "mlp"}, tmp_path / "a", allow=False)
    assert not {name for name in set(sys.modules) - before if name.startswith("mlflow")}


@pytest.mark.parametrize("field", ["loss", "prior", "likelihood", "metrics"])
def test_a_run_from_elsewhere_runs_no_other_module_that_it_names(field, module, tmp_path):
    """Neither where it stands in the settings, nor where another part of the file says
    otherwise.
    """
    folder = tmp_path / "a"
    named = {field: ["numpy:mean", module.network] if field == "metrics" else module.network}
    with pytest.raises(UserError, match=f"the {field} '{module.network}'"):
        check_code("a run", {"network": "mlp", **named}, folder, allow=False)
    hidden = {"model": {"network": module.network}, "zeta": {"network": "mlp"}, "network": "mlp"}
    assert flat_settings(hidden) == {"network": module.network}
    check_code("a run", {"network": "mlp", **named}, folder, allow=True)
    assert not module.ran()


def test_a_sweep_notes_where_its_study_began(swept_smoke):
    origin = swept_smoke.folder / "mlruns" / "journal" / "beta_mnist.origin"
    note = swept_smoke.folder / "cache" / "code" / "studies" / origin.read_text()
    assert note.read_text() == str(origin.resolve())
