"""The command line: options reach the sweep, everything wrong ends in one line, studies and trials
are shown.
"""

import csv
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import click
import optuna
import pytest
from click.testing import CliRunner

from sweeps.errors import UserError
from sweeps.results import best_record, best_run, tables_of
from sweeps.storage import open_storage, open_study, repeat_study
from sweeps.storage.journal import study_lock
from sweeps.storage.study_record import read_state, write_study
from vaeexp import __version__
from vaeexp.commands import COMMANDS, cli, main
from vaeexp.console import open_console
from vaeexp.launch.options import OPTIONS
from vaeexp.machine import shipped_studies
from vaeexp.study import open_study_file

pytestmark = pytest.mark.usefixtures("keep_signals")


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> dict:
    """What the command `sweep` hands on; nothing is run."""
    taken: dict = {}

    def take(name: str, options: object, *_: object, **__: object) -> bool:
        taken.update(options=options, called=name)
        return False

    for name in ("run_sweep", "plan_sweep"):
        monkeypatch.setattr(f"vaeexp.launch.run.{name}", partial(take, name))
    return taken


def run(*arguments: str) -> str:
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def refused(*arguments: str) -> str:
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 2
    return result.output


def command(name: str) -> click.Command:
    found = cli.get_command(click.Context(cli), name)
    assert found is not None
    return found


def status_of(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return ended.value.code or 0


# ---- sweep ----


def test_folders_and_addresses_come_from_the_environment(given, monkeypatch):
    values = {
        "RUNS": "elsewhere",
        "DATA": "images",
        "STORAGE": "sqlite:///x",
        "TRACKING": "http://t",
    }
    for name, value in values.items():
        monkeypatch.setenv(f"VAEEXP_{name}", value)
    run("sweep", "smoke")
    assert {name: str(getattr(given["options"], name.lower())) for name in values} == values


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("15min", 900), ("1h30m", 5400), ("1.5h", 5400)]
)
def test_times_with_units(given, text, seconds):
    run("sweep", "smoke", "--seconds", text)
    assert given["called"] == "run_sweep"
    assert given["options"].seconds == seconds


@pytest.mark.parametrize("text", ["", "0", "-5", "5x", "h", "1.2.3h"])
def test_what_is_no_time_is_refused(given, text):
    said = refused("sweep", "smoke", "--seconds", text)
    assert "--seconds" in said
    assert f"'{text}' is not a time" in said
    assert given == {}


# ---- how a command ends ----


def test_a_users_error_is_one_line_and_a_bug_keeps_its_traceback(monkeypatch, capsys):
    error = UserError("studies/x.yaml: search.beta", "low is -1; should be above 0.")

    def fail(options: object, log: object) -> None:
        raise error

    monkeypatch.setattr("vaeexp.launch.run.run_sweep", fail)
    assert status_of("sweep", "smoke") == 2
    assert (
        capsys.readouterr().err
        == "vaeexp: studies/x.yaml: search.beta: low is -1; should be above 0.\n"
    )
    error = ZeroDivisionError("by accident")
    assert status_of("sweep", "smoke") == 1
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("Traceback")
    assert said[-2] == "ZeroDivisionError: by accident"
    assert "report" in said[-1]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_stop_in_order(number, status, monkeypatch):
    ended = []

    def wait(options: object, log: object) -> None:
        try:
            os.kill(os.getpid(), number)
            time.sleep(10)
        except KeyboardInterrupt:
            if number == signal.SIGTERM:
                os.kill(os.getpid(), number)  # an impatient second one
            ended.append("in order")
            raise

    monkeypatch.setattr("vaeexp.launch.run.run_sweep", wait)
    assert status_of("sweep", "smoke") == status
    assert ended == ["in order"]


def test_wrong_usage_names_the_nearest(capsys):
    assert status_of("swep") == 2
    assert "sweep" in capsys.readouterr().err
    assert status_of("show", "smoek") == 2
    assert "Did you mean 'smoke'?" in capsys.readouterr().err


def test_version_and_help(capsys):
    assert status_of("--version") == 0
    assert capsys.readouterr().out.split()[-1] == __version__
    assert status_of("--help") == 0
    shown = capsys.readouterr().out
    for title, commands in COMMANDS.items():
        listed = shown.split(f"\n{title}:\n")[1].split("\n\n")[0]
        assert [line.split(maxsplit=1) for line in listed.splitlines()] == [
            [n, said] for n, (_, said) in commands.items()
        ]
        for name, (_, sentence) in commands.items():
            assert (command(name).name, command(name).help.splitlines()[0]) == (name, sentence)


@pytest.mark.parametrize(
    ("option", "setting"),
    [
        ("--epochs", "epochs"),
        ("--lr", "learning_rate"),
        ("--kl-weight", "beta"),
        ("--batch-size", "batch_size"),
        ("--latent_dim", "latent_size"),
    ],
)
def test_an_option_that_is_a_setting_is_led_to_set(option, setting):
    assert f"--set {setting}=VALUE" in refused("sweep", "smoke", f"{option}=3")


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("lr", "Did you mean 'learning_rate'?"),
        ("num-epochs", "Did you mean 'epochs'?"),
        ("dropout", "There is none"),
    ],
)
def test_words_of_other_programs_are_understood_in_files_and_set(word, hint, tmp_path):
    with pytest.raises(UserError, match=re.escape(hint)):
        open_study_file("smoke", overrides=[f"{word}=1"])
    (tmp_path / "words.yaml").write_text(f"extends: smoke\n{word}: 1\n")
    with pytest.raises(UserError, match=re.escape(hint)):
        open_study_file(str(tmp_path / "words.yaml"))


@pytest.mark.parametrize("arguments", [("status",), ("report", "smoke"), ("ui",)])
def test_a_folder_of_runs_that_does_not_exist_is_said_not_to_exist(arguments, tmp_path):
    with pytest.raises(UserError, match=r"--runs: there is no folder '.*nowhere'"):
        CliRunner().invoke(
            cli, [*arguments, "--runs", str(tmp_path / "nowhere")], catch_exceptions=False
        )


def test_studies_lists_what_has_run(tiny_study, tmp_path, monkeypatch):
    shown = run("studies", "--runs", str(tiny_study / "mlruns"))
    files, ran = shown.split("Run so far, in ")
    assert "smoke" in files
    [line] = [line for line in ran.splitlines() if line.startswith("beta_mnist ")]
    assert "4 trials: 2 complete, 1 pruned, 1 failed" in line
    assert "(beta_mnist/1)" in line
    monkeypatch.chdir(tmp_path)
    assert "Run so far" not in run("studies")


def test_help_groups_the_options_of_sweep():
    shown = run("sweep", "--help-all")
    titles = re.findall(r"^(\S.*):$", shown, re.MULTILINE)
    of_table = dict.fromkeys(option.title for option in OPTIONS.values())
    assert titles == [*of_table, "Other options"]
    assert "--trials" in shown.split("Budget:")[1].split("Failures:")[0]


def test_a_study_is_an_argument_or_an_option(given):
    for arguments in (("smoke",), ("--study", "smoke"), ("-s", "smoke")):
        run("sweep", *arguments)
        assert given.pop("options").study == "smoke"
    assert "got 'plain' besides 'smoke'; give one study" in refused(
        "sweep", "smoke", "--study", "plain"
    )
    assert "Missing argument 'STUDY'" in refused("sweep")


def test_the_help_of_sweep_fits_on_a_screen():
    shown = (
        CliRunner()
        .invoke(cli, ["sweep", "--help"], terminal_width=80, catch_exceptions=False)
        .output
    )
    assert len(shown.splitlines()) <= 24
    assert max(map(len, shown.splitlines())) <= 80
    assert not [
        option
        for option in ("--set", "--trials", "--data", "--dry-run", "--help-all")
        if option not in shown
    ]
    assert "vaeexp sweep my_images --data DIR" in shown
    assert "vaeexp report A B" in run("report", "--help")
    assert "vaeexp report A B" in run("--help")


def test_output_that_cannot_be_encoded_does_not_fail(tmp_path, monkeypatch):
    path = tmp_path / "out.txt"
    with path.open("w", encoding="ascii") as stream:
        monkeypatch.setattr("sys.stdout", stream)
        assert status_of("studies") == 0
    assert "Which ?, latent size" in path.read_text(encoding="ascii")


# ---- completion ----


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_printed(shell):
    assert "_VAEEXP_COMPLETE" in run("completion", shell)


def test_studies_are_completed(monkeypatch, capsys):
    monkeypatch.setenv("_VAEEXP_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "vaeexp sweep sm")
    monkeypatch.setenv("COMP_CWORD", "2")
    assert status_of() == 0
    assert capsys.readouterr().out.strip() == "plain,smoke"


# ---- studies and show ----


def test_show_tells_what_is_fixed_searched_and_default():
    rows = [line.split() for line in run("show", "beta_mnist", "--set", "epochs=5").splitlines()]
    assert ["beta", "0.01", "to", "10,", "log", "scale"] in rows
    assert ["components", "2", "to", "64,", "log", "scale", "prior", "is", "mixture"] in rows
    assert ["train", "epochs", "5", "30"] in rows
    assert ["train", "patience", "0"] in rows
    assert ["train", "beta", "searched"] in rows
    assert ["sampler", "curves", "startup_trials=8", "max_epochs=5"] in rows
    assert ["budget", "trials=48"] in rows
    median = run("show", "beta_mnist", "--set", "pruner={name: median, warmup_epochs: 5}")
    assert ["pruner", "median", "startup_trials=5", "warmup_epochs=5"] in [
        line.split() for line in median.splitlines()
    ]
    shown = run("show", "beta_strip_mnist")
    assert "\nstart     beta=0.0001\n" in shown
    assert "\nbaseline  autoencoder: at=fixed posterior=deterministic beta=0\n" in shown


# ---- status and trial, on a storage as the driver writes it ----


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trial 0 complete, 1 pruned, 2 failed, 3 running; one repeat of 0. Tests only read it."""
    study, root = open_study_file("smoke"), tmp_path_factory.mktemp("runs")
    storage = open_storage(None, root, "smoke")
    search = open_study(storage, study, extend=False)
    search.set_user_attr("elapsed", 75.0)
    search.set_user_attr("budget", {"trials": 8})
    values = {0: [120.0, 100.5], 1: [150.0], 2: [], 3: [110.0]}
    for number, reported in values.items():
        _record(search, number, reported)
    failure = {"kind": "diverged", "message": "The loss is not finite."}
    ending = {"state": "failed", "epoch": 0, "objective": None, "failure": failure}
    for trial, state in zip(
        search.get_trials(deepcopy=False), ("COMPLETE", "PRUNED", "FAIL"), strict=False
    ):
        if state == "FAIL":
            storage.set_trial_user_attr(trial._trial_id, "outcome", ending)
        search.tell(
            trial.number,
            100.5 if state == "COMPLETE" else None,
            state=optuna.trial.TrialState[state],
        )
    repeats = repeat_study(storage, "smoke")
    confirming = {
        "purposes": ["confirm"],
        "seed_index": 0,
        "params": {"beta": 0.5, "optimizer": "adam"},
    }
    _record(repeats, 0, [99.0], source_trial=0, **confirming)
    repeats.tell(0, 99.0)
    return root


@pytest.fixture
def copied(runs: Path, tmp_path: Path) -> Path:
    """The same runs, which a test may change."""
    return Path(shutil.copytree(runs, tmp_path / "copied"))


def stored_in(folder: Path) -> optuna.Study:
    return open_study(open_storage(None, folder, "smoke"), open_study_file("smoke"), extend=False)


def _record(study: optuna.Study, number: int, values: list[float], **attributes: object) -> None:
    trial = study.ask()
    assert trial.number == number
    trial.suggest_float("beta", 0.01, 10, log=True)
    trial.suggest_categorical("optimizer", ["adam", "adamax"])
    attributes |= {"seed": 1000 + number, "round": 0, "started": 1.7e9, "folder": f"/t/{number}"}
    attributes["results"] = {"parameters": 123456}
    for key, value in attributes.items():
        trial.set_user_attr(key, value)
    for epoch, value in enumerate(values, start=1):
        metrics = {"val/neg_elbo": value, "val/rate": 20.25, "seconds": 1.5}
        trial.set_user_attr(f"epoch/{epoch}", {"at": 1.7e9 + epoch, "metrics": metrics})
        trial.report(value, epoch)


def test_status_of_all_studies(runs):
    header, row = run("status", "--runs", str(runs)).splitlines()
    assert header.split()[:2] == ["study", "trials"]
    assert row.split()[0] == "smoke"
    assert "4 of 8 trials: 1 complete, 1 pruned, 1 failed, 1 running" in row
    for part in ("100.50 (smoke/0)", "1 min 15 s", "stopped before its end"):
        assert part in row


def test_status_of_one_study_only_reads(runs):
    before = {path: path.read_bytes() for path in runs.rglob("*") if path.is_file()}
    shown = run("status", "smoke", "--runs", str(runs))
    assert shown.startswith("smoke: stopped before its end")
    assert "4 of 8 trials: 1 complete, 1 pruned, 1 failed, 1 running" in shown
    running, best, repeats = shown.split("Running\n")[1].split("\n\n")
    assert running.splitlines()[-1].split()[:2] == ["3", "running"]
    assert [line.split()[0] for line in best.splitlines()[2:]] == ["0", "1", "2"]
    assert "failed: diverged" in best
    assert repeats.splitlines()[-1].split()[:2] == ["r0", "complete"]
    assert {path: path.read_bytes() for path in runs.rglob("*") if path.is_file()} == before


def test_status_says_whether_a_driver_is_at_work(copied):
    with study_lock(copied, "smoke"):
        assert f"smoke: running, process {os.getpid()} on host " in run(
            "status", "smoke", "--runs", str(copied)
        )
    stored_in(copied).set_user_attr("finished", True)
    assert run("status", "smoke", "--runs", str(copied), "--watch").startswith("smoke: finished")


def test_status_of_a_running_study_shows_its_workers(copied):
    where = ("smoke", "--runs", str(copied))
    worker = {
        "name": "worker-1 on n2",
        "node": "n2",
        "device": "cpu, EPYC",
        "trials": ["smoke/3", "smoke/5"],
    }
    worker |= {"epochs_per_second": 1.2345, "since": 1700000000.0}
    workers = [worker, worker | {"name": "worker-2", "epochs_per_second": None}]
    write_study(stored_in(copied), workers=workers)
    said = run("status", *where)
    assert "Workers" not in said, "nobody runs the study"
    with study_lock(copied, "smoke"):
        said, state = run("status", *where), json.loads(run("status", *where, "--json"))
    shown = said.split("Workers\n")[1].split("\n\n")[0].splitlines()
    assert shown[0].split() == ["worker", "node", "device", "lanes", "trials", "epochs/s", "since"]
    assert re.split(r"\s{2,}", shown[-2].strip())[:6] == [
        "worker-1 on n2",
        "n2",
        "cpu, EPYC",
        "2",
        "3, 5",
        "1.23",
    ]
    first, second = state["workers"]
    assert first == worker | {"since": first["since"]}
    assert first["since"].startswith("2023-11-1")
    assert second["epochs_per_second"] is None


def test_status_of_a_finished_study_prints_what_its_report_warned_of(copied):
    stored, warning = stored_in(copied), "Are the best inside? No. Widen the range."
    for finished in (False, True):
        write_study(stored, finished=finished, warnings=[warning])
        assert (f"\n{warning}\n" in run("status", "smoke", "--runs", str(copied))) == finished
        state = json.loads(run("status", "smoke", "--runs", str(copied), "--json"))
        assert state["warnings"] == [warning] * finished


def test_what_is_neither_a_study_nor_a_run_is_told_the_names_of_runs():
    with pytest.raises(UserError, match=r"^smoke/x: is neither a study nor a run; .*smoke/7"):
        run("show", "smoke/x")


def test_status_of_nothing(tmp_path, capsys):
    assert "No study has run" in run("status", "--runs", str(tmp_path))
    assert status_of("status", "smoke", "--runs", str(tmp_path)) == 2
    assert "smoke" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_everything_about_a_trial(runs):
    shown = run("show", "smoke/0", "--runs", str(runs))
    lines = [line.split() for line in shown.splitlines()]
    assert lines[0] == ["smoke/0"]
    best = ["state complete", "objective 100.50", "best epoch 2"]
    for row in (*best, "number 0", "seed 1000", "folder /t/0", "parameters 123456"):
        assert row.split() in lines
    assert lines[-2:] == [
        ["1", "120.00", "120.00", "20.25", "1.5"],
        ["2", "100.50", "100.50", "20.25", "1.5"],
    ]


def test_a_failed_trial_a_repeat_and_one_that_is_not_there(runs, capsys):
    where = ("--runs", str(runs))
    shown = [line.split() for line in run("show", "smoke/trial-0002", *where).splitlines()]
    assert ["failure", "diverged"] in shown
    assert ["message", "The", "loss", "is", "not", "finite."] in shown
    shown = [line.split() for line in run("show", "smoke/r0", *where).splitlines()]
    assert ["source", "trial", "0"] in shown
    assert ["purposes", "confirm"] in shown
    assert status_of("show", "smoke/9", *where) == 2
    assert "smoke/0 to smoke/3" in capsys.readouterr().err
    assert "--set changes a study" in refused("show", "smoke/0", "--set", "epochs=5", *where)


def test_a_run_without_weights_is_said_to_have_none_and_why(runs, capsys):
    def said(run):
        assert status_of("sample", run, "--runs", str(runs)) == 2
        return capsys.readouterr().err

    assert "smoke/2: left no weights; its state is failed (The loss is not finite)." in said(
        "smoke/2"
    )
    assert "its state is pruned." in said("smoke/1")
    assert "its state is running." in said("smoke/3")
    assert "It has smoke/0 to smoke/3." in said("smoke/9")
    assert "has no study 'smok'. Did you mean 'smoke'?" in said("smok/1")


def test_tables_fit_a_terminal(runs, monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "60")
    assert open_console().is_terminal
    assert status_of("show", "smoke/0", "--runs", str(runs)) == 0
    assert status_of("status", "--study", "smoke", "--runs", str(runs)) == 0
    plain = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert max(len(line) for line in plain.splitlines()) <= 60


# ---- trials, best, JSON ----


def test_trials_are_listed_and_exported(runs):
    where = ("smoke", "--runs", str(runs))
    assert [line.split()[0] for line in run("trials", *where).splitlines()] == [
        "run",
        "0",
        "1",
        "2",
        "3",
        "r0",
    ]
    found = json.loads(run("trials", *where, "--json"))
    assert [each["run"] for each in found] == [
        "smoke/0",
        "smoke/1",
        "smoke/2",
        "smoke/3",
        "smoke/r0",
    ]
    assert (found[2]["failure"], found[4]["source_trial"]) == ("diverged", 0)
    assert found[0]["results"] == {"parameters": 123456}
    rows = list(csv.DictReader(run("trials", *where, "--csv").splitlines()))
    assert all(float(row["params.beta"]) for row in rows)
    assert {row["run"] for row in rows} == {each["run"] for each in found}
    assert "not both" in refused("trials", *where, "--json", "--csv")


def test_the_best_run_is_that_of_the_report(runs):
    stored = read_state(open_storage(None, runs, "smoke"), "smoke")
    assert best_record(stored).name_in("smoke") == best_run(tables_of(stored))["name"] == "smoke/r0"
    without = replace(stored, repeats=())
    assert (
        best_record(without).name_in("smoke") == best_run(tables_of(without))["name"] == "smoke/0"
    )
    assert run("best", "smoke", "--runs", str(runs)).startswith("smoke/r0\nnumber ")
    assert json.loads(run("best", "smoke", "--runs", str(runs), "--json"))["run"] == "smoke/r0"
    assert run("show", "smoke/best", "--runs", str(runs)).startswith("smoke/r0\n")


def test_nothing_is_the_best_of_a_study_without_a_complete_run(tmp_path, capsys):
    open_study(open_storage(None, tmp_path, "smoke"), open_study_file("smoke"), extend=False)
    assert status_of("best", "smoke", "--runs", str(tmp_path)) == 2
    assert "none of its runs is complete yet" in capsys.readouterr().err
    assert "smoke has no trial yet." in run("trials", "smoke", "--runs", str(tmp_path))


def test_json_of_studies_and_runs(runs):
    where = ("--runs", str(runs), "--json")
    one = json.loads(run("status", "smoke", *where))
    assert one["states"] == {"complete": 1, "pruned": 1, "failed": 1, "running": 1}
    assert (one["best"], one["best_of_search"], one["planned"]) == ("smoke/r0", "smoke/0", 8)
    assert json.loads(run("status", *where)) == [one]
    assert not re.search(r"\d\.0\b", run("trials", "smoke", *where))
    assert [each["objective"] for each in json.loads(run("show", "smoke/0", *where))["curve"]] == [
        120.0,
        100.5,
    ]
    assert json.loads(run("show", "smoke", *where))["search"]["beta"]["high"] == 10
    assert json.loads(run("show", "beta_mnist", *where))["budget"]["trials"] == 48


@pytest.mark.parametrize(
    "place", ["given", "given, with a blank", "of the environment", "outside the PATH"]
)
def test_a_command_that_a_message_offers_can_be_typed_as_it_stands(
    runs, tmp_path, monkeypatch, capsys, place
):
    there = tmp_path / ("my runs" if "blank" in place else "elsewhere")
    shutil.copytree(runs, there)
    (there / "trials" / "smoke").mkdir(parents=True, exist_ok=True)
    given = ["--runs", str(there)]
    if "environment" in place:
        monkeypatch.setenv("VAEEXP_RUNS", str(there))
        given = []
    if "PATH" in place:
        monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert status_of("sample", "smoke/0", *given) == 2
    (offered,) = re.findall("`(.*)`", capsys.readouterr().err)
    command, *words = shlex.split(offered)
    if "PATH" in place:
        assert Path(command).exists()
    assert words[:2] == ["trials", "smoke"]
    assert status_of(*words) == 0


@pytest.mark.parametrize("words", ["sweep", "sweep --dry-run", "slurm --time 1:00:00"])
def test_a_mistake_in_a_study_file_is_refused_before_pytorch_is_imported(tmp_path, words):
    file = tmp_path / "new.yaml"
    text = (shipped_studies() / "beta_mnist.yaml").read_text(encoding="utf-8")
    file.write_text(text.replace("budget:", "budgets:"), encoding="utf-8")
    code = f"""
import sys
from vaeexp.commands import main
try: main([*{words!r}.split(), {str(file)!r}])
except SystemExit as end: print(end.code, "torch" in sys.modules)
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == "2 False\n"
    assert "budgets" in done.stderr
    assert [*tmp_path.iterdir()] == [file]


def test_what_is_only_read_needs_nothing_heavy(runs, tmp_path):
    """`import torch` takes 2 s, mlflow 2 s, matplotlib and pandas half a second each. A study file
    that has not run is read so, too.
    """
    file = tmp_path / "new.yaml"
    file.write_text(
        (shipped_studies() / "beta_mnist.yaml").read_text(encoding="utf-8"), encoding="utf-8"
    )
    heavy = ("torch", "mlflow", "matplotlib", "pandas", "sklearn", "scipy", "sqlalchemy")
    code = f"""
import sys
for name in {heavy!r}: sys.modules[name] = None
from vaeexp.commands import main
for words in ("status", "status smoke", "trials smoke", "best smoke", "show smoke", "show smoke/0", "show {file}", "show mog_mnist", "studies"):
    print("#", words, flush=True)
    try: main([*words.split(), "--runs", {str(runs)!r}])
    except SystemExit as end: assert not end.code, words
"""  # noqa: E501
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    printed = re.split("^# .*$", done.stdout, flags=re.MULTILINE)[1:]
    assert [bool(text.strip()) for text in printed] == [True] * 9
