"""A toy study whose runs left files, its archive, and archives that were made to do harm."""

import hashlib
import io
import itertools
import json
import os
import signal
import sys
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import zstandard
from toy_lanes import ToyLanes
from toy_study import run_repeats, search, toy_study

from sweeps.archive.manifest import MANIFEST, RECORDS
from sweeps.archive.restore import Restored, restore_study
from sweeps.checksums import SLOT, seal
from sweeps.engine.repeats import plan_repeats
from sweeps.lanes import Outcome, TrialResult
from sweeps.schema import MARKS
from sweeps.state.record import RegisteredModel
from sweeps.storage import open_storage, open_study, repeat_study
from sweeps.storage.checked_records import parse_line, record_line
from sweeps.storage.study_record import read_state, write_study
from sweeps.storage.transfer import study_records
from sweeps.study.study_model import Confirm

LOADERS = {"loader": ("toy",)}
MODEL = {
    "name": "toy",
    "alias": "best",
    "run": "toy/1",
    "folder": "trials/toy/trial-0001",
    "loader_module": "loader",
    "inputs": {},
    "outputs": {},
    "pip_requirements": ("toy==1.0",),
}


class FiledLanes(ToyLanes):
    """Toy lanes whose trials leave weights and a picture in folders below `runs`."""

    runs: Path

    def finish(self, ending: Mapping[int, Outcome]) -> list[TrialResult]:
        results = []
        for result in super().finish(ending):
            folder = self.runs / "trials" / "toy" / Path(str(result.folder)).name
            picture = folder / "pictures" / "größe 1.png"
            picture.parent.mkdir(parents=True)
            picture.write_bytes(b"")
            (folder / "weights.bin").write_bytes(
                hashlib.shake_256(folder.name.encode()).digest(16_000)
            )
            images = {4: {"grid": str(picture)}}
            results.append(
                replace(result, folder=str(folder), images=images, files={"weights.bin": "ab" * 32})
            )
        return results


def make_study(root: Path) -> Path:
    """Run a toy study with pruned trials, a repeat, files, a report and a model in `root`; the
    folder of runs.
    """
    runs = root / "runs"
    study = toy_study(
        trials=8, sampler="tpe", sampler_options={"startup_trials": 3}, pruner="median"
    )
    study = replace(study, confirm=Confirm(top=1, seeds=1))
    storage = open_storage(None, runs, "toy")
    optuna_study, lanes = open_study(storage, study), FiledLanes(width=3, epochs=4)
    lanes.runs = runs
    search(optuna_study, study, lanes, [], runs=runs)
    run_repeats(
        repeat_study(storage, "toy"),
        plan_repeats(read_state(storage, "toy"), study),
        lanes,
        [],
        runs=runs,
    )
    report = root / "reports" / "toy"
    report.mkdir(parents=True)
    (report / "README.md").write_text("# toy\n")
    model = RegisteredModel(**MODEL)
    write_study(optuna_study, finished=True, session="finished", session_at=1e9, model=model)
    write_study(
        optuna_study, text="question: What is it?\n", report=str(report.absolute()), report_at=1e9
    )
    return runs


def restored(
    file: Path, root: Path, *, name: str | None = None, storage: str | None = None
) -> Restored:
    """Restore into `root`, with the toy's loader and nothing to adapt."""
    places = {"runs": root / "runs", "reports": root / "reports", "storage": storage}
    return restore_study(
        file, **places, name=name, loaders=LOADERS, adapt=lambda trials, study: None
    )


def records(runs: Path, name: str = "toy", url: str | None = None) -> list[dict[str, Any]]:
    """All that the storage holds of a study."""
    return list(study_records(open_storage(url, runs, name, must_exist=True), name))


def files(folder: Path) -> dict[str, bytes]:
    """Path → content of each file below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


# ---- archives by hand ----

Content = dict[str, bytes]


def opened(file: Path) -> Content:
    """The members of an archive by path, the manifest left out."""
    with zstandard.open(file, "rb") as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
        return {info.name: tar.extractfile(info).read() for info in tar if info.name != MANIFEST}


def member(path: str, content: bytes = b"", **attributes: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(path)
    info.size = len(content)
    for key, value in attributes.items():
        setattr(info, key, value)
    return info, content


def manifest_of(
    content: Content, rows: Sequence[Sequence[Any]] | None = None, **changes: Any
) -> bytes:
    """A sealed manifest of these files, or of these rows."""
    if rows is None:
        rows = [
            (path, len(data), hashlib.sha256(data).hexdigest()) for path, data in content.items()
        ]
    stored = {**MARKS, "sha256": SLOT, "study": "toy", "about": {}, "members": rows, **changes}
    return seal(json.dumps(stored).encode())


def write_archive(
    file: Path,
    members: Sequence[tuple[tarfile.TarInfo, bytes]],
    *,
    after: bytes = b"",
    form: int = tarfile.GNU_FORMAT,
) -> Path:
    """An archive with these members in this order, and bytes in the frame after its end."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    file.write_bytes(
        zstandard.ZstdCompressor(write_checksum=True).compress(stream.getvalue() + after)
    )
    return file


def written(file: Path, content: Content, **changes: Any) -> Path:
    """An archive with this content and a manifest that fits, but for the changes."""
    head = manifest_of(content, **changes)
    return write_archive(
        file, [member(MANIFEST, head), *(member(path, data) for path, data in content.items())]
    )


def with_records(
    content: Content, change: Callable[[dict[str, Any]], Mapping[str, Any]]
) -> Content:
    """The content with each record changed."""
    lines = content[RECORDS].splitlines(keepends=True)
    return {
        **content,
        RECORDS: b"".join(record_line(dict(change(parse_line(line)))) for line in lines),
    }


# ---- kills ----

EVENTS = ("os.rename", "os.mkdir", "os.remove", "shutil.rmtree", "shutil.move")


def after_each_kill(root: Path, action: Callable[[Path], object]) -> Iterator[Path]:
    """Do something in a fork that is killed before its first change of the file system, its second
    … until none kills it.

    `action` gets a new folder each time; yields each folder whose fork was killed.
    """
    for changes in itertools.count():
        folder = root / str(changes)
        folder.mkdir()
        if not _killed_before(changes, action, folder):
            return
        yield folder


def _killed_before(change: int, action: Callable[[Path], object], folder: Path) -> bool:
    fork = os.fork()
    if fork == 0:
        counted = [0]

        def count(event: str, arguments: object) -> None:
            if event in EVENTS:
                counted[0] += 1
                if counted[0] > change:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        try:
            action(folder)
            os._exit(0)
        except BaseException:
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1])
    assert status in (0, -signal.SIGKILL), status
    return status != 0
