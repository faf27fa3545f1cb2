"""Writes lanes and models to disk and reads them: tensors as safetensors, progress in the header,
atomic writes, checksums.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sweeps import (
    MARKS,
    SLOT,
    UserError,
    check_file,
    seal,
    warn_once,
    write_whole,
)
from vaeexp.data.values import Values, values_of_run
from vaeexp.import_paths import flat_settings, own_paths
from vaeexp.models.networks import settings_from
from vaeexp.models.networks.stateless import set_tensors, tensors_of
from vaeexp.models.vae import VAE
from vaeexp.own_code import check_code, code_changes, code_in_process, own_code
from vaeexp.run_files import (
    SETTINGS,
    WEIGHTS,
    check_run_file,
    load_json,
    save_json,
)
from vaeexp.training import Lane, Snapshot, State

_PROGRESS = ("epoch", "best_objective", "best_epoch", "best_metrics", "stale")
"""The attributes of a lane that its checkpoint holds besides its tensors."""


def checkpoint_parts(lane: Lane, state: State) -> tuple[bytes, memoryview]:
    """Return the two parts of a checkpoint's content."""
    progress = {name: getattr(lane, name) for name in _PROGRESS}
    progress["fingerprint"] = _fingerprint(lane, averaged="average" in state)
    marks = {name: str(mark) for name, mark in MARKS.items()}
    return _sealed(state, {"vaeexp": json.dumps(progress), **marks})


def resume_lane(lane: Lane, checkpoint: tuple[dict[str, Any], State]) -> State:
    """Put the progress of a checkpoint into the lane; return its state."""
    progress, state = checkpoint
    vars(lane).update(progress)
    return state


def read_checkpoint(
    content: bytes, path: Path, lane: Lane, *, averaged: bool
) -> tuple[dict[str, Any], State] | None:
    """Return progress and state of a checkpoint with this content; None if it does not fit the
    lane.

    Raises:
        Damaged: the content is not what was written.
        UserError: another version of vaeexp wrote it in a way that this version cannot read.
    """
    check_file(content, path)
    progress = json.loads(_header(content)[0]["__metadata__"].get("vaeexp", "{}"))
    if not _fits(json.loads(progress.pop("fingerprint", "{}")), lane, averaged=averaged):
        return None
    return None if progress["epoch"] > lane.trial.epoch else (progress, _tensors(content))


def _fits(fingerprint: dict[str, Any], lane: Lane, *, averaged: bool) -> bool:
    """Return whether a checkpoint with this fingerprint fits a lane. Settings that its version of
    vaeexp did not have stood at their defaults."""
    defaults = json.loads(json.dumps(type(lane.settings)().flat(), default=str))
    completed = fingerprint | {"settings": defaults | fingerprint.get("settings", {})}
    return completed == json.loads(_fingerprint(lane, averaged=averaged))


def _fingerprint(lane: Lane, *, averaged: bool) -> str:
    """Return settings, seed, shapes and `averaged` as text; a checkpoint fits a lane if their
    fingerprints are equal.
    """
    facts = {
        "settings": lane.settings.flat(),
        "seed": lane.trial.seed,
        "shapes": {name: list(shape) for name, shape in lane.layout.shapes.items()},
        "averaged": averaged,
        **_code(lane),
    }
    return json.dumps(facts, sort_keys=True, default=str)


def _code(lane: Lane) -> dict[str, Any]:
    """Return the user's own code of a lane as `own_code`; nothing where the settings name none."""
    code = code_in_process(own_paths(lane.settings.flat()))
    return {"own_code": code} if code else {}


def save_weights(path: Path, lane: Lane, snapshot: Snapshot) -> str:
    """Write the plain state dict of the lane's model after an epoch, with the epoch in the header;
    return the file's SHA-256.

    The schema number is that of `settings.json` beside the file: a number inside would change the
    hash that records of earlier versions have, and such runs could not be restored.
    """
    weights = snapshot.weights.cpu()
    buffers = snapshot.buffers.cpu()
    tensors = {**lane.layout.read(weights), **lane.buffer_layout.read(buffers)}
    return save_tensors(path, tensors, {"epoch": str(snapshot.epoch)})


def save_settings(folder: Path, lane: Lane, values: Values, origin: Mapping[str, Any]) -> None:
    """Write `settings.json`, which lies beside the weights.

    `origin` is added to the settings: study, study_seed, fingerprint of the data, arithmetic.
    """
    settings = {
        name: dict(getattr(lane.settings, name))
        for name in ("data", "model", "train", "evaluation")
    }
    trial = {
        "seed": lane.trial.seed,
        "number": lane.trial.number,
        "params": dict(lane.trial.params),
    }
    save_json(
        folder / SETTINGS,
        {**settings, **trial, "values": values.record(), **origin, **_code(lane)},
    )


def load_model(folder: Path, weights: str = WEIGHTS, *, allow_code: bool = False) -> VAE:
    """Return the model of a finished trial, in evaluation mode, from its folder alone, without
    pickle.

    `weights` is the file with the weights: those of the best epoch, or `LAST`. `allow_code` allows
    the modules that a run from elsewhere names.

    Raises:
        UserError: the run comes from elsewhere, and names a module that its user has not allowed;
            or the code of its network has changed, so that the weights do not fit.
        FileNotFoundError: the folder holds no weights.
        Damaged: settings or weights are not what was written.
        ValueError: the user's own network cannot be imported.
    """
    settings = load_json(folder / SETTINGS)
    flat = flat_settings(settings)
    check_code(str(folder), flat, folder, allow=allow_code)
    tensors = load_tensors(folder / weights)
    vae = VAE(settings_from(settings["model"]), values_of_run(settings))
    shapes = {name: tensor.shape for name, tensor in tensors_of(vae).items()}
    changes = []
    if "own_code" in settings:
        changes = code_changes(settings["own_code"], own_code(own_paths(flat)))
    differs = (
        f"the code of {', '.join(own_paths(flat))} has changed since it was trained "
        f"({'; '.join(changes) or 'other tensors'})"
    )
    if shapes != {name: tensor.shape for name, tensor in tensors.items()}:
        problem = f"{differs}, so that its weights do not fit. Put the code back as it was."
        raise UserError(str(folder), problem)
    if changes:
        warn_once(f"{folder}: {differs}. What it gives now is not what its study measured.")
    set_tensors(vae, tensors)
    return vae.eval()


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays as npz, with schema number, version and seal in the comment of the zip file,
    atomically.
    """
    stored = io.BytesIO()
    np.savez_compressed(stored, allow_pickle=False, **arrays)
    with zipfile.ZipFile(stored, "a") as file:
        file.comment = json.dumps({**MARKS, "sha256": SLOT}).encode()
    sealed = seal(stored.getvalue())
    write_whole(path, lambda unfinished: unfinished.write_bytes(sealed))


def save_tensors(path: Path, tensors: State, facts: Mapping[str, str]) -> str:
    """Write tensors as safetensors with these facts and a seal in the header, atomically; return
    the SHA-256 of the file.
    """
    parts = _sealed(tensors, facts)
    write_whole(path, lambda unfinished: write_parts(unfinished, parts), durable=True)
    digest = hashlib.sha256(parts[0])
    digest.update(parts[1])
    return digest.hexdigest()


def load_tensors(path: Path) -> State:
    """Return the tensors that `save_tensors` wrote.

    Raises:
        OSError: the file cannot be read.
        Damaged: its content does not match its seal, or it has no seal.
        UserError: another version of vaeexp wrote it in a way that this version cannot read.
    """
    content = path.read_bytes()
    check_run_file(content, path)
    return _tensors(content)


def _sealed(tensors: State, facts: Mapping[str, str]) -> tuple[bytes, memoryview]:
    """Return tensors as the two parts of a safetensors file, with these facts and a seal in the
    metadata of its header.

    The same tensors and facts give the same bytes.
    """
    from safetensors.torch import save

    # Not `save_file`, because it makes files that only their owner may read, and a lab shares its
    # runs.
    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    # `save` would write the metadata itself, in another order in each process.
    header, end = _header(content)
    text = json.dumps(
        {"__metadata__": {**facts, "sha256": SLOT}, **header}, separators=(",", ":")
    ).encode()
    text += b" " * (-len(text) % 8)  # the format aligns the tensors
    numbers = memoryview(content)[end:]
    return seal(len(text).to_bytes(8, "little") + text, numbers), numbers


def write_parts(path: Path, parts: tuple[bytes, memoryview]) -> None:
    """Write the two parts of a file."""
    with path.open("wb") as file:
        file.writelines(parts)


def _header(content: bytes) -> tuple[dict[str, Any], int]:
    """Return the header of a safetensors file, and where it ends."""
    end = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:end]), end


def _tensors(content: bytes) -> State:
    from safetensors.torch import load

    return load(content)
