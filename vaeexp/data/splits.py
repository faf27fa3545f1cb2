"""Splits that keep groups together, or follow time: which images train, validate and are tested on.

The groups of a test split are fixed for ever, as the images of a drawn one are: they do not depend
on the study's split seed.
"""

import hashlib

import numpy as np

from sweeps import UserError
from vaeexp.data.formats import PART_NAMES, TEST, TRAINING, VALIDATION

_TENTH = 10


def split_groups(
    parts: np.ndarray, groups: np.ndarray, validation: int, seed: int, root: str
) -> np.ndarray:
    """Return the parts of images such that no group lies in two of them, uint8 [N].

    Where there is no test split, groups are drawn for it until they hold a tenth of the images;
    where there is no validation split, groups of the others until they hold `validation` images,
    or a tenth. Groups are drawn by the hash of their name. Raises UserError where splits that the
    files have share a group, and where there are too few groups.
    """
    names, number = np.unique(groups, return_inverse=True)
    parts = parts.copy()
    _check_apart(parts, number, names, root)
    if TEST not in parts:
        most = max(1, round(len(parts) / _TENTH))
        left = 1 + (VALIDATION not in parts)
        _draw(parts, number, names, TEST, most, "test", left)
    if VALIDATION not in parts:
        most = min(validation, max(1, round((parts == TRAINING).sum() / _TENTH)))
        _draw(parts, number, names, VALIDATION, most, f"validation/{seed}", 1)
    for part, name in PART_NAMES.items():
        if part not in parts:
            problem = f"got {len(names):,} groups by data.split_by; must be at least 3"
            raise UserError(root, f"{problem}, so that each split has one: {name} has none.")
    return parts


def _check_apart(parts: np.ndarray, number: np.ndarray, names: np.ndarray, root: str) -> None:
    """Raise UserError where a group lies in two of the splits that the files have."""
    there = np.unique(parts).tolist()
    for index, part in enumerate(there):
        for other in there[index + 1 :]:
            both = np.intersect1d(number[parts == part], number[parts == other])
            if len(both):
                problem = f"got the group '{names[both[0]]}' in the splits {PART_NAMES[part]} and"
                raise UserError(
                    root,
                    f"{problem} {PART_NAMES[other]} ({len(both):,} such groups); data.split_by "
                    "asks for groups that are in one. Move their images, or leave split_by out.",
                )


def _draw(
    parts: np.ndarray,
    number: np.ndarray,
    names: np.ndarray,
    part: int,
    most: int,
    purpose: str,
    left: int,
) -> None:
    """Give groups of training images to a part, in the order of their hash, until it holds so many
    images; so many groups are left to train on, and to validate.
    """
    free = np.unique(number[parts == TRAINING])
    keys = [hashlib.sha256(f"{purpose}/{names[group]}".encode()).digest() for group in free]
    order = [group for _, group in sorted(zip(keys, free.tolist(), strict=True))]
    held = 0
    for group in order[: max(0, len(order) - left)]:
        if held >= most:
            return
        rows = number == group
        parts[rows & (parts == TRAINING)] = part
        held += int(rows.sum())


def split_time(
    parts: np.ndarray, times: np.ndarray | None, validation: int, root: str
) -> np.ndarray:
    """Return the parts of images in time, uint8 [N]: the last tenth is tested on, and the images
    before it validate, `validation` of them or a tenth.

    times: of each image, numbers or text in the order of time; None: the order of the file. Images
        of one time stay together. Raises UserError where the files have splits of their own.
    """
    if (parts != TRAINING).any():
        raise UserError(
            root, "got splits in the files; data.split: time needs one part. Try random."
        )
    count = len(parts)
    order = np.arange(count) if times is None else np.argsort(times, kind="stable")
    tenth = max(1, round(count / _TENTH))
    held = min(validation, tenth)
    first_test = _back_to_start(times, order, count - tenth)
    first_validation = _back_to_start(times, order, first_test - held)
    if first_validation < 1:
        problem = f"got {count:,} images of too few different times; must leave some to train on"
        raise UserError(root, problem)
    parts = parts.copy()
    parts[order[first_test:]] = TEST
    parts[order[first_validation:first_test]] = VALIDATION
    return parts


def _back_to_start(times: np.ndarray | None, order: np.ndarray, place: int) -> int:
    """Return the place in the order at which the images of this place's time begin."""
    if times is None or place <= 0:
        return place
    first = np.searchsorted(times[order], times[order[place]], side="left")
    return int(first)
