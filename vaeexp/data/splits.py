"""Splits that keep groups together, or follow time: which images train, validate and are tested on.

The groups of a test split are fixed for ever, as the images of a drawn one are: they do not depend
on the study's split seed.
"""

import hashlib
import unicodedata
from collections.abc import Callable
from itertools import combinations

import numpy as np

from sweeps import UserError
from vaeexp.data.formats import PART_NAMES, TEST, TRAINING, VALIDATION, printable, row_words
from vaeexp.data.times import ranks_of
from vaeexp.words import format_share

_TENTH = 10
_LARGE = 2
"""How many times as many images as wanted a group has that is not drawn while others can be."""
_MISSING = ("", "nan", "NaN", "NaT", "None", "<NA>")
"""What programs write as text where there is no value."""

Where = Callable[[int], str]
"""Row → its name in the file, for an error."""


def split_groups(
    parts: np.ndarray,
    groups: np.ndarray,
    validation: int,
    seed: int,
    root: str,
    where: Where = row_words,
) -> np.ndarray:
    """Return the parts of images such that no group lies in two of them, uint8 [N].

    Where there is no test split, groups are drawn for it until they hold a tenth of the images;
    where there is no validation split, groups of the others until they hold `validation` images,
    or a tenth. Groups are drawn by the hash of their name, large ones last. Raises UserError where
    groups are missing, where splits that the files have share a group, and where there are too few
    groups.
    """
    _check_known(groups, "groups", root, where)
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
            problem = f"got {len(names):,} groups by data.split_by or of pages; must be at least 3"
            raise UserError(root, f"{problem}, so that each split has one: {name} has none.")
    return parts


def joined_spellings(groups: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Return groups [N] in which texts that differ in spaces, in what is invisible, or in the form
    of Unicode (NFKC) alone are one group, and the spellings that were joined.

    Other names stay as they are, because groups are drawn by their names.
    """
    names, number = np.unique(groups, return_inverse=True)
    if names.dtype.kind != "U":
        return groups, []
    plain = np.array([_plain(name) for name in names.tolist()])
    _, place, count = np.unique(plain, return_inverse=True, return_counts=True)
    several = count[place] > 1
    kept = np.where(several, plain, names)
    return kept[number.reshape(-1)], names[several].tolist()


def _plain(name: str) -> str:
    letters = unicodedata.normalize("NFKC", name)
    # Category Cf: zero-width spaces, marks of direction and of byte order.
    return " ".join("".join(x for x in letters if unicodedata.category(x) != "Cf").split())


def _check_apart(parts: np.ndarray, number: np.ndarray, names: np.ndarray, root: str) -> None:
    """Raise UserError where a group lies in two of the splits that the files have."""
    for part, other in combinations(np.unique(parts).tolist(), 2):
        both = np.intersect1d(number[parts == part], number[parts == other])
        if len(both):
            problem = f"got the group '{names[both[0]]}' in the splits {PART_NAMES[part]} and"
            raise UserError(
                root,
                f"{problem} {PART_NAMES[other]} ({len(both):,} such groups); data.split_by asks "
                "for groups that are in one. Move their images, or leave split_by out.",
            )


def _check_known(values: np.ndarray, kind: str, root: str, where: Where) -> None:
    """Raise UserError where groups or times [N] are missing: empty, NaN or NaT."""
    if values.dtype.kind == "U":
        missing = np.isin(np.char.strip(values), _MISSING)
    elif values.dtype.kind in "mM":
        missing = np.isnat(values)
    else:
        missing = ~np.isfinite(values)
    if missing.any():
        problem = f"got {missing.sum():,} of {len(values):,} {kind} by data.split_by empty or NaN,"
        problem += f" the first in {where(int(missing.argmax()))}; must be one for each row"
        remedy = "a group of its own" if kind == "groups" else "its time"
        raise UserError(root, f"{problem}. Leave these rows out, or give each {remedy}.")


def _draw(
    parts: np.ndarray,
    number: np.ndarray,
    names: np.ndarray,
    part: int,
    most: int,
    purpose: str,
    left: int,
) -> None:
    """Give groups of training images to a part until it holds `most` images; `left` groups are left
    to train on, and to validate.

    Groups come in the order of their hash. A large group has more than twice as many images as
    `most`, and as the lower quartile of groups. It is drawn only where the others do not hold half
    of `most`; then the smallest of these comes first. Where no large group can be spared, a first
    split takes half of what the others hold, so that the next has the same.
    """
    free, sizes = np.unique(number[parts == TRAINING], return_counts=True)
    keys = [hashlib.sha256(f"{purpose}/{names[group]}".encode()).digest() for group in free]
    by_key = sorted(zip(keys, free.tolist(), sizes.tolist(), strict=True))
    usual = np.sort(sizes)[(len(sizes) - 1) // 4] if len(sizes) else 0
    limit = _LARGE * max(most, usual)
    # Large ones last, the smallest of them first.
    drawn = sorted((each[1:] for each in by_key), key=lambda each: each[1] * (each[1] > limit))
    small = [size for _, size in drawn if size <= limit]
    held = 0
    first = left > 1 and len(drawn) - len(small) <= left
    filled = min(most, max(1, sum(small) // 2)) if first else most
    for group, size in drawn[: max(0, len(free) - left)]:
        enough = filled if size <= limit else most / _LARGE
        if held >= enough:
            return
        parts[(number == group) & (parts == TRAINING)] = part
        held += size


def large_groups(parts: np.ndarray, groups: np.ndarray | None) -> list[str]:
    """Return a sentence for each group that has more than a fifth of the images, twice what a split
    is to hold. parts [N] are those of the split.
    """
    if groups is None:
        return []
    names, number, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    notes = []
    for group in np.flatnonzero(sizes > _LARGE * len(parts) / _TENTH):
        part = int(parts[number.reshape(-1) == group][0])
        share = format_share(sizes[group] / len(parts))
        sentence = f"Group: '{printable(str(names[group]))}' has {share} of the images"
        if part == TRAINING:
            notes.append(f"{sentence}, and is trained on")
        else:
            held = format_share((parts == part).mean())
            name = PART_NAMES[part]
            notes.append(f"{sentence}, so {name} has {held} of them, not about a tenth")
    return notes


def known_times(times: np.ndarray, root: str, where: Where = row_words) -> np.ndarray:
    """Return numbers [N] in the order of the times [N]. Raises UserError where times are missing or
    of no sure order.
    """
    _check_known(times, "times", root, where)
    return ranks_of(times, root, where)


def spans(parts: np.ndarray, times: np.ndarray, said: Callable[[int], str]) -> str:
    """Say from where to where each split goes in time; `said` names the time of a row, or its
    file.
    """
    order = np.argsort(times, kind="stable")
    words = list[str]()
    for part, name in PART_NAMES.items():
        own = order[parts[order] == part].tolist()
        words.append(f"{name} from {said(own[0])} to {said(own[-1])}")
    return f"In time: {', '.join(words)}"


def split_time(
    parts: np.ndarray,
    times: np.ndarray | None,
    validation: int,
    root: str,
) -> np.ndarray:
    """Return the parts of images in time, uint8 [N]: the last tenth is tested on, and the images
    before it validate, `validation` of them or a tenth.

    times: of each image, numbers or dates as `ranks_of` reads them; None: the order of the file.
        Images of one time stay together.

    Raises UserError where times are missing or of no sure order, and where the files have splits of
    their own.
    """
    if (parts != TRAINING).any():
        raise UserError(
            root, "got splits in the files; data.split: time needs one part. Try random."
        )
    count = len(parts)
    times = np.arange(count) if times is None else known_times(times, root)
    order = np.argsort(times, kind="stable")
    tenth = max(1, round(count / _TENTH))
    held = min(validation, tenth)
    first_test = _back_to_start(times[order], count - tenth)
    first_validation = _back_to_start(times[order], first_test - held)
    if first_validation < 1:
        problem = f"got {count:,} images of too few different times; must leave some to train on"
        raise UserError(root, problem)
    parts = parts.copy()
    parts[order[first_test:]] = TEST
    parts[order[first_validation:first_test]] = VALIDATION
    return parts


def _back_to_start(times: np.ndarray, place: int) -> int:
    """Return the place in times that rise at which those of this place's time begin."""
    return int(np.searchsorted(times, times[max(place, 0)]))
