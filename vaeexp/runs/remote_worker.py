"""Run the lanes of one device on another machine, which has the same images."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sweeps.errors import UserError
from vaeexp.data import Dataset, open_dataset
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
    **others: Any,
) -> TrainingLanes:
    """Open the lanes of a worker on a machine of a cluster.

    Args:
        settings: the fixed settings of the study.
        fingerprints: binarisation → fingerprint of the images that the driver has.
        data: folder with the image files, or the file of arrays; None: as without `--data` on this machine.
        full_data: whether the bundled subset is refused.
        others: with `settings`, the arguments of `open_lanes`, but for `datasets`.

    Raises:
        UserError: the images are others than the driver's.
    """
    host = os.uname().nodename
    datasets = {
        binarisation: _open_same(settings, binarisation, fingerprint, data, full_data, host)
        for binarisation, fingerprint in fingerprints.items()
    }
    return open_lanes(settings=settings, datasets=datasets, **others)


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
