"""The origin of a result: code, versions, machine, data, protocol. Recorded with a study and with
each trial.
"""

import importlib.metadata
import math
import platform
import subprocess
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from sweeps import VERSION, UserError, masked
from vaeexp import models
from vaeexp.data import Dataset
from vaeexp.data.values import is_vector
from vaeexp.machine import describe_hardware, processor_name
from vaeexp.models.parts import measure_of
from vaeexp.settings import ModelSettings, Settings

_PACKAGES = ("torch", "numpy", "optuna", "mlflow", "pandas")


def protocol(
    dataset: Dataset,
    settings: Settings,
    searched: Collection[str] = (),
    likelihoods: Sequence[str] = (),
) -> dict[str, str]:
    """Describe in words the facts that two numbers must share before one ranking may hold both, and
    the likelihood.

    Args:
        searched: settings that vary.
        likelihoods: those that are searched.

    Raises:
        UserError: these do not share their measure.
    """
    train, validation, test = dataset.sizes
    binarised = {
        "static": "static (each pixel drawn once)",
        "dynamic": "dynamic (drawn anew each epoch; validation and test targets drawn once)",
        "none": "none (grey levels in [0, 1])",
    }
    likelihood = models.likelihoods.find_likelihood(settings.model.likelihood)
    if likelihood.support == "binary":
        binarised["none"] = (
            "none (grey levels in [0, 1]; the Bernoulli density is not normalised there)"
        )
    if dataset.kind not in ("uint8", "bool") or is_vector(dataset.image_shape):
        binarised["none"] = f"none ({dataset.kind} numbers, 1 of which is the unit)"
    draws = settings.evaluation.validation_draws
    samples = "one sample" if draws == 1 else f"{draws} samples"
    model = settings.model
    each = [model.model_copy(update={"likelihood": name}) for name in likelihoods] or [model]
    words: list[str] = []
    measures: list[str] = []
    for one in each:
        words.append(_likelihood_words(dataset, one, searched))
        support = models.likelihoods.find_likelihood(one.likelihood).support
        measures.append(measure_of(words[-1], support, dataset.binarisation))
    if len({*measures}) > 1:
        raise UserError(
            "search.likelihood",
            f"got {' and '.join(words)}: their −log p are {' and '.join(measures)}, so their "
            "trials cannot be ranked together. Search likelihoods of one measure.",
        )
    return {
        "data": dataset.title,
        "fingerprint": dataset.fingerprint,
        "split": f"{train:,} train / {validation:,} validation / {test:,} test, split seed "
        f"{settings.data.split_seed}",
        "binarisation": binarised[dataset.binarisation],
        **({"reading": "; ".join(dataset.reading)} if dataset.reading else {}),
        "likelihood": " or ".join(words),
        "measure": measures[0],
        "posterior": model.posterior,
        "estimator": f"search: −ELBO at β = 1 on validation, {samples} per image, the same "
        "noise for every trial; test: −ELBO, and importance-weighted NLL with k = "
        f"{settings.evaluation.importance_samples:,}",
    }


def _likelihood_words(dataset: Dataset, model: ModelSettings, searched: Collection[str]) -> str:
    """Describe the likelihood: with its fixed scale, in the unit of the report, too, and with its
    levels where they are not 256, or what it leaves out.
    """
    likelihood = models.likelihoods.find_likelihood(model.likelihood)
    words = likelihood.describe(model.likelihood, model, searched)
    values = dataset.values
    of_data = {"scale", "scale_per"} & set(searched)
    fixed = likelihood.scale and likelihood.scale not in searched and not of_data
    if fixed and isinstance(values.scale, float) and values.scale != 1:
        words += f", {getattr(model, likelihood.scale) * values.scale:.4g} in the unit of the data"
    if likelihood.support == "levels" and values.levels != 256:
        words += f", {values.levels:,} levels"
    if likelihood.of_varying and values.left_out:
        size = math.prod(values.shape)
        words += f", over the {size - values.left_out:,} of {size:,} sub-pixels that vary"
    return words


def describe_run(
    dataset: Dataset, protocol: Mapping[str, str], *, study_text: str, command: str
) -> dict[str, Any]:
    """Describe code, versions, machine, data and protocol of a study. `command` continues the
    study; its passwords are masked.
    """
    return {
        "protocol": dict(protocol),
        "data": dataset.describe(),
        "git": _git(),
        "versions": installed_versions(),
        "hardware": describe_hardware(),
        "command": masked(command),
        "study_file": study_text,
    }


def installed_versions() -> dict[str, str]:
    """Return the versions that decide a result: of vaeexp, Python and the packages that compute and
    record.
    """
    packages = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {"vaeexp": VERSION, "python": platform.python_version(), **packages}


def arithmetic(
    device: str, *, precision: str, fuse: bool, compile: bool, threads: int | None
) -> dict[str, Any]:
    """Describe what decides the last bits of a training besides its settings and its seed: how this
    machine computes.

    `processor` is the accelerator where one trains. Each run records it, because a study may go on
    elsewhere.
    """
    import torch

    return {
        "device": torch.device(device).type,
        "processor": torch.cuda.get_device_name(device)
        if device.startswith("cuda")
        else processor_name(),
        "precision": precision,
        "fuse": "on" if fuse else "off",
        "compile": "on" if compile else "off",
        "threads": threads,
        "torch": importlib.metadata.version("torch"),
    }


def _git() -> dict[str, Any]:
    """Return commit and dirty flag of the running code; empty when it was installed without its
    repository, or git is missing.
    """
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return {}

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
        return done.stdout.strip()

    try:
        commit = git("rev-parse", "HEAD")
        return (
            {"commit": commit, "dirty": bool(git("status", "--porcelain", "--untracked-files=no"))}
            if commit
            else {}
        )
    except (OSError, subprocess.TimeoutExpired):  # a machine without git
        return {}
