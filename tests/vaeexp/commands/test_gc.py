"""The command gc on a study that was really trained: what it shows, frees and leaves, also when it
is killed.
"""

import os
import shutil
import time
from pathlib import Path

import optuna
import pytest
from click.testing import CliRunner
from hostile_archives import after_each_kill, files
from postgres import postgres_server
from tiny_study import NAME, STUDY

from sweeps.errors import UserError
from sweeps.storage import hold_study, open_storage
from sweeps.storage.journal import study_lock
from sweeps.storage.study_record import write_study
from vaeexp.commands import cli, main
from vaeexp.machine import shipped_studies
from vaeexp.results import stored_study
from vaeexp.results.tables import study_tables
from vaeexp.run_files import CHECKPOINT, LAST, PREVIOUS, SHEET, WEIGHTS
from vaeexp.runs import tidy
from vaeexp.runs.checks import check_files
from vaeexp.runs.tidy import free_weights

PRUNED = "trial-0002"


@pytest.fixture
def place(tiny_study, tmp_path, monkeypatch, keep_signals):
    shutil.copytree(tiny_study / "mlruns", tmp_path / "mlruns")
    shutil.copytree(tiny_study / "cache", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VAEEXP_OFFLINE", "1")
    monkeypatch.setenv("VAEEXP_CACHE", str(tmp_path / "cache"))
    return tmp_path


def trial(name):
    return Path("mlruns", "trials", NAME, name)


def vaeexp(*arguments):
    done = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def gc(*arguments):
    return vaeexp("gc", *arguments)


def wrong(runs):
    """What `doctor` says of files that are missing or damaged."""
    *findings, _ = check_files(runs, stored_study(NAME, runs, None))
    return findings


def table(runs=Path("mlruns")):
    results = study_tables(stored_study(NAME, runs, None), runs)
    return results.trials.to_json(), results.epochs.to_json()


def test_without_an_option_that_frees_it_only_shows(place):
    for folder in ("trial-0009", "repeat-0003.unrecorded"):
        shutil.copytree(trial("trial-0001"), trial(folder))
    before = files(place)
    said = gc(NAME)
    assert "weights of pruned trials" in said
    assert "prepared images" in said
    assert "runs without a record, or moved aside" in said
    assert "reed" not in said
    assert {path for path in files(place) if "lock" not in path} == {
        path for path in before if "lock" not in path
    }
    shown = [line.split()[-2] for line in said.splitlines() if line.startswith(NAME)]
    size = sum(len(data) for path, data in before.items() if path.startswith("mlruns/trials"))
    assert sum(map(float, shown)) == pytest.approx(size / 1e6, abs=0.05 * len(shown) + 0.01)


def test_a_dry_run_tells_the_bytes_that_are_freed_then(place, no_figures):
    before, first = table(), files(place / "mlruns" / "trials" / NAME)
    would = gc(NAME, "--pruned", "--dry-run").splitlines()[-1]
    assert files(place / "mlruns" / "trials" / NAME) == first
    freed = gc(NAME, "--pruned").splitlines()[-1]
    assert would.replace("Would free", "Freed") == freed
    left = files(place / "mlruns" / "trials" / NAME)
    gone = {path for path in first if path not in left}
    assert f"{PRUNED}/{WEIGHTS}" in gone
    assert {path.split("/")[0] for path in gone} == {PRUNED}
    assert {f"{PRUNED}/settings.json", f"{PRUNED}/result.json"} <= left.keys()
    assert freed.startswith(f"Freed {len(gone)} files")
    assert table() == before
    assert wrong(place / "mlruns") == []
    assert stored_study(NAME, Path("mlruns"), None).study.freed == {
        PRUNED: sorted(path.partition("/")[2] for path in gone)
    }
    assert "Freed 0 files" in gc(NAME, "--pruned")
    vaeexp("report", NAME)
    vaeexp("archive", NAME, "x.tar.zst")
    vaeexp("restore", "x.tar.zst", "--runs", "there", "--reports", "there/reports")
    assert wrong(place / "there") == []
    trial(f"repeat-0000/{LAST}").unlink()
    (finding,) = wrong(place / "mlruns")
    assert finding.name == f"{NAME}/r0: {LAST}", "a missing file that was not freed is still missed"


def test_names_of_the_same_file_in_mlflow_go_too(place):
    source = place / "mlruns" / "trials" / NAME / PRUNED / WEIGHTS
    other = place / "mlruns" / "trials" / NAME / "trial-0001" / WEIGHTS
    folder = place / "mlruns" / "artifacts" / NAME / "0123" / "artifacts" / "trial"
    folder.mkdir(parents=True)
    os.link(source, folder / "pruned")
    os.link(other, folder / "complete")
    gc(NAME, "--pruned")
    assert [path.name for path in folder.iterdir()] == ["complete"]
    assert other.exists()


def test_keep_of_the_study_file_decides_with_keep(place):
    sheets = sorted(path for path in files(trial("")) if path.endswith(SHEET))
    assert {path.split("-")[0] for path in sheets} == {"trial"}
    assert f"{PRUNED}/{SHEET}" in sheets
    for keep, freed in {
        "pruned: weights, pictures: all": 0,
        "pruned: weights, sheets: false": len(sheets),
    }.items():
        (place / f"{NAME}.yaml").write_text(f"{STUDY}keep: {{{keep}}}\n")
        assert f"Would free {freed} files" in gc(f"{NAME}.yaml", "--keep", "--dry-run")
    (place / f"{NAME}.yaml").write_text(STUDY + "keep: {pruned: figures, pictures: all}\n")
    gc(f"{NAME}.yaml", "--keep")
    assert not trial(f"{PRUNED}/{WEIGHTS}").exists()
    assert sorted(path for path in files(trial("")) if path.endswith(SHEET)) == sheets


def test_freed_weights_are_not_missed_and_are_trained_again_bit_for_bit(place, tiny_study):
    weights = place / "mlruns" / "trials" / NAME / "trial-0001" / WEIGHTS
    before = weights.read_bytes()
    with hold_study(None, place / "mlruns", NAME) as storage:
        free_weights(Path("mlruns"), storage, NAME, [1])
    assert not weights.exists()
    assert wrong(place / "mlruns") == []
    refused = CliRunner().invoke(cli, ["sample", f"{NAME}/1"]).exception
    assert "`vaeexp reproduce RUN --restore` trains the run again" in str(refused)
    vaeexp("reproduce", f"{NAME}/1", "--restore", "--data", str(tiny_study / "data"))
    assert weights.read_bytes() == before
    assert wrong(place / "mlruns") == []


def test_a_study_keeps_what_its_record_says_and_not_a_shipped_file_of_its_name(place):
    """As one that was restored, or run with --name or --set; the folder `studies` has a file of
    this name.
    """
    assert (shipped_studies() / f"{NAME}.yaml").exists()
    assert gc("--keep", "--dry-run").splitlines()[-1].startswith("Would free 4 ")
    study = optuna.load_study(study_name=NAME, storage=open_storage(None, place / "mlruns", NAME))
    write_study(study, keep={"pruned": "weights"})
    assert "Would free 0 files" in gc(NAME, "--keep", "--dry-run")
    write_study(study, keep={"pruned": "figures", "pictures": "all"})
    assert gc(NAME, "--keep", "--dry-run").splitlines()[-1].startswith("Would free 4 ")


def test_checkpoints_of_trials_that_go_on_stay(place):
    trials = place / "mlruns" / "trials" / NAME
    study = optuna.load_study(study_name=NAME, storage=open_storage(None, place / "mlruns", NAME))
    study.add_trial(
        optuna.create_trial(state=optuna.trial.TrialState.RUNNING, user_attrs={"seed": 1})
    )
    for name in ("trial-0001/" + CHECKPOINT, "trial-0001/" + PREVIOUS, "trial-0004/" + CHECKPOINT):
        (trials / name).parent.mkdir(exist_ok=True)
        (trials / name).write_bytes(b"x")
    assert gc(NAME, "--checkpoints").splitlines()[-1].startswith("Freed 2 files")
    assert (trials / "trial-0004" / CHECKPOINT).exists()
    assert gc(NAME, "--paused").splitlines()[-1].startswith("Freed 1 files")
    assert not (trials / "trial-0004" / CHECKPOINT).exists()


def test_what_was_freed_is_not_missed_in_mlflow(place, no_figures, empty_store):
    gc(NAME, "--pruned")
    shutil.copy(empty_store, place / "mlruns")
    assert vaeexp("sync", NAME) == "beta_mnist: 6 runs in MLflow, 6 brought up to date.\n"
    assert vaeexp("sync", NAME) == "beta_mnist: 6 runs in MLflow, nothing to bring.\n"
    names = [
        path.name for path in (place / "mlruns" / "artifacts" / NAME).rglob("*") if path.is_file()
    ]
    assert names.count(WEIGHTS) == 3, "of all runs but the pruned one and the duplicate"


def test_a_study_in_a_database(place, no_figures):
    vaeexp("archive", NAME, "x.tar.zst")
    with postgres_server("studies") as server:
        where = [
            "--runs",
            "there",
            "--storage",
            server.get_uri(database="studies", driver="psycopg"),
        ]
        vaeexp("restore", "x.tar.zst", "--reports", "there/reports", *where)
        trial = place / "there" / "trials" / NAME / PRUNED
        assert (trial / WEIGHTS).exists()
        assert "Freed" in gc(NAME, "--pruned", *where)
        assert not (trial / WEIGHTS).exists()
        stored = stored_study(NAME, Path("there"), where[-1])
        assert WEIGHTS in stored.study.freed[PRUNED]
        *findings, _ = check_files(Path("there"), stored)
        assert findings == []
        assert "beta_mnist: finished" in vaeexp("status", NAME, *where)
        with hold_study(where[-1], Path("elsewhere"), NAME):
            assert f"running, process {os.getpid()} on host" in vaeexp("status", NAME, *where)
            for command in (["gc", NAME, "--pruned"], ["archive", NAME, "y.tar.zst"]):
                with pytest.raises(
                    UserError, match=rf"process {os.getpid()} on host .* is running it"
                ):
                    CliRunner().invoke(
                        cli, [*command, *where], catch_exceptions=False, standalone_mode=False
                    )
        vaeexp("archive", NAME, "y.tar.zst", *where)
        vaeexp("restore", "y.tar.zst", "--runs", "back", "--reports", "back/reports")
        assert table(Path("back"))[1] == table()[1]


def test_a_running_study_is_refused_in_one_line(place, capsys):
    with study_lock(place / "mlruns", NAME), pytest.raises(SystemExit) as ended:
        main(["gc", NAME, "--pruned"])
    said = capsys.readouterr().err
    assert (ended.value.code, said.count("\n")) == (2, 1)
    assert "is running it" in said
    assert (place / "mlruns" / "trials" / NAME / PRUNED / WEIGHTS).exists()


def test_killed_half_way_it_has_lost_nothing(place, tmp_path):
    (_, before), killed = table(), 0

    def free(root):
        shutil.copytree(place / "mlruns", root / "runs")
        tidy.free_of_study(root / "runs", None, NAME, tidy.PRUNED)

    (tmp_path / "kills").mkdir()
    for root in after_each_kill(tmp_path / "kills", free):
        if not (root / "runs" / "journal" / f"{NAME}.lock").exists():
            continue  # it was killed while the folder was copied
        killed += 1
        assert wrong(root / "runs") == []
        assert table(root / "runs")[1] == before
        tidy.free_of_study(root / "runs", None, NAME, tidy.PRUNED)
        assert not (root / "runs" / "trials" / NAME / PRUNED / WEIGHTS).exists()
    assert killed > 2


# ---- the cache ----


def aged(folder, days):
    for path in (folder, *folder.rglob("*")):
        os.utime(path, (time.time() - days * 86_400,) * 2)


def test_prepared_images_go_unless_a_study_here_used_them(place):
    [folder] = [path for path in (place / "cache" / "prepared").iterdir() if path.is_dir()]
    aged(folder, 10)
    assert "Freed 0 files" in gc("--prepared")
    assert folder.is_dir()
    (place / "empty").mkdir()
    aged(folder, 1)
    assert "Freed 0 files" in gc("--prepared", "--runs", "empty"), "somebody used it yesterday"
    aged(folder, 10)
    assert "Would free 1 files" in gc("--prepared", "--dry-run", "--runs", "empty")
    assert "Freed 1 files" in gc("--prepared", "--runs", "empty")
    assert not folder.exists()


def test_only_old_programs_go(place):
    for name, days in (("old", 40), ("new", 20)):
        folder = place / "cache" / "compiled" / name
        folder.mkdir(parents=True)
        (folder / "program.so").write_bytes(b"x" * 2_000_000)
        aged(folder, days)
    said = gc("--programs")
    assert said.splitlines()[-1] == "Freed 1 files or folders, 2.0 MB."
    assert [path.name for path in (place / "cache" / "compiled").iterdir() if path.is_dir()] == [
        "new"
    ]
