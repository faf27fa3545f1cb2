"""Writes lanes and models to disk and reads them: tensors as safetensors, progress in the header, atomic writes."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sweeps.files import write_whole
from vaeexp.models.networks import settings_from
from vaeexp.models.vae import VAE
from vaeexp.training import Lane, Snapshot, State

CHECKPOINT = "checkpoint.safetensors"
WEIGHTS = "weights.safetensors"
"""The weights of the best epoch."""
LAST = "last.safetensors"
"""The weights of the last epoch, of repeats alone."""
SETTINGS = "settings.json"


_PROGRESS = ("epoch", "best_objective", "best_epoch", "best_metrics", "stale")
"""The attributes of a lane that its checkpoint holds beside its tensors."""


def save_checkpoint(folder: Path, lane: Lane, state: State) -> None:
    """Write `checkpoint.safetensors`, from which the lane continues as if it had never stopped."""
    progress = {name: getattr(lane, name) for name in _PROGRESS} | {"fingerprint": _fingerprint(lane)}
    _save(folder / CHECKPOINT, state, {"vaeexp": json.dumps(progress)})
    lane.checkpoint_due = 0.0


def load_checkpoint(folder: Path, lane: Lane) -> State | None:
    """Read the checkpoint of `folder`: return its state and put its progress into `lane`; None without a usable one.

    A checkpoint is usable if it has the lane's settings, seed and shapes (a folder edited by hand may hold another
    checkpoint) and is not ahead of the trial's reported epoch.
    """
    from safetensors import SafetensorError, safe_open

    path = folder / CHECKPOINT
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            progress = json.loads(file.metadata()["vaeexp"])
            if progress.pop("fingerprint") != _fingerprint(lane) or progress["epoch"] > lane.trial.epoch:
                return None
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, ValueError, OSError):
        # A damaged file must not fail the trial; the lane replays from the start.
        return None
    vars(lane).update(progress)
    return state


def _fingerprint(lane: Lane) -> str:
    """Return settings, seed and shapes as text; a checkpoint fits a lane if their fingerprints are equal."""
    shapes = {name: list(shape) for name, shape in lane.layout.shapes.items()}
    settings = lane.settings.flat()
    return json.dumps({"settings": settings, "seed": lane.trial.seed, "shapes": shapes}, sort_keys=True, default=str)


def save_weights(path: Path, lane: Lane, snapshot: Snapshot) -> None:
    """Write the plain state dict of the lane's model after an epoch, with the epoch in the header."""
    weights, buffers = snapshot.weights.cpu(), snapshot.buffers.cpu()
    tensors = {**lane.layout.read(weights), **lane.buffer_layout.read(buffers)}
    _save(path, tensors, {"epoch": str(snapshot.epoch)})


def save_settings(folder: Path, lane: Lane, image_shape: tuple[int, ...], origin: Mapping[str, Any]) -> None:
    """Write `settings.json`, which lies beside the weights.

    `origin` is added to the settings: study, study_seed, fingerprint of the data, arithmetic.
    """
    settings = {name: dict(vars(getattr(lane.settings, name))) for name in ("data", "model", "train", "evaluation")}
    trial = {"seed": lane.trial.seed, "number": lane.trial.number, "params": dict(lane.trial.params)}
    write_json(folder / SETTINGS, {**settings, **trial, "image_shape": image_shape, **origin})


def load_model(folder: Path, weights: str = WEIGHTS) -> VAE:
    """Return the model of a finished trial, in evaluation mode, from its folder alone, without pickle.

    `weights` is the file with the weights: those of the best epoch, or `LAST`.

    Raises:
        FileNotFoundError: the folder holds no weights.
        ValueError: the user's own network cannot be imported or has changed.
    """
    from safetensors.torch import load_file

    settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    vae = VAE(settings_from(settings["model"]), tuple(settings["image_shape"]))
    tensors = load_file(folder / weights)
    if tensors.keys() != {name for name, _ in (*vae.named_parameters(), *vae.named_buffers())}:
        raise ValueError(
            f"{folder}: network '{settings['model']['network']}' has changed; the weights belong to its earlier version."
        )
    # Not strict, because the file holds tied parameters once and a state dict may omit buffers.
    vae.load_state_dict(tensors, strict=False)
    return vae.eval()


def write_json(path: Path, content: dict) -> None:
    """Write `content` as JSON, atomically."""
    text = json.dumps(content, indent=1, sort_keys=True, default=str) + "\n"
    write_whole(path, lambda unfinished: unfinished.write_text(text, encoding="utf-8"))


def _save(path: Path, tensors: State, metadata: dict[str, str]) -> None:
    from safetensors.torch import save

    # Not `save_file`, because it makes files that only their owner may read, and a lab shares its runs.
    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, metadata)
    write_whole(path, lambda unfinished: unfinished.write_bytes(content), durable=True)
