"""What the folders around image files mean: splits and classes. Looks at names alone.

A folder name is cut into words. It names a split where one of its words does (`train/`,
`Training_Set/`, `val2017/`) and the others say nothing. Splits may lie deeper
(`archive/images/training/`). Folders like splits in other words (`dogs_train/`, `Testdaten/`) are
refused, and so are folders of labels (`masks/`) beside images; the setting `splits` decides.
"""

import json
import os
import re
import shlex
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cache
from itertools import pairwise, product
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sweeps import UserError
from vaeexp.data.formats import (
    PART_NAMES,
    TEST,
    TRAINING,
    VALIDATION,
    class_notes,
    printable,
    some_of,
)
from vaeexp.data.formats.image_files import Listing

if TYPE_CHECKING:
    from vaeexp.settings import SplitName


def word_set(text: str) -> frozenset[str]:
    """Return the words of a text."""
    return frozenset(text.split())


_STANDARD = {
    TRAINING: word_set("train training trn trainval"),
    VALIDATION: word_set("val valid validation validate dev development"),
    TEST: word_set("test testing tst holdout"),
}
_LIKE = {
    TRAINING: word_set("trainings tr lern labeled labelled"),
    VALIDATION: word_set("validations validierung validierungs"),
    TEST: word_set("ts unlabeled unlabelled eval evaluation evaluate"),
}
"""Words that name a split, too, but not surely."""
_IMAGES = word_set("image images img imgs jpegimages picture pictures photo photos frames rgb")
_LABELS = word_set(
    "annotation annotations annot annots label labels mask masks gt truth groundtruth segmentation "
    "segmentations seglabels trimaps depth boxes bbox target targets"
)
_FILLERS = _IMAGES | word_set(
    "set sets data dataset folder dir files split splits seg sample samples"
)
_TRAINVAL = re.compile(r"train[\W_]*val(id|idation)?(?![^\W\d_])")
_GLUED = re.compile(r"(?<=[^\W\d_])(dataset|data|set|images|imgs|daten|satz|bilder)(?![^\W\d_])")
_NAMED = 8


class _Name(NamedTuple):
    """A folder name read as that of a split: its part, its other words, and whether its word is a
    standard one.
    """

    part: int
    others: tuple[str, ...]
    standard: bool


@cache
def _words(name: str) -> tuple[str, ...]:
    """Return the words and numbers of a name, in small letters: `trainA-2` has train, a, 2;
    `testset` has test, set; `train_val` is one word.
    """
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
    text = _GLUED.sub(r" \1", _TRAINVAL.sub("trainval", text))
    return tuple(re.findall(r"[^\W\d_]+|\d+", text))


@cache
def _read_name(name: str) -> _Name | None:
    """Read a folder name as that of a split, standard words first; None where no word of it, or
    more than one, names a split.
    """
    words = [word for word in _words(name) if word not in _FILLERS and not word.isdecimal()]
    found = [
        _Name(part, tuple(other for other in words if other != word), table is _STANDARD)
        for word, table, part in product(words, (_STANDARD, _LIKE), PART_NAMES)
        if word in table[part]
    ]
    found = [name for name in found if name.standard] or found
    return found[0] if len(found) == 1 else None


def list_tree(
    root: Path, names: Sequence[str], *, splits: "Mapping[SplitName, str] | str | None" = None
) -> Listing:
    """Find the splits and classes of the image files `names` below `root`.

    A class is the first folder below a split, and there are at least two classes. Folders beside
    the splits are left out. `splits` is the setting. Raises UserError where folders look like
    splits and it cannot be told whether they are, and for folders of labels.
    """
    if isinstance(splits, Mapping):
        found, notes = _by_patterns(names, splits)
        _refuse_labels(root, [name for name, _, _ in found])
    else:
        _refuse_labels(root, names)
        home, folders = ("", {}) if splits else _find_splits(root, _subfolders(names))
        part_of = {f"{home}{folder}/": part for folder, part in folders.items()}
        if not folders:
            common = os.path.commonpath([os.path.dirname(name) for name in names])
            part_of = {f"{common}/" if common else "": TRAINING}
        pairs = product(names, part_of.items())
        found = [(name, *each) for name, each in pairs if name.startswith(each[0])]
        notes = [_split_note(home, folders)] if folders else []
    inside = [name for name, _, _ in found]
    rests = [name.removeprefix(prefix) for name, prefix, _ in found]
    parts = np.array([part for _, _, part in found], dtype=np.uint8)
    classes, labels, unlabelled = _classes(rests, parts)
    return Listing(
        title=printable(root.resolve().name),
        root=root,
        names=inside,
        parts=parts,
        labels=labels,
        classes=classes,
        notes=(
            *notes,
            *class_notes(labels, parts, classes, unlabelled),
            *_left_out(names, inside),
        ),
        unlabelled=unlabelled,
    )


def _by_patterns(
    names: Sequence[str], splits: "Mapping[SplitName, str]"
) -> tuple[list[tuple[str, str, int]], list[str]]:
    """Return (name, folder before the first wildcard, part) of each file that a pattern takes in,
    and the note. Raises UserError for a pattern that takes in no file, and for a file of two.
    """
    found: list[tuple[str, str, int]] = []
    for split, pattern in splits.items():
        folder = re.split(r"[*?\[]", pattern)[0].rpartition("/")
        part = [*PART_NAMES.values()].index(split)
        taken = [name for name in names if fnmatchcase(name, pattern)]
        if not taken:
            problem = f"got '{pattern}', which takes in none of the image files, such as"
            raise UserError(f"data.splits.{split}", f"{problem} '{printable(names[0])}'.")
        found += [(name, "".join(folder[:2]), part) for name in taken]
    found.sort()
    for (name, *_), (again, *_) in pairwise(found):
        if name == again:
            problem = f"got two patterns that take in '{printable(name)}'; must be one for a file."
            raise UserError("data.splits", problem)
    if "train" not in splits:
        raise UserError("data.splits", "got no pattern of images to train on; must have `train`.")
    return found, [f"Split: {', '.join(f'{name} {text}' for name, text in splits.items())}"]


def _subfolders(names: Iterable[str]) -> dict[str, list[str]]:
    """Return the folders with files below them in each folder: path, empty or with `/` at its end →
    names in order.
    """
    below = defaultdict[str, set[str]](set)
    for path in {os.path.dirname(name) for name in names}:
        above = ""
        for folder in filter(None, path.split("/")):
            below[above].add(folder)
            above += f"{folder}/"
    return {path: sorted(folders) for path, folders in below.items()}


def _refuse_labels(root: Path, names: Sequence[str]) -> None:
    """Raise UserError where a folder of labels (`masks/`) lies beside a folder of images."""
    below = _subfolders(names)
    for path, folders in below.items():
        pictures = [folder for folder in folders if _IMAGES & {*_words(folder)}]
        others = (folder for folder in folders if folder not in pictures)
        labels = [folder for folder in others if _LABELS & {*_words(folder)}]
        if pictures and labels:
            shown = some_of([printable(f"{path}{folder}/") for folder in labels])
            problem = f"got {shown} beside {printable(path + pictures[0])}/, which holds images"
            home = f"{path}{pictures[0]}/"
            inside = ((_read_name(folder), folder) for folder in below.get(home, []))
            splits = {PART_NAMES[name.part]: f"{home}{folder}/*" for name, folder in inside if name}
            option = _option(splits or {"train": f"{home}*"})
            remedy = f"must be images alone. Move labels away, or {option}, with a pattern each"
            raise UserError(str(root), f"{problem}; {remedy} for validation and test")


def _find_splits(root: Path, folders: Mapping[str, list[str]]) -> tuple[str, dict[str, int]]:
    """Return the folder that holds the splits, and the part of each split; no parts where nothing
    is named so.

    There must be one folder to train on, and one for validation or test, or no other folder at all.
    Raises UserError where it cannot be told whether folders are splits, and where several folders
    hold splits.
    """
    found = dict[str, dict[str, int]]()
    ahead = [""]
    while ahead:
        home = ahead.pop()
        inside = folders.get(home, [])
        names = {folder: name for folder in inside if (name := _read_name(folder))}
        standard = (folder for folder, name in names.items() if name.standard and not name.others)
        splits = {folder: names[folder].part for folder in standard}
        parts = {part: folder for folder, part in splits.items()}
        clear = len(parts) == len(splits) and (len(parts) > 1 or len(inside) == 1)
        if TRAINING in parts and clear:
            found[home] = splits
        elif doubted := _alike(home, folders, names) or parts:
            raise UserError(str(root), _doubt(home, doubted))
        else:
            ahead += [f"{home}{folder}/" for folder in inside]
    if len(found) > 1:
        homes = ", ".join(
            f"{printable(home)} ({', '.join(found[home])})" for home in sorted(found)[:_NAMED]
        )
        problem = f"got {len(found):,} folders that hold splits: {homes}; must be one"
        remedy = f"Try --data for one of them, as {printable(min(found))}, or {_option({})}"
        raise UserError(str(root), f"{problem}. {remedy}. If they are classes, --set splits=none.")
    return found.popitem() if found else ("", {})


def _alike(
    home: str, folders: Mapping[str, list[str]], names: Mapping[str, _Name]
) -> dict[int, str]:
    """Return part → a folder that is named so in other words, as `Lerndaten` and `Testdaten`. Empty
    unless those of training and of the rest have the same other words, or all folders are named so.

    Where a word is not surely that of a split, one of the rest must share a class folder with that
    of training, or hold files alone.
    """
    below = {folder: {*folders.get(f"{home}{folder}/", [])} for folder in folders.get(home, [])}
    training = (folder for folder, name in names.items() if name.part == TRAINING)
    for first in training:
        found = {TRAINING: first}
        for second, rest in names.items():
            alike = rest.others == names[first].others or len(names) == len(below)
            sure = rest.standard and names[first].standard
            shared = sure or not below[second] or below[first] & below[second]
            if alike and shared:
                found.setdefault(rest.part, second)
        if len(found) > 1:
            return found
    return {}


def _doubt(home: str, doubted: Mapping[int, str]) -> str:
    patterns = {PART_NAMES[part]: f"{home}{doubted[part]}/*" for part in sorted(doubted)}
    shown = ", ".join(f"{printable(home + folder)}/" for folder in doubted.values())
    return (
        f"got {shown}, which may be splits or classes. If they are splits, {_option(patterns)}. If "
        "they are classes, --set splits=none."
    )


def _option(patterns: Mapping[str, str]) -> str:
    """Return the option that names splits by patterns, with GLOB in place of those that miss."""
    missing = {"train": "GLOB"} if "train" not in patterns else {}
    given = json.dumps({**missing, **patterns}, ensure_ascii=False)
    return f"--set {shlex.quote(f'splits={given}')}"


def _split_note(home: str, splits: Mapping[str, int]) -> str:
    shown = ", ".join(f"{printable(folder)}/" for folder in sorted(splits, key=splits.__getitem__))
    return f"Split: as in the folders {shown}" + (f" of {printable(home)}" if home else "")


def _classes(
    rests: Sequence[str], parts: np.ndarray
) -> tuple[tuple[str, ...] | None, np.ndarray, tuple[int, ...]]:
    """Return class names, the label of each file, and the parts without labels; `rests` are names
    below the splits.

    A part has labels where each of its files lies in a class folder. The only folder of a part that
    is no class of the training images (`test/unknown/`) is no class.
    """
    folders = np.empty(len(rests), dtype=object)
    found = dict[int, set[str]]()
    for part in np.unique(parts).tolist():  # TRAINING is the first
        rows = np.flatnonzero(parts == part).tolist()
        below = _below_passed([rests[row] for row in rows], found.get(TRAINING, set()))
        folders[rows] = [_first_folder(rest) for rest in below]
        found[part] = set(folders[rows])
    taught = found.get(TRAINING, set())
    unlabelled = tuple(
        part
        for part, names in found.items()
        if "" in names or (len(names) == 1 and not names & taught)
    )
    labelled = [names for part, names in found.items() if part not in unlabelled]
    names = sorted(set[str]().union(*labelled))
    if len(names) < 2:
        return None, np.zeros(len(rests), dtype=np.uint8), ()
    number = {name: index for index, name in enumerate(names)}
    labels = [
        0 if part in unlabelled else number[folder]
        for folder, part in zip(folders, parts.tolist(), strict=True)
    ]
    kept = np.array(labels, dtype=np.min_scalar_type(len(names) - 1))
    return tuple(map(printable, names)), kept, unlabelled


def _first_folder(name: str) -> str:
    return name.partition("/")[0] if "/" in name else ""


def _below_passed(rests: list[str], taught: Collection[str]) -> list[str]:
    """Return the names of the files of a split below the folders that are passed: a class folder
    first, if there are any.

    A folder that holds all files, is no class in `taught` and is named as a split or as images
    (`seg_test/seg_test/`, `test/images/`) is passed.
    """
    while True:
        first = _first_folder(rests[0])
        named = _IMAGES & set(_words(first)) or _read_name(first)
        if not named or first in taught or len(set(map(_first_folder, rests))) > 1:
            return rests
        rests = [rest.partition("/")[2] for rest in rests]


def _left_out(names: Sequence[str], inside: Collection[str]) -> list[str]:
    """Count the image files that are left out, and name the folders that they lie in."""
    others = set(names).difference(inside)
    if not others:
        return []
    folders = {f"{printable(os.path.dirname(name))}/" for name in others}
    return [f"Left out: {len(others):,} image files in {some_of(sorted(folders), _NAMED)}"]
