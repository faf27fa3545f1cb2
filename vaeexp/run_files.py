"""The files of a run's folder: their names, and those in JSON. Commands that look after files need
no PyTorch for them.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sweeps import MARKS, SLOT, VERSION, Damaged, UserError, check_file, seal, write_whole

CHECKPOINT = "checkpoint.safetensors"
PREVIOUS = "checkpoint-previous.safetensors"
"""The newest checkpoint of a running trial, and the checkpoint before it."""
WEIGHTS = "weights.safetensors"
"""The weights of the best epoch."""
LAST = "last.safetensors"
"""The weights of the last epoch, of repeats alone."""
SETTINGS = "settings.json"
RESULT = "result.json"
REMEDY = "`vaeexp reproduce RUN --restore` trains the run again and puts its files back."
"""The remedy for a damaged file of a finished run."""
PICTURES = "pictures.npz"
EVALUATION = "evaluation.npz"
"""What the run's model draws; and numbers about the latent space on test images, of tested runs
alone.
"""
CALIBRATION = "calibration.npz"
"""What new rows are compared with when they are scored; written by the first `score`."""
SHEET = "sheet.npz"
"""A few pictures of the last epoch, of each trial of the search, whatever it came to."""
LOADER = "vaeexp.runs.raw_numbers"
"""Module by which MLflow loads the registered model of a study from a run's folder: a model of the
numbers of files.
"""
TARGETS_LOADER = "vaeexp.runs.export"
"""The same for a model of targets, as models were registered before."""
REQUIREMENTS = ("vaeexp", "torch", "safetensors")
"""Packages that loading needs."""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an error of the operating system into the user's error."""
    try:
        yield
    except OSError as error:
        raise UserError(str(path), f"cannot be written: {error.strerror or error}.") from error


def save_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write `content` as JSON with schema number, version and seal, atomically."""
    text = (
        json.dumps({**content, **MARKS, "sha256": SLOT}, indent=1, sort_keys=True, default=str)
        + "\n"
    )
    sealed = seal(text.encode())
    write_whole(path, lambda unfinished: unfinished.write_bytes(sealed))


def load_json(path: Path) -> dict[str, Any]:
    """Return the content that `save_json` wrote.

    Raises:
        OSError: the file cannot be read.
        Damaged: its content does not match its seal, or it has no seal.
        UserError: another version of vaeexp wrote it in a way that this version cannot read.
    """
    content = path.read_bytes()
    check_run_file(content, path)
    return {
        name: value for name, value in json.loads(content).items() if name not in (*MARKS, "sha256")
    }


def unreadable_settings(place: str, folder: Path, error: Exception) -> UserError:
    """Return the error for settings of a run that this version does not understand: it names the
    version that wrote those in the run's folder, where they say it.
    """
    problem = f"does not hold settings that vaeexp {VERSION} reads ({' '.join(str(error).split())})"
    try:
        version = json.loads((folder / SETTINGS).read_bytes()).get("version")
    except (OSError, ValueError):
        version = None
    if version == VERSION:
        return UserError(place, f"{problem}.")
    writer = f"vaeexp {version}" if version else "the version of vaeexp that trained it"
    return UserError(place, f"{problem}. Open it with {writer}.")


def rename_study(folder: Path, study: str) -> None:
    """Give the `settings.json` of a run another name of its study.

    Raises:
        Damaged, UserError: as `load_json`.
    """
    settings = load_json(folder / SETTINGS)
    if settings.get("study") != study:
        save_json(folder / SETTINGS, {**settings, "study": study})


def check_run_file(content: bytes, path: Path) -> None:
    """Raise Damaged, with what helps, if a file of a finished run is not what was written; else as
    `check_file`.
    """
    try:
        check_file(content, path)
    except Damaged as error:
        raise Damaged(error.place, f"{error.problem} {REMEDY}") from None
