"""Where study files are: a path, `./studies/NAME.yaml`, or the copy that is shipped."""

import os
import re
from pathlib import Path

from sweeps.errors import UserError, did_you_mean

__all__ = ["find_study", "known_studies", "read_text", "shown_path"]

PLAIN_NAME = re.compile(r"[A-Za-z0-9_-]+")


def known_studies(shipped: Path | None) -> dict[str, Path]:
    """Name → file: those of `./studies`, then the shipped ones that these do not hide, each by name."""
    folders = [Path("studies")] + ([shipped] if shipped is not None else [])
    found: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.glob("*.y*ml")):
            if path.suffix in (".yaml", ".yml"):
                found.setdefault(path.stem, path)
    return found


def find_study(given: str, shipped: Path | None) -> Path:
    """The file of a study given by path (ends in .yaml or .yml, or has a separator) or by name.

    Raises:
        UserError: there is none; names the nearest known study and where it looked.
    """
    if given.endswith((".yaml", ".yml")) or any(mark and mark in given for mark in (os.sep, os.altsep)):
        path = Path(given)
        if not path.is_file():
            near = did_you_mean(path.stem, known_studies(shipped))
            raise UserError(given, f"{'a folder' if path.is_dir() else 'no such file'}; should be a study file. {near}")
    else:
        known = known_studies(shipped)
        if given not in known:
            folders = [shown_path(folder) for folder in (Path("studies"), shipped) if folder is not None]
            looked = " and ".join(dict.fromkeys(folders))
            raise UserError("--study", f"unknown study '{given}', looked in {looked}. {did_you_mean(given, known)}")
        path = known[given]
    if not PLAIN_NAME.fullmatch(path.stem):
        raise UserError(shown_path(path), f"got '{path.stem}' as name; should be letters, digits, '_' and '-' only.")
    return path


def shown_path(path: Path) -> str:
    """The path as a user knows it: relative to the current folder where it is inside."""
    absolute, here = path.absolute(), Path.cwd()
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) else str(path)


def read_text(path: Path, shown: str) -> str:
    """The text of a UTF-8 file. Raises `UserError` with the reason why not."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(shown, f"cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise UserError(shown, f"is not UTF-8 text (byte {error.start}).") from None
