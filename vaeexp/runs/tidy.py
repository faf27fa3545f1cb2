"""The files that a study and the user's cache hold, by kind, and those of them that can be freed
without a loss of results.
"""

import re
import shutil
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import optuna
from filelock import FileLock, Timeout

from sweeps import (
    Damaged,
    State,
    StudyRecord,
    Trial,
    UserError,
    hold_study,
    is_aside,
    open_storage,
    read_state,
    run_folder,
    study_record,
    write_study,
)
from sweeps.results import best_record, ranked_trials
from vaeexp.cache import cache_folder, read_facts
from vaeexp.data.dataset import fingerprint_of
from vaeexp.run_files import CHECKPOINT, EVALUATION, LAST, PICTURES, PREVIOUS, SHEET, WEIGHTS
from vaeexp.settings import DataSettings

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

CHECKPOINTS = "checkpoints of trials that have ended"
PAUSED = "checkpoints of trials that go on"
PRUNED_WEIGHTS = "weights of pruned trials"
PRUNED_PICTURES = "pictures of pruned trials"
EARLIER_PICTURES = "pictures of earlier epochs"
PROGRAMS = "compiled programs, unused for 30 days"
PREPARED = "prepared images that no study here uses"
LEFT_OVER = "runs without a record, or moved aside"
KEPT_WEIGHTS = "weights"
SHEETS = "sheets of pictures"
PRUNED = (PRUNED_WEIGHTS, PRUNED_PICTURES)
_CACHED = {
    "compiled": ("compiled programs", PROGRAMS),
    "prepared": ("prepared images", PREPARED),
    "downloads": ("downloads", "downloads"),
    "classifiers": ("classifiers", "classifiers"),
}
"""Folder of the user's cache → kinds of what it holds: in use, and unused."""
_DAY = 86_400.0
_RUN = re.compile(r"(trial|repeat)-\d{4,}", re.ASCII)
_BINARISATIONS = get_args(DataSettings.model_fields["binarisation"].annotation)


@dataclass(frozen=True)
class Item:
    """A file of a run, or a file or folder of the cache."""

    kind: str
    path: Path
    size: int
    """Bytes."""


def items_of_study(runs: Path, stored: State) -> list[Item]:
    """Return all files of a study's runs, but for links, and those of folders that runs left
    over.
    """
    going_on = _going_on(stored)
    items = list[Item]()
    for run in stored.runs:
        items += _items_of_run(runs, stored, run, going_on)
    recorded = {runs / run.folder for run in stored.records if run.folder}
    recorded |= {_folder(runs, stored, run) for run in stored.records}
    every = sorted((runs / "trials" / stored.study.name).glob("*"))
    known = (path for path in every if path.is_dir() and not path.is_symlink())
    folders = [
        path
        for path in known
        if is_aside(path) or (_RUN.fullmatch(path.name) and path not in recorded)
    ]
    left = chain.from_iterable(map(_files, folders))
    return items + [Item(LEFT_OVER, path, path.stat().st_size) for path in left]


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _folder(runs: Path, stored: State, run: Trial) -> Path:
    return runs / "trials" / stored.study.name / run_folder(run.number, repeat=run.repeat)


def _going_on(stored: State) -> set[str]:
    """Return the names of the folders with the checkpoints of trials that have not ended, or that a
    larger budget may revive.
    """
    going_on = [run for run in stored.runs if run.outcome is None or run.resumable]
    # A trial of another program has no seed, and no files.
    return {run.spec.checkpoint_name for run in going_on if run.seed is not None}


def _items_of_run(
    runs: Path, stored: State, run: Trial, going_on: Collection[str]
) -> Iterator[Item]:
    folder = _folder(runs, stored, run)
    newest = max((picture.epoch for picture in run.pictures), default=None)
    for path in _files(folder):
        epoch = re.match(r"epoch-(\d+)-.*\.png", path.name)
        earlier = epoch is not None and newest is not None and int(epoch[1]) < newest
        yield Item(
            _kind(run, path, earlier=earlier, going_on=folder.name in going_on),
            path,
            path.stat().st_size,
        )


def _kind(run: Trial, path: Path, *, earlier: bool, going_on: bool) -> str:
    pictures = path.suffix == ".png" or path.name in (PICTURES, EVALUATION)
    if path.name == SHEET:
        return SHEETS
    if path.name in (CHECKPOINT, PREVIOUS):
        return PAUSED if going_on else CHECKPOINTS
    if run.state == "pruned" and (pictures or path.name in (WEIGHTS, LAST)):
        return PRUNED_PICTURES if pictures else PRUNED_WEIGHTS
    if run.state == "complete" and earlier:
        return EARLIER_PICTURES
    if pictures:
        return "pictures and arrays"
    return {WEIGHTS: KEPT_WEIGHTS, LAST: "weights of last epochs"}.get(
        path.name, "settings, results and others"
    )


def free_of_study(
    runs: Path, storage: str | None, study: str, kinds: Collection[str], best: int | None = None
) -> list[Item]:
    """Free the files of `freeable`, and return them. What is freed is recorded first, so that
    `doctor` misses no file.

    MLflow's own names of the same files go, too, because a file takes its room until its last name
    is gone.

    Raises:
        UserError: there is no such study, or it is running.
    """
    open_storage(storage, runs, study, must_exist=True)
    with hold_study(storage, runs, study) as opened:
        return free_of_held_study(runs, opened, study, kinds, best)


def free_of_held_study(
    runs: Path, storage: "BaseStorage", study: str, kinds: Collection[str], best: int | None
) -> list[Item]:
    """Do what `free_of_study` does, for the process that holds the study."""
    stored = read_state(storage, study)
    items = freeable(runs, stored, kinds, best)
    paths = [item.path for item in items]
    _record_freed(runs, storage, stored.study, paths)
    if paths:
        _remove_files(paths, (runs / "artifacts" / study).rglob("*"))
    return items


def free_weights(runs: Path, storage: "BaseStorage", study: str, trials: Iterable[int]) -> None:
    """Free the weights of these trials, of a study that this process holds. What is freed is
    recorded first.
    """
    paths = [
        runs / "trials" / study / run_folder(number, repeat=False) / WEIGHTS for number in trials
    ]
    record = study_record(optuna.load_study(study_name=study, storage=storage))
    _record_freed(runs, storage, record, paths)
    # By their place, because a look at all files of a large study takes seconds.
    _remove_files(
        filter(Path.exists, paths),
        (runs / "artifacts" / study).glob(f"*/artifacts/trial/{WEIGHTS}"),
    )


def _record_freed(
    runs: Path, storage: "BaseStorage", study: StudyRecord, paths: Iterable[Path]
) -> None:
    freed = {name: set(files) for name, files in study.freed.items()}
    for path in paths:
        run, _, name = path.relative_to(runs / "trials" / study.name).as_posix().partition("/")
        freed.setdefault(run, set()).add(name)
    record = {run: sorted(names) for run, names in sorted(freed.items())}
    if record != study.freed:
        write_study(optuna.load_study(study_name=study.name, storage=storage), freed=record)


def freeable(runs: Path, stored: State, kinds: Collection[str], best: int | None) -> list[Item]:
    """Return the files that may be freed: of these kinds, and weights and earlier pictures of
    complete trials beyond the `best`.

    The files of the best run and of the registered model's run stay, but for checkpoints and, by
    their kind, earlier pictures.
    """
    run = best_record(stored)
    root = runs / "trials" / stored.study.name
    needed = {root / run_folder(run.number, repeat=run.repeat)} if run else set()
    if stored.study.model:
        needed.add(runs / stored.study.model.folder)
    behind = [] if best is None else ranked_trials(stored)[best:]
    beyond = {root / run_folder(trial.number, repeat=False) for trial in behind}

    def is_free(item: Item) -> bool:
        is_needed = not needed.isdisjoint(item.path.parents)
        if item.kind in kinds:
            return item.kind in (CHECKPOINTS, PAUSED, EARLIER_PICTURES) or not is_needed
        lasting = item.kind in (KEPT_WEIGHTS, EARLIER_PICTURES)
        return lasting and not is_needed and not beyond.isdisjoint(item.path.parents)

    return [item for item in items_of_study(runs, stored) if is_free(item)]


def _remove_files(paths: Iterable[Path], artifacts: Iterable[Path]) -> None:
    """Delete files and the other names that they have among MLflow's, those first: a kill leaves no
    name without the file's own.
    """
    other_names: dict[tuple[int, int], list[Path]] = {}
    for path in artifacts:
        facts = path.lstat()
        if facts.st_nlink > 1:
            other_names.setdefault((facts.st_dev, facts.st_ino), []).append(path)
    for path in paths:
        facts = path.lstat()
        for name in other_names.get((facts.st_dev, facts.st_ino), []):
            # The thumbnail of a picture.
            name.with_name(f"{name.stem}+compressed.webp").unlink(missing_ok=True)
            name.unlink()
        path.unlink()


# ---- the user's cache ----


def items_of_cache(studies: Collection[State]) -> list[Item]:
    """Return the folders of the user's cache. Prepared images of these studies count as used."""
    items = []
    for folder in sorted(path for path in cache_folder().glob("*/[!.]*") if path.is_dir()):
        kinds = _CACHED.get(folder.parent.name)
        if kinds is None:
            continue
        days = (time.time() - _last_use(folder)) / _DAY
        unused = days > 30
        if kinds[1] == PREPARED:
            unused = days > 2 and not _is_used(folder, studies)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        items.append(Item(kinds[unused or is_aside(folder)], folder, size))
    return items


def free_of_cache(items: Iterable[Item]) -> None:
    """Delete folders of the user's cache, but those that a process is building. Each is built again
    when it is needed.
    """
    for item in items:
        with suppress(Timeout), FileLock(item.path.with_name(f"{item.path.name}.lock"), timeout=0):
            shutil.rmtree(item.path)


def _last_use(folder: Path) -> float:
    """Return the time at which a process last opened the folder, unix seconds: the newest time of
    its files, which are touched then.
    """
    return max((path.stat().st_mtime for path in folder.iterdir()), default=folder.stat().st_mtime)


def _is_used(folder: Path, studies: Collection[State]) -> bool:
    """Whether one of these studies has trained on the prepared images, by their fingerprint."""
    try:
        facts = read_facts(folder) or {}
    except Damaged:
        return False  # it would be made again anyway
    except UserError:
        return True  # perhaps by another version of vaeexp, which made it
    for stored in studies:
        provenance = stored.study.provenance
        data = provenance.get("data") or {}
        known = {
            part.get("fingerprint")
            for part in (data, *(provenance.get("protocols") or {}).values())
        }
        made = partial(
            fingerprint_of,
            str(facts.get("digest")),
            data.get("validation"),
            reading=facts.get("reading", ()),
        )
        if known & {made(kind) for kind in _BINARISATIONS}:
            return True
    return False
