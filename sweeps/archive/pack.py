"""Packs a study into one file: a tar stream in zstandard, the manifest first. The same study gives
the same bytes.
"""

import hashlib
import io
import os
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any

import zstandard
from optuna.storages import BaseStorage

from sweeps.archive.manifest import MANIFEST, RECORDS, REPORT, TRIALS, Manifest, Member, check_paths
from sweeps.checksums import file_digest
from sweeps.errors import UserError, full_disk
from sweeps.files import UNFINISHED, is_aside, remove_unfinished, write_whole
from sweeps.storage import hold_study, open_storage
from sweeps.storage.checked_records import record_line
from sweeps.storage.study_record import read_state
from sweeps.storage.transfer import study_records

SUFFIX = ".tar.zst"
_LEVEL = 3  # random weights hardly shrink, whatever the level


def pack_study(
    study: str, file: Path, *, runs: Path, storage: str | None, about: Mapping[str, Any]
) -> Manifest:
    """Write a study into `file`: records, files of its runs, report. `file` is there when it is
    whole, and not before.

    Half-written files, what was moved aside (damaged files, folders without a record) and links are
    left out.

    Args:
        about: versions and machine, for the manifest.

    Raises:
        UserError: there is no such study, it is running, `file` exists or cannot be written, or
            something changed while it was packed.
    """
    if not file.name.endswith(SUFFIX):
        raise UserError(
            str(file), f"must end in {SUFFIX}. Try {file.name.partition('.')[0] or study}{SUFFIX}."
        )
    if os.path.lexists(file):
        raise UserError(str(file), "exists already; give another name, or move the file away.")
    # First, because a lock would make the folder of a study that is not there.
    open_storage(storage, runs, study, must_exist=True)
    with hold_study(storage, runs, study) as opened, _writing(file):
        records = b"".join(map(record_line, study_records(opened, study)))
        sources = dict(_files(study, runs, opened))
        check_paths([RECORDS, *sources], f"study '{study}'")
        members = [Member(RECORDS, len(records), hashlib.sha256(records).hexdigest())]
        members += [
            Member(path, source.stat().st_size, file_digest(source))
            for path, source in sources.items()
        ]
        manifest = Manifest(study=study, about=about, members=tuple(members))
        remove_unfinished(file)
        write_whole(
            file, partial(_write, manifest=manifest, records=records, sources=sources), durable=True
        )
    return manifest


def _files(study: str, runs: Path, storage: BaseStorage) -> Iterator[tuple[str, Path]]:
    """Yield path in the archive and path here of each file of the runs and of the report."""
    trials = runs / "trials" / study
    folders = (
        path
        for path in trials.glob("*")
        if path.is_dir() and not path.is_symlink() and not is_aside(path)
    )
    for folder in sorted(folders):
        yield from _files_below(folder, f"{TRIALS}/{folder.name}")
    record = read_state(storage, study).study
    if record.report:
        yield from _files_below(runs / record.report, REPORT)


def _files_below(folder: Path, below: str) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.rglob("*")):
        names = path.relative_to(folder).parts
        left_out = any(name.startswith(UNFINISHED) for name in names) or is_aside(path)
        if path.is_file() and not path.is_symlink() and not left_out:
            yield "/".join((below, *names)), path


@contextmanager
def _writing(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = full_disk(error)
        problem = full.problem if full else f"cannot be archived: {error.strerror or error}."
        raise UserError(str(error.filename or file), problem) from error


def _write(path: Path, *, manifest: Manifest, records: bytes, sources: Mapping[str, Path]) -> None:
    compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
    with (
        path.open("wb") as raw,
        compressor.stream_writer(raw, closefd=False) as stream,
        tarfile.open(fileobj=stream, mode="w|", format=tarfile.GNU_FORMAT) as tar,
    ):
        head = manifest.to_bytes()
        _add(tar, Member(MANIFEST, len(head), hashlib.sha256(head).hexdigest()), io.BytesIO(head))
        for member in manifest.members:
            source = (
                io.BytesIO(records) if member.path == RECORDS else sources[member.path].open("rb")
            )
            with source:
                _add(tar, member, source)


def _add(tar: tarfile.TarFile, member: Member, source: IO[bytes]) -> None:
    # Times and owners stay out, because they say nothing about the study and something about the
    # user.
    info = tarfile.TarInfo(member.path)
    info.size = member.size
    hashed = _Hashed(source)
    tar.addfile(info, hashed)
    if hashed.digest.hexdigest() != member.sha256:
        raise UserError(member.path, "changed while it was archived; give the same command again.")


class _Hashed(io.RawIOBase):
    """A file that is read once, and the SHA-256 of what was read."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        block = self._source.read(size)
        self.digest.update(block)
        return block
