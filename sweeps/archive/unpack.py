"""Reads an archive that may come from anybody: no byte beyond its manifest, no path beyond its
folder, no code.
"""

import hashlib
import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import zstandard

from sweeps.archive.manifest import MANIFEST, MOST, Manifest, Member
from sweeps.checksums import Damaged
from sweeps.errors import UserError
from sweeps.program import program

_WINDOW = 2**27
"""The largest window of a frame, in bytes: memory that a frame may ask for."""
_HEADERS = 4096
"""Bytes of headers and padding of a member, at the most."""
_SLACK = 2**16
"""Bytes that tarfile may read beyond the last member."""
_BLOCK = 2**20


class _Limited:
    """A stream of which no more bytes are read than are allowed."""

    def __init__(self, stream: IO[bytes], allowed: int) -> None:
        self._stream = stream
        self.allowed = allowed

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes, fewer at the end. Raises ValueError where more are asked for
        than allowed.
        """
        self.allowed -= size
        if self.allowed < 0:
            raise ValueError("it holds more bytes than its manifest states")
        return self._stream.read(size)


class Archive:
    """An archive whose manifest was read; `unpack` may be called once."""

    def __init__(self, file: Path, opened: IO[bytes]) -> None:
        self._file = file
        frame = zstandard.ZstdDecompressor(max_window_size=_WINDOW).stream_reader(opened)
        stream = _Limited(frame, MOST + _SLACK)
        self._tar = tarfile.open(fileobj=stream, mode="r|", errorlevel=2)  # type: ignore[call-overload]  # noqa: SIM115
        info = self._tar.next()
        if info is None or info.name != MANIFEST or info.type != tarfile.REGTYPE:
            raise _no_archive(file)
        source = self._tar.extractfile(info)
        assert source is not None
        self.manifest = Manifest.from_bytes(source.read(), file)
        stream.allowed = self.manifest.size + _HEADERS * len(self.manifest.members) + _SLACK

    def unpack(self, folder: Path) -> None:
        """Write all members below an empty folder, each checked against size and SHA-256 of the
        manifest, and to the disk.

        Raises:
            Damaged: the archive is not what was written, or not what its manifest states.
            OSError: a file cannot be written.
        """
        with _reading(self._file):
            for member in self.manifest.members:
                self._unpack(self._tar.next(), member, folder)
            if self._tar.next() is not None:
                raise ValueError("it holds more files than its manifest states")

    def _unpack(self, info: tarfile.TarInfo | None, member: Member, folder: Path) -> None:
        if info is None:
            raise ValueError(f"it ends before {member.path}")
        tarfile.data_filter(info, str(folder))
        if (info.name, info.size, info.type) != (member.path, member.size, tarfile.REGTYPE):
            raise ValueError(
                f"got {info.name[:80]!r} where its manifest has the file {member.path!r}"
            )
        source = self._tar.extractfile(info)
        digest = hashlib.sha256()
        target = folder / member.path
        assert source is not None
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as file:
            while block := source.read(_BLOCK):
                digest.update(block)
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
            if (file.tell(), digest.hexdigest()) != (member.size, member.sha256):
                raise ValueError(f"{member.path} does not match its checksum")


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    try:
        yield
    except (
        zstandard.ZstdError,
        tarfile.TarError,
        EOFError,
        ValueError,
        FileExistsError,
        RecursionError,
    ) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise Damaged(
            str(file), f"is damaged, cut off or not to be trusted: {reason}. Nothing was restored."
        ) from error


@contextmanager
def open_archive(file: Path) -> Iterator[Archive]:
    """Open an archive and read its manifest.

    Raises:
        UserError: there is no such file, it is no archive, or another version wrote it.
        Damaged: it is not what was written.
    """
    try:
        if not file.is_file():
            raise UserError(str(file), "there is no such file.")
        opened = file.open("rb")
    except OSError as error:
        raise UserError(str(file), f"cannot be read: {error.strerror}.") from error
    with opened:
        if opened.read(4) != zstandard.FRAME_HEADER:
            raise _no_archive(file)
        opened.seek(0)
        with _reading(file):
            archive = Archive(file, opened)
        yield archive


def _no_archive(file: Path) -> UserError:
    return UserError(str(file), f"is no archive of {program().name}.")
