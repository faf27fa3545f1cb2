"""What the folders around image files mean: splits, labels of other tasks, and classes. Looks at
names alone.

Splits go by many names: `train/`, `Training_Set/`, `seg_train/`, `val2017/`. A folder name is cut
into words. It names a split where one of the words does and the other words are the same for all
splits (`dogs_train/`, `dogs_test/`). Splits may lie deeper (`archive/images/training/`).
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

_EVALUATION = 3  # the test split, or the validation split where a test split is there


def word_set(text: str) -> frozenset[str]:
    """Return the words of a text."""
    return frozenset(text.split())


_SPLIT_WORDS = {
    TRAINING: word_set("train training trn trainval"),
    VALIDATION: word_set("val valid validation validate dev development"),
    TEST: word_set("test testing tst holdout"),
    _EVALUATION: word_set("eval evaluation evaluate"),
}
# With a word like images: a class may be named so.
_SHORT = {"tr": TRAINING, "va": VALIDATION, "ts": TEST, "te": TEST}
_IMAGES = word_set("image images img imgs jpegimages picture pictures photo photos frames rgb")
_LABELS = word_set(
    "annotation annotations annot annots label labels mask masks gt truth groundtruth segmentation "
    "segmentations seglabels trimaps depth boxes bbox target targets"
)
_FILLERS = _IMAGES | word_set(
    "set sets data dataset folder dir files split splits seg sample samples"
)
_PIECES = word_set("fold folds part parts cv batch shard chunk subset")
_GLUED = re.compile(r"(.+?)(set|data|dataset|images|imgs)")
_LIKE = re.compile(
    "(?:(train(?:ings?)?|lern|labell?ed)|(val)(?:id(?:ations?|ierungs?)?)?|test|unlabell?ed)"
    "(set|.{4,})?"
)
"""Names like training, with a first group, or like the rest, with a second one for validation; then
`daten`, `satz`; not the end of `trained` or `tester`.
"""
_NAMED = 8
_PLAIN = {TRAINING: ("train",), VALIDATION: ("val", "valid", "validation"), TEST: ("test",)}


class _Name(NamedTuple):
    """A folder name read as that of a split: its part, and its other words."""

    part: int
    others: tuple[str, ...]


@cache
def _words(name: str) -> tuple[str, ...]:
    """Return the words and numbers of a name, in small letters: `trainA-2` has train, a, 2."""
    return tuple(re.findall(r"[^\W\d_]+|\d+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()))


def _joined_words(name: str) -> tuple[str, ...]:
    """Return the words of a name, in which `train_val` is one word."""
    joined: list[str] = []
    for word in _words(name):
        if joined and joined[-1] == "train" and word in _SPLIT_WORDS[VALIDATION]:
            joined[-1] = "trainval"
        else:
            joined.append(word)
    return tuple(joined)


@cache
def _split_word(word: str) -> int | None:
    glued = _GLUED.fullmatch(word)
    for part, names in _SPLIT_WORDS.items():
        if word in names or (glued and glued[1] in names):
            return part
    return _SHORT.get(word)


@cache
def _read_name(name: str) -> _Name | None:
    """Read a folder name as that of a split; None where no word of it, or more than one, names a
    split.
    """
    words = _joined_words(name)
    named = {word: part for word in words if (part := _split_word(word)) is not None}
    long = [word for word in words if word in named and word not in _SHORT]
    short = [word for word in words if word in _SHORT]
    if len(long or short) != 1 or not (long or _FILLERS & set(words)):
        return None
    [word] = long or short
    others = tuple(
        other
        for other in words
        if other != word and other not in _FILLERS and not other.isdecimal()
    )
    return _Name(named[word], others)


def list_tree(
    root: Path, names: Sequence[str], *, splits: "Mapping[SplitName, str] | str | None" = None
) -> Listing:
    """Find the splits and classes of the image files `names` below `root`.

    A class is the first folder below a split, and there are at least two classes. Folders of labels
    (`masks/`) beside a folder of images, and folders beside the splits, are left out. `splits` is
    the setting. Raises UserError where folders look like splits and it cannot be told whether they
    are.
    """
    images = _without_label_folders(names)
    if isinstance(splits, Mapping):
        found, notes = _by_patterns(images, splits)
    else:
        home, folders = ("", {}) if splits else _find_splits(root, _subfolders(images))
        part_of = {f"{home}{folder}/": part for folder, part in folders.items()}
        if not folders:
            common = os.path.commonpath([os.path.dirname(name) for name in images])
            part_of = {f"{common}/" if common else "": TRAINING}
        pairs = product(images, part_of.items())
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


def _without_label_folders(names: Sequence[str]) -> list[str]:
    """Leave out the files in folders of labels (`masks/`, `annotations/`) that stand beside a
    folder of images.
    """
    dropped: tuple[str, ...] = ()
    for path, folders in _subfolders(names).items():
        words = {folder: set(_words(folder)) for folder in folders}
        pictures = {folder for folder in folders if _IMAGES & words[folder]}
        if pictures:
            labels = [folder for folder in folders if _LABELS & words[folder]]
            dropped += tuple(f"{path}{folder}/" for folder in labels if folder not in pictures)
    return [name for name in names if not name.startswith(dropped)] if dropped else list(names)


def _find_splits(root: Path, folders: Mapping[str, list[str]]) -> tuple[str, dict[str, int]]:
    """Return the folder that holds the splits, and the part of each split; no parts where nothing
    is named so.

    Raises UserError where it cannot be told whether folders are splits, and where several folders
    hold splits.
    """
    found = dict[str, dict[str, int]]()
    ahead = [""]
    while ahead:
        home = ahead.pop()
        if (splits := _splits(folders.get(home, []))) is None:
            raise UserError(str(root), _doubt(home, folders[home]))
        if alike := _alike(home, folders) if not splits else {}:
            raise UserError(str(root), _alike_doubt(home, alike))
        if splits:
            found[home] = splits
        else:
            ahead += [f"{home}{folder}/" for folder in folders.get(home, [])]
    if len(found) > 1:
        homes = ", ".join(
            f"{printable(home)} ({', '.join(found[home])})" for home in sorted(found)[:_NAMED]
        )
        problem = f"got {len(found):,} folders that hold splits: {homes}; must be one"
        example = printable(min(found))
        raise UserError(
            str(root), f"{problem}. Try --data for one of them, as {example}. {_REMEDY}."
        )
    return found.popitem() if found else ("", {})


def _alike(home: str, folders: Mapping[str, list[str]]) -> dict[str, str]:
    """Return train, validation or test → a folder that is named so in other words, as `Lerndaten`
    and `Testdaten`; empty unless one of the rest shares a class folder with that of training, or
    holds files alone.
    """
    below = {folder: {*folders.get(f"{home}{folder}/", [])} for folder in folders.get(home, [])}
    named = dict[str, re.Match[str]]()
    for folder in below:
        words = (word for word in _words(folder) if word not in _FILLERS and not word.isdecimal())
        if like := _LIKE.fullmatch("".join(words)):
            named[folder] = like
    for first, train in named.items():
        found = {"train": first}
        for second, rest in named.items():
            alike = not below[second] or below[first] & below[second]
            if train[1] and not rest[1] and rest[3] == train[3] and alike:
                found["validation" if rest[2] else "test"] = second
        if len(found) > 1:
            return found
    return {}


def _alike_doubt(home: str, alike: Mapping[str, str]) -> str:
    patterns = {split: f"{home}{folder}/*" for split, folder in alike.items()}
    option = shlex.quote(f"splits={json.dumps(patterns, ensure_ascii=False)}")
    shown = ", ".join(f"{printable(home + folder)}/" for folder in alike.values())
    return (
        f"got {shown}, which may be splits or classes. If they are splits, --set {option}. If they "
        "are classes, --set splits=none."
    )


def _doubt(home: str, folders: Sequence[str]) -> str:
    named = [folder for folder in folders if _read_name(folder)]
    shown = ", ".join(f"{printable(home + folder)}/" for folder in named[:_NAMED])
    others = len(folders) - len(named)
    beside = f" beside {others:,} other folder{'s' * (others != 1)}" if others else ""
    return f"got {shown}{beside}, which may be splits or classes. {_REMEDY}."


_REMEDY = (
    "If folders are splits, name them train/, val/ and test/, each once, with at least train/ "
    "and one other, or --set 'splits={train: GLOB, test: GLOB}'. If they are classes, --set "
    "splits=none"
)


def _splits(folders: Sequence[str]) -> dict[str, int] | None:
    """Return the part of each folder that is a split; empty where none is named so. None where it
    cannot be told.

    There must be one folder to train on, and one folder for validation or test, or no other folder
    at all.
    """
    groups = defaultdict[tuple[str, ...], dict[str, int]](dict)
    for folder in folders:
        if name := _read_name(folder):
            groups[name.others][folder] = name.part
    if len(folders) == 1 and list(groups) == [()] and TRAINING in groups[()].values():
        return groups[()]
    found = []
    for parts in groups.values():
        evaluation = VALIDATION if TEST in parts.values() else TEST
        settled = {
            folder: evaluation if part == _EVALUATION else part for folder, part in parts.items()
        }
        if TRAINING in settled.values() and 1 < len(settled) == len(set(settled.values())):
            found.append(settled)
    if not found:
        return None if _look_like_splits(folders) else {}
    return found[0] if len(found) == 1 else None


def _look_like_splits(folders: Sequence[str]) -> bool:
    """Tell whether folders that are no complete splits may have been meant so.

    They may where nothing but a letter, a number or a word like `fold` stands beside the word
    (`test`, `train_a`, `fold1_train`), and where all are named so and not all alike. `bullet_train`
    and `test_tube` are classes.
    """
    names = list(filter(None, map(_read_name, folders)))
    bare = any(all(len(word) == 1 or word in _PIECES for word in name.others) for name in names)
    return bare or (len(names) == len(folders) and len({name.part for name in names}) > 1)


def _split_note(home: str, splits: Mapping[str, int]) -> str:
    """Name the folders, and the part of those whose name does not say it."""
    shown = []
    for folder, part in sorted(splits.items(), key=lambda split: (split[1], split[0])):
        plain = folder.lower() in _PLAIN[part]
        shown.append(
            f"{printable(folder)}/" if plain else f"{printable(folder)}/ ({PART_NAMES[part]})"
        )
    return f"Split: as in the folders {', '.join(shown)}" + (
        f" of {printable(home)}" if home else ""
    )


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
