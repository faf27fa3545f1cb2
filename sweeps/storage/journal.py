"""The default storage of a study: an Optuna journal file, `journal/<study>.log` below the runs folder."""

from pathlib import Path

from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileOpenLock

from sweeps.errors import UserError
from sweeps.storage.optuna_internals import BatchingJournal


def journal_path(runs: Path, study: str) -> Path:
    """The journal file of a study."""
    return Path(runs) / "journal" / f"{study}.log"


def open_journal(path: Path) -> BaseStorage:
    """Open a journal file, or start one; the folder must exist. Raises `UserError` where it cannot be read."""
    try:
        return JournalStorage(BatchingJournal(str(path), lock_obj=JournalFileOpenLock(str(path), grace_period=10)))
    except OSError as error:
        raise UserError(str(path), f"cannot be opened: {error.strerror}.") from error
    except (ValueError, KeyError, AssertionError) as error:
        raise UserError(str(path), f"is not an Optuna journal ({error}); move it away to start anew.") from error
