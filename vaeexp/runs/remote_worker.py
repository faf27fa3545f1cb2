"""Run the lanes of one device on another machine: one that computes as the driver's does and has the same images."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sweeps.errors import UserError
from vaeexp.data import Dataset, open_dataset
from vaeexp.runs.provenance import arithmetic
from vaeexp.runs.worker import open_lanes
from vaeexp.settings import Settings
from vaeexp.training.groups.lanes import TrainingLanes

_SHOWN = 12  # digits of a fingerprint in a message
_log = logging.getLogger(__name__)


def open_remote_lanes(
    *,
    settings: Settings,
    fingerprints: Mapping[str, str],
    data: str | None,
    full_data: bool,
    expected: Mapping[str, Any],
    device: str,
    precision: str,
    fuse: bool,
    compile: bool,
    threads: int | None,
    **others: Any,
) -> TrainingLanes:
    """Open the lanes of a worker on a machine of a cluster.

    Args:
        settings: the fixed settings of the study.
        fingerprints: binarisation → fingerprint of the images that the driver has.
        data: folder with the image files, or the file of arrays; None: as without `--data` on this machine.
        full_data: whether the bundled subset is refused.
        expected: `arithmetic` of the driver's machine.
        others: with the named ones, the arguments of `open_lanes`, but for `datasets`.

    Raises:
        UserError: torch or the processor are others than the driver's, or the images are.
    """
    running: dict[str, Any] = {"precision": precision, "fuse": fuse, "compile": compile, "threads": threads}
    here, host = arithmetic(device, **running), os.uname().nodename
    if other := [f"{name} {here[name]}, not {value}" for name, value in expected.items() if here[name] != value]:
        problem = (
            f"computes otherwise than the driver's machine: {'; '.join(other)}. Give the study machines of one kind."
        )
        raise UserError(host, problem)
    datasets = {
        binarisation: _open_same(settings, binarisation, fingerprint, data, full_data, host)
        for binarisation, fingerprint in fingerprints.items()
    }
    return open_lanes(settings=settings, datasets=datasets, device=device, **running, **others)


def _open_same(
    settings: Settings, binarisation: str, fingerprint: str, data: str | None, full_data: bool, host: str
) -> Dataset:
    """Open the images on this machine. Raises UserError if they are others than the driver's."""
    wanted = settings.with_params({"binarisation": binarisation}).data
    dataset = open_dataset(wanted, root=None if data is None else Path(data), full_data=full_data, say=_log.info)
    if dataset.fingerprint != fingerprint:
        problem = (
            f"has other images than the driver: {dataset.title} ({dataset.source}), fingerprint {dataset.fingerprint[:_SHOWN]}, not "
            f"{fingerprint[:_SHOWN]}. Put the same files at the same path, or name them there with VAEEXP_DATA."
        )
        raise UserError(host, problem)
    return dataset
