"""Errors that a user can act on, which the command line shows as one line and ends with status 2,
and warnings.
"""

import difflib
import errno
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache

_log = logging.getLogger(__name__)


class UserError(Exception):
    """Something the user gave is wrong.

    The message names the place (`studies/x.yaml: search.beta`), the value got, and what would be
    right.
    """

    status = 2
    """Exit status of a command that ends with this error."""

    def __init__(self, place: str, problem: str) -> None:
        self.place = place
        self.problem = problem
        super().__init__(f"{place}: {problem}" if place else problem)

    def __reduce__(self) -> tuple[type["UserError"], tuple[str, str]]:
        # The default calls the class with the message alone; a child process could not hand it
        # over.
        return type(self), (self.place, self.problem)

    def _render_traceback_(self) -> list[str]:
        """Return what a notebook shows instead of a traceback: the message says all that its user
        needs.
        """
        return [f"{type(self).__name__}: {self}"]


class AllFailedError(UserError):
    """A study stops because its trials fail, and none of them did anything else."""

    status = 3


class EngineLostError(UserError):
    """The machines of a running study are gone; the same command continues it on others."""


USUAL_WORDS: Mapping[str, Sequence[str]] = {
    "learning_rate": ("lr", "step_size", "base_lr", "max_lr", "initial_lr"),
    "epochs": ("epoch", "n_epochs", "num_epochs", "max_epochs", "nepochs"),
    "batch_size": ("batch", "bs", "train_batch_size", "minibatch_size", "batchsize"),
    "beta": ("kl_weight", "kld_weight", "kl_coeff", "kl_beta", "b"),
    "warmup_epochs": (
        "kl_annealing",
        "kl_warmup",
        "beta_warmup",
        "annealing_epochs",
        "kl_anneal_epochs",
    ),
    "latent_size": (
        "latent_dim",
        "z_dim",
        "latent",
        "n_latent",
        "zdim",
        "nz",
        "latent_dims",
        "code_size",
    ),
    "hidden": (
        "hidden_dim",
        "hidden_dims",
        "hidden_size",
        "hidden_sizes",
        "layers",
        "widths",
        "units",
    ),
    "optimizer": ("optim", "optimiser", "opt"),
    "schedule": ("scheduler", "lr_scheduler", "lr_schedule"),
    "schedule_factor": ("gamma", "lr_gamma", "scheduler_gamma", "lr_decay"),
    "clip_norm": ("grad_clip", "gradient_clip_val", "max_grad_norm", "clip"),
    "weight_decay": ("wd", "l2"),
    "patience": ("early_stopping", "early_stop"),
    "normalisation": ("batch_norm", "batchnorm", "norm", "normalization"),
    "likelihood": ("loss", "recon_loss", "reconstruction_loss"),
    "network": ("arch", "architecture", "model_name"),
    "channels": ("filters", "num_filters", "conv_channels"),
    "image_size": ("img_size", "resolution", "input_size"),
    "image_channels": ("in_channels", "num_channels", "input_channels"),
    "binarisation": ("binarize", "binarization", "binary"),
    "components": ("n_components", "num_components", "pseudo_inputs"),
    "seed": ("random_seed", "manual_seed", "random_state"),
    "device": ("gpu", "cuda"),
    "trials": ("n_trials", "num_trials"),
    "seconds": ("timeout", "time"),
    "workers": ("num_workers", "n_jobs", "jobs"),
    "data": ("data_dir", "data_path", "dataroot"),
    "runs": ("output", "output_dir", "out_dir", "save_dir", "log_dir", "logdir"),
}
"""Name of a setting or an option → the words that other programs have for it."""


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return a sentence that names the known value nearest in meaning or spelling to `name`, or
    lists them all when none is near.
    """
    names = sorted({*names})
    word = name.lower().replace("-", "_")
    if word == "dropout" and "weight_decay" in names:
        return (
            "There is none, because draws in `forward` could not be repeated; `beta` and "
            "`weight_decay` regularise."
        )
    for known in names:
        if word in USUAL_WORDS.get(known, ()):
            return f"Did you mean '{known}'?"
    lowered = {known.lower(): known for known in names}  # capitals are no other spelling
    near = [lowered[name.lower()]] if name.lower() in lowered else _nearest(name, names)
    near = near or [lowered[known] for known in _nearest(name.lower(), lowered)]
    if near:
        return f"Did you mean '{near[0]}'?"
    return f"Known: {', '.join(names)}." if names else "None is known."


def _nearest(name: str, names: Iterable[str]) -> list[str]:
    return difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)


def one_of(names: Iterable[str]) -> str:
    """Return `a, b or c` of two names or more."""
    *first, last = names
    return f"{', '.join(first)} or {last}"


DISK_FULL = (
    "the disk is full. What is finished is kept: free some space and give the same command again."
)


FILE_TOO_LARGE = (
    "a file has reached the limit on its size. What is finished is kept: raise the limit "
    "(`ulimit -f unlimited`, or that of the file system) and give the same command again."
)


def full_disk(error: OSError) -> UserError | None:
    """Return what to tell the user about a full disk (or quota), or a file that must not grow; None
    for any other error.
    """
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(str(error.filename or ""), DISK_FULL)
    if error.errno == errno.EFBIG:
        return UserError(str(error.filename or ""), FILE_TOO_LARGE)
    return None


LACKING_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
"""Errors of a file system that has no locks, as that of some network drives."""


def unfit_folder(error: OSError, places: str) -> UserError | None:
    """Return what to tell the user about a file system without locks, or a folder that cannot be
    written; None for any other error.

    places: options and variables that name other folders.
    """
    if error.errno in LACKING_LOCKS:
        problem = (
            f"the file system has no locks ({error.strerror}). Use folders on a local disk: "
            f"{places}."
        )
    elif error.errno in (errno.EROFS, errno.EACCES, errno.EPERM) and error.filename is not None:
        problem = f"cannot be read or written: {error.strerror}. Use folders of your own: {places}."
    else:
        return None
    return UserError(str(error.filename or "locks"), problem)


def limit_reached(error: BaseException) -> UserError | None:
    """Return what to tell the user where a limit of the system is the cause of an error; None for
    any other error.

    The limits: disk, size of files, locks, processes and threads, open files, memory that a library
    needs to be loaded. A trial that needs too much memory is none of them, because only that trial
    fails.
    """
    text = str(error)
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(error, OSError) and (full := full_disk(error)):
        return full
    if isinstance(error, BlockingIOError) or "can't start new thread" in text:
        problem = (
            "the system allows no further process or thread. Raise the limit (`ulimit -u`, or "
            "that of the container)."
        )
        return UserError("processes", problem)
    if number in (errno.EMFILE, errno.ENFILE):
        return UserError(
            "open files", "the system allows no further open file. Raise the limit (`ulimit -n`)."
        )
    loading = isinstance(error, ImportError) and (
        "failed to map" in text or "cannot allocate" in text.lower()
    )
    if loading or number == errno.ENOMEM:
        problem = (
            f"too little for a library ({text}). Raise the limit (`ulimit -v`, or that of the "
            "container)."
        )
        return UserError("memory", problem)
    return None


def masked(text: str) -> str:
    """Return the text with *** in place of every password: `scheme://user:***@host`,
    `https://***@host`, `password=***`.
    """
    text = re.sub(r"(://[^\s:/@?#]*):\S*@", r"\1:***@", text)
    text = re.sub(r"(https?://)[^\s:/@?#]+@", r"\1***@", text)
    return re.sub(r"(?i)\b(password|passwd|pwd|token|secret)=[^&\s'\"]*", r"\1=***", text)


@cache
def warn_once(message: str) -> None:
    """Log a warning once in this process."""
    _log.warning(message)
