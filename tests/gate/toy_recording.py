"""The parts `tables` and `shown`: toy studies, each in a fork of this process, killed and
continued.
"""

import gc
import importlib
import json
import math
import os
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import optuna
from masks import is_masked, unmasked
from names import find
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from toy_cases import EPOCHS, Case, Training, cases
from toys import EagerToyLanes, Noted, ToyLanes
from watching import watch

import sweeps

END = "ended"


def record_tables(out: Path, quick: bool) -> None:
    """Record the tables of each case, undisturbed and killed at each point."""
    folder = memory_folder()
    import_before_forks(folder)
    for case in cases(quick):
        undisturbed: dict[str, Any] = {}
        for kill in case.kills:
            shutil.rmtree(folder)
            ends_at = None if kill == "none" else place_of(kill, undisturbed["calls"])
            record = whole_case(
                case, folder, ends_at, "interrupt" if kill == "interrupt" else "kill"
            )
            calls = record.pop("calls")
            if kill == "none":
                undisturbed = {**record, "calls": calls}
                if case.make != "workers":  # they report in any order
                    record["calls"] = calls
            else:
                record["same as undisturbed"] = all(
                    record[part] == undisturbed[part] for part in ("results", "error")
                )
            write(out / f"{case.name}, killed {kill}.json", record)
    shutil.rmtree(folder)


def record_shown(out: Path, quick: bool) -> None:
    """Record what samplers and pruners are shown in each case, and what they answer."""
    folder = memory_folder()
    import_before_forks(folder)
    for case in cases(quick):
        if case.make == "workers":
            continue
        shutil.rmtree(folder)
        record = whole_case(case, folder, shown=True)
        write(out / f"{case.name}.json", {"shown": record["shown"]})
    shutil.rmtree(folder)


def memory_folder() -> Path:
    """Make a folder whose writes need no disk, where there is one."""
    return Path(
        tempfile.mkdtemp(prefix="gate-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
    )


def import_before_forks(folder: Path) -> None:
    """Import in this process what one case of each sampler imports, so that no fork has to: for GP
    that takes 2 s.
    """

    folder.mkdir(parents=True, exist_ok=True)
    # GP warns of a package that it can do without.
    optuna.logging.set_verbosity(optuna.logging.ERROR)

    def run() -> None:
        for case in cases(quick=True):
            if case.name.endswith("none 4 lanes") or case.name == "cmaes 4 lanes":
                shutil.rmtree(folder / "runs", ignore_errors=True)
                (folder / "step").unlink(missing_ok=True)
                run_case(case, folder)
        write(folder / "imported", [*sys.modules])

    in_fork(run, folder / "said")
    for name in json.loads((folder / "imported").read_text(encoding="utf-8")):
        with suppress(Exception):  # a module that nobody imports by its name
            importlib.import_module(name)
    gc.collect()
    gc.freeze()  # else every fork would copy all objects


def write(path: Path, record: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, ensure_ascii=False), encoding="utf-8")


def place_of(kill: str, calls: list[str]) -> int:
    """Return the place of the call before which a run ends."""
    epochs = [place for place, call in enumerate(calls) if call.startswith("epoch")]
    if kill == "early":
        return epochs[2]
    if kill in ("mid-round", "interrupt"):
        within = [place for place in epochs if calls[place - 1].startswith("epoch")] or epochs
        return within[len(within) // 2 if kill == "mid-round" else len(within) * 2 // 3]
    start, share = {"late": ("finish", 0.8), "add": ("add", 0.6), "discard": ("discard", 0.5)}[kill]
    places = [place for place, call in enumerate(calls) if call.startswith(start)]
    return places[int(share * (len(places) - 1))]


# ---- one case ----


def whole_case(
    case: Case, folder: Path, ends_at: int | None = None, ending: str = "kill", shown: bool = False
) -> dict[str, Any]:
    """Run a case from where its folder stands to its end, in as many processes as it needs; the
    record of the last one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        status = in_fork(
            lambda ends_at=ends_at: run_case(case, folder, ends_at, ending, shown), folder / "said"
        )
        if (folder / END).exists():
            return json.loads((folder / END).read_text(encoding="utf-8"))
        if ends_at is None:
            said = (folder / "said").read_text(encoding="utf-8")
            raise RuntimeError(f"{case.name}: ended with status {status}\n{said}")
        ends_at = None


def in_fork(run: Callable[[], None], said: Path) -> int:
    """Run a function in a fork of this process, its output in a file; the exit status, negative for
    a signal.
    """
    fork = os.fork()
    if fork == 0:
        status = 1
        try:
            file = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(file, 1)
            os.dup2(file, 2)
            run()
            status = 0
        except KeyboardInterrupt:
            status = 2
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1])


def run_case(
    case: Case, folder: Path, ends_at: int | None = None, ending: str = "kill", shown: bool = False
) -> None:
    """Run the steps of a case from the one at hand; in the end, write the record."""
    calls: list[str] = []
    seen = watch() if shown else None
    error = None
    at_hand = folder / "step"
    for index in range(int(at_hand.read_text()) if at_hand.exists() else 0, len(case.steps)):
        at_hand.write_text(str(index))
        step = case.steps[index]
        study = sweeps.load_study(
            step.name, sections={"train": Training}, epochs="epochs", text=step.study, **step.load
        )
        try:
            sweeps.run_study(
                study,
                lambda: Noted(_lanes(case, folder), calls, ends_at, ending),
                runs=folder / "runs",
                **step.options,
            )
        except sweeps.UserError as caught:  # as too many failures in a row are
            error = type(caught).__name__
            print(caught)
    record: dict[str, Any] = {"error": error, "calls": calls}
    if seen is not None:
        record["shown"] = seen
    else:
        record |= stored(folder / "runs", case.steps[-1].name)
    write(folder / END, record)


def _lanes(case: Case, folder: Path) -> Any:
    options = {"folder": str(folder / "checkpoints"), "epochs": EPOCHS, "failing": case.failing}
    if case.make == "workers":
        return find("worker pool")(ToyLanes, [options | {"width": case.lanes // 2}] * 2)
    make = EagerToyLanes if case.make == "eager" else ToyLanes
    return make(width=case.lanes, **options)


# ---- what is stored ----


def stored(runs: Path, name: str) -> dict[str, Any]:
    """Return what a study holds: its tables as `sweeps` reads them, and its journal as Optuna reads
    it.
    """
    results = sweeps.read_results(runs, name)
    tables = {"trials": table(results.trials), "epochs": table(results.epochs)}
    return {"results": tables, "journal": journal(runs / "journal" / f"{name}.log")}


def table(frame: Any) -> dict[str, Any]:
    """Return a table: its columns, their types, and each row by column."""
    columns = [
        column for column in map(str, frame.columns) if not is_masked(column) and column != "folder"
    ]
    plain = frame[columns].astype(object).where(frame[columns].notna(), None)
    rows = [
        dict(zip(columns, map(_plain, row), strict=True))
        for row in plain.itertuples(index=False, name=None)
    ]
    return {"columns": {column: str(frame[column].dtype) for column in columns}, "rows": rows}


def _plain(value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value
    return list(value) if isinstance(value, tuple) else value


def journal(path: Path) -> dict[str, Any]:
    """Return the studies of a journal file as Optuna's own tools see them."""
    storage = JournalStorage(JournalFileBackend(str(path)))
    return {
        found.study_name: {
            "directions": [direction.name for direction in found.directions],
            "record": unmasked(storage.get_study_user_attrs(found._study_id)),
            "trials": [
                _trial(trial) for trial in storage.get_all_trials(found._study_id, deepcopy=False)
            ],
        }
        for found in storage.get_all_studies()
    }


def _trial(trial: optuna.trial.FrozenTrial) -> dict[str, Any]:
    return {
        "number": trial.number,
        "state": trial.state.name,
        "values": trial.values
        and [value if math.isfinite(value) else str(value) for value in trial.values],
        "params": dict(trial.params),
        "intermediate": {
            str(step): value for step, value in sorted(trial.intermediate_values.items())
        },
        "user": unmasked(dict(sorted(trial.user_attrs.items()))),
        "system": unmasked(dict(sorted(trial.system_attrs.items()))),
    }
