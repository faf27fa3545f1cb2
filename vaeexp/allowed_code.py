"""The code that a run may name. Settings may say `network: module:Class`, and whoever opens such a run runs that module.

A study that began in this folder of runs, by this user, names the user's own module. A run that came from elsewhere may name any
module that Python finds, so its user has to allow the module once. Both facts are kept in the user's cache folder, where no
archive and no copied folder of runs can put them.
"""

import importlib.util
import re
import uuid
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from sweeps.errors import UserError
from sweeps.files import write_whole
from sweeps.source import hash_of, search_working_directory
from vaeexp.cache import cache_folder


def note_beginning(runs: Path, study: str) -> None:
    """Note that a study begins in this folder of runs: a random mark in the folder, and the folder's path under that mark here.

    A copy of the folder has the mark and another path, so the note does not hold for the copy.
    """
    mark, origin = uuid.uuid4().hex, _origin(runs, study)
    with suppress(OSError):  # the study runs without the note; opening its runs then needs --allow-code
        write_whole(origin, lambda path: path.write_text(mark))
        write_whole(_notes() / "studies" / mark, lambda path: path.write_text(str(origin.resolve())))


def forget_beginning(runs: Path, study: str) -> None:
    """Forget that a study began in this folder of runs, because a study from elsewhere takes its name."""
    _origin(runs, study).unlink(missing_ok=True)


def check_code(run: str, network: str, folder: Path, *, allow: bool) -> None:
    """Refuse to run the module that a run from elsewhere names as its network.

    Args:
        run: name of the run, for the message.
        network: as in the settings; names without a colon are vaeexp's own and pass.
        folder: that of the run, `RUNS/trials/STUDY/trial-0000` where it lies in a folder of runs.
        allow: whether the user allows the module; the module is remembered by the hash of its source.

    Raises:
        UserError: the study did not begin in this folder of runs, and the module was not allowed, or has changed since.
    """
    if ":" not in network or _began_here(folder):
        return
    module = network.partition(":")[0].partition(".")[0]
    file, digest = _source(module)
    note = _notes() / "modules" / sha256(f"{module}\0{digest}".encode()).hexdigest()
    if allow:
        if digest:
            write_whole(note, lambda path: path.write_text(f"{module} {file}\n"))
    elif not (digest and note.is_file()):
        raise UserError(
            run,
            f"names the network '{network}', and its study did not begin in this folder of runs. To open the run is to run "
            f"the code in {file or 'that module'}. Read the code; then --allow-code (allow_code=True in Python) runs it and remembers it.",
        )


def _began_here(folder: Path) -> bool:
    study = folder.resolve().parent
    origin = _origin(study.parent.parent, study.name)
    try:
        mark = origin.read_text()
        return bool(re.fullmatch("[0-9a-f]{32}", mark)) and (_notes() / "studies" / mark).read_text() == str(
            origin.resolve()
        )
    except (OSError, ValueError):
        return False


def _origin(runs: Path, study: str) -> Path:
    return runs / "journal" / f"{study}.origin"


def _notes() -> Path:
    return cache_folder() / "code"


def _source(module: str) -> tuple[str | None, str]:
    """Return file and hash of a top-level module without importing it; of a package, the hash is over all its .py files.

    None and "" where there is no such module, or no one file to it.
    """
    search_working_directory()
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        spec = None
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        return None, ""
    return spec.origin, hash_of(spec.origin, package=spec.submodule_search_locations is not None)
