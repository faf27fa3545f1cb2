"""Readers of image files, one module for each format, and the types that they share.

A reader finds the files of its format and reads all images and labels as they are. It draws nothing
at random.
"""

import errno
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sweeps import UserError
from vaeexp.data.formats.levels import DEEPEST, Stored

if TYPE_CHECKING:
    from vaeexp.settings import DataSettings

__all__ = [
    "TEST",
    "TRAINING",
    "VALIDATION",
    "Checksum",
    "Definition",
    "Layout",
    "RawImages",
    "RemoteFile",
    "Source",
    "Unreadable",
]

TRAINING = 0
VALIDATION = 1
TEST = 2
PART_NAMES = {TRAINING: "train", VALIDATION: "validation", TEST: "test"}
SPLIT_WORDS = PART_NAMES | {TRAINING: "training"}
"""Part → what its images are called, as in `training images`."""
EDITION = 2
"""Rises when files are read otherwise. A finished run records the edition by which its files were
read, and new files are read by it. Runs without one have edition 1.
"""
_BLOCK_BYTES = 2**26
_NUMBER = re.compile(r"((?<![0-9.])[0-9]+)(\.[0-9]+)(?!\.?[0-9])|[0-9]+")
_DIGITS = 32  # of the longest number in a name that is compared as one
_FULL = (errno.ENOSPC, errno.EDQUOT)
_OF_IMAGE_FILES = ("image_size", "crop", "image_channels", "background", "split_folders", "splits")
_OF_ARRAYS = ("images", "labels", "factors", "channels_first", "names", "drop")
ONE_CHANNEL = "image_channels: 1, or --set image_channels=1"
"""What makes image files images of one channel."""


class Unreadable(NamedTuple):
    """An image file that cannot be read: its row among the images, its name for people, and the
    problem.
    """

    row: int
    name: str
    problem: str


class Checksum(NamedTuple):
    """What is known of an official file.

    md5: of the file as it was published.
    suffix: of the published file's name, which an unpacked file lacks; empty where files are not
        packed one by one.
    content: SHA-256 of the unpacked file; empty where it is not known.
    """

    md5: str
    suffix: str = ""
    content: str = ""


class RemoteFile(NamedTuple):
    """A file that vaeexp downloads itself.

    name: below the folder of downloads, with `/`.
    md5: of the file; empty where it is not known.
    token_from: variable of the environment with a token for the host of the address; empty for
        none.
    """

    url: str
    name: str
    md5: str = ""
    token_from: str = ""


def row_words(row: int) -> str:
    """Name a row of an array: `row 1,204 (from 0)`."""
    return f"row {row:,} (from 0)"


class RawImages(NamedTuple):
    """The content of files, in their order: images [N, C, H, W], unsigned labels [N], parts
    uint8 [N].

    Images hold the numbers of the files in their own type: booleans, whole numbers or floats.
    Vectors and signals of F numbers are [N, 1, 1, F]. The images may be a memory map. Labels are
    zeros where there are no classes. A part is TRAINING, VALIDATION or TEST; files that come
    without a test split have no TEST.
    """

    images: np.ndarray
    labels: np.ndarray
    parts: np.ndarray
    classes: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    """Sentences for people: what the files hold, and what was done to it."""
    unreadable: tuple[Unreadable, ...] = ()
    """Rows of `images` that hold nothing."""
    warnings: tuple[str, ...] = ()
    """Sentences for people: what the user cannot have meant, each with what to do."""
    doubt: str = ""
    """Words for the title, where the number of images is the official one and the files are not
    known to be official.
    """
    stored: np.ndarray | None = None
    """Kind of the numbers of each image file, uint8 [N] of `Stored`; None for arrays, whose type
    says it.
    """
    largest: np.ndarray | None = None
    """Largest number that is stored for each image, int64 [N]; None where the images hold the
    numbers themselves.
    """
    read_again: Callable[[Mapping[Stored, int]], np.ndarray] | None = None
    """Write the images again where they are, with these numbers as white, and return for each image
    how many of its numbers lie above, int64 [N]. None where the images hold the numbers themselves.
    """
    reading: tuple[str, ...] = ()
    """Words for a record on what decides the pixels besides the files; empty where files are read
    as they always were.
    """
    unlabelled: tuple[int, ...] = ()
    """Parts whose images have no labels although other parts have classes; their labels are zeros
    without a meaning.
    """
    groups: np.ndarray | None = None
    """Group of each image, numbers or text [N], as `split_by` asks; None where it does not."""
    factors: np.ndarray | None = None
    """Known factors of variation, float64 [N, K], as `factors` asks."""
    factor_names: tuple[str, ...] = ()
    """Names of the K factors."""
    features: tuple[str, ...] | None = None
    """Names of the F features of a table."""
    whites: Mapping[Stored, int] | None = None
    """The number that became 255 in each kind of file, where the images were made bytes."""
    black: int = DEEPEST
    """The number that is black in TIFF files in which 0 is white."""
    names: np.ndarray | None = None
    """Name of each row for people, text [N]: what the role `names` says, the image file, or
    FILE[row]; None for data sets with a name.
    """
    named_by: str = ""
    """Column that names the rows, where no setting says so and it was found."""
    files: Sequence[tuple[str, int]] = ()
    """Name and rows of each file, in their order, where rows come from several."""
    rows: np.ndarray | None = None
    """Place in the files of each row, int64 [N], where rows were left out."""
    changed: tuple[str, ...] = ()
    """Sentences on what is read otherwise than in edition 1."""
    where: Callable[[int], str] = row_words
    """Row of the images → its name in the files, for an error: `line 5` of a .csv."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A format: how its files are named for people, found below a folder, and read."""

    expected: Callable[["Definition"], str]
    """The files, in words for an error."""
    find: Callable[["Definition", Path], tuple[Path, ...]]
    """The files below a folder (or the file itself). Empty when there is none of them; UserError
    when some are missing.
    """
    read: Callable[["Source", Path, Callable[[str], None]], RawImages]
    """All images and labels of a source. Takes a folder for large arrays and a function that tells
    people what takes long.
    """
    resized: bool = False
    """Whether each image is a file, so that `image_size`, `image_channels` and `crop` apply."""
    columns: bool = False
    """Whether `images`, `labels`, `factors` and `split_by` name columns of the files."""


@dataclass(frozen=True, kw_only=True)
class Definition:
    """A data set before its files are read. A field that is None is found in the files."""

    name: str
    title: str
    layout: Layout
    folder: str = ""
    """Name of torchvision's folder, below the folder that the user gives."""
    classes: tuple[str, ...] | None = None
    counts: tuple[int, int] | None = None
    """Images of the official training (with validation) and test files."""
    checksums: tuple[Checksum, ...] = ()
    """Of the official files, in the order in which the layout finds them."""
    image_shape: tuple[int, int, int] | None = None
    """C, H, W."""
    torchvision: str = ""
    """Name of torchvision's class, which downloads the files."""
    downloads: tuple[tuple[str, str | bool], ...] = (("train", True),)
    """Keyword and value of each call of that class; together the calls get all files."""
    mirrors: tuple[str, ...] = ()
    """Addresses of which one must answer before a download is tried; an address that ends in `/` is
    MNIST's folder.
    """
    remote: tuple[RemoteFile, ...] = ()
    """Files that vaeexp downloads itself, without torchvision."""
    list_remote: Callable[[], tuple[RemoteFile, ...]] | None = None
    """Asks the host for `remote`, where only the host knows the files."""
    kept_as: str = ""
    """Name of the folder of downloads, where data sets share one; the name of the data set when
    empty.
    """
    bundled: bool = False
    """Whether the digits that come with vaeexp may stand in."""

    @property
    def downloadable(self) -> bool:
        """Whether the files can be downloaded."""
        return bool(self.mirrors or self.remote or self.list_remote)


@dataclass(frozen=True, kw_only=True)
class Source:
    """Files that hold a data set. `words` says for people where they come from, without a path of
    this machine.
    """

    definition: Definition
    settings: "DataSettings"
    root: Path
    paths: tuple[Path, ...]
    words: str
    subset: bool = False
    columns: tuple[str, ...] = ()
    """Columns of a table in the order in which they are taken; that of the file where empty."""
    check: Callable[[], object] | None = None
    """Checks the files before they are read, where they have checksums. Raises Damaged."""

    def identity(self) -> list[Any]:
        """Return what the system knows of each file, and the settings by which files are read.

        Other content has another identity: programs that copy set the size and the time of the last
        change (mtime) to those of another file, but no program sets the time of the last change of
        the entry (ctime). The fingerprint that records keep is another number: it is made of the
        decoded pixels, without paths and times. Raises UserError for a file that is missing, unless
        it is one image of many.
        """
        many = self.definition.layout.resized
        files = list[Any]()
        for path in self.paths:
            try:
                fact = path.stat()
            except OSError as error:
                if not many:
                    raise UserError(str(path), f"cannot be read: {error.strerror}") from error
                files.append([str(path.absolute())])  # decoding lists it as unreadable
            else:
                times = fact.st_mtime_ns, fact.st_ctime_ns
                files.append([str(path.absolute()), fact.st_size, *times, fact.st_ino])
        names = [*_OF_IMAGE_FILES] if many else []
        names += _OF_ARRAYS if self.definition.layout.columns or not many else []
        settings = [getattr(self.settings, name) for name in (*names, "split_by")]
        return [*files, settings, *self.columns]


def blocks(array: np.ndarray, rows: np.ndarray | None = None) -> Iterator[np.ndarray]:
    """Yield `array[rows]` (all rows when None) in pieces of about 64 MiB, for arrays larger than
    memory.
    """
    count = len(array) if rows is None else len(rows)
    step = max(1, _BLOCK_BYTES // max(1, array[:1].nbytes))
    for start in range(0, count, step):
        piece = slice(start, start + step)
        yield np.ascontiguousarray(array[piece] if rows is None else array[rows[piece]])


def check_grey(title: str, channels: int, binarisation: str, one_channel: str = "") -> None:
    """Raise UserError when images of more than one channel are to be binarised.

    one_channel: what gives images of one channel, in words, where the files may hold grey pixels as
    colours; else empty.
    """
    if channels != 1 and binarisation != "none":
        problem = (
            f"got {binarisation}, but {title} has {channels} channels; binarisation needs images "
            "of one channel"
        )
        remedy = (
            f"Try none, or {one_channel} if all pixels are grey." if one_channel else "Try none."
        )
        raise UserError("data.binarisation", f"{problem}. {remedy}")


def class_notes(
    labels: np.ndarray, parts: np.ndarray, classes: Sequence[str] | None, unlabelled: Sequence[int]
) -> list[str]:
    """Say which parts have no labels, and which classes of test images no training image has;
    fields as in `RawImages`.
    """
    if not classes:
        return []
    notes = []
    if unlabelled:
        notes.append(
            f"Labels: none for the {' and '.join(PART_NAMES[part] for part in unlabelled)} images"
        )
    untaught = np.setdiff1d(labels[parts == TEST], labels[parts == TRAINING])
    if len(untaught) and not {TRAINING, TEST} & set(unlabelled):
        named = some_of([classes[label] for label in untaught])
        notes.append(
            f"FID: not measured, because no training image has the classes {named} of test images"
        )
    return notes


def natural(name: str) -> str:
    """Return a text by which names are in the order of their numbers: `day_2` before `day_10`. The
    digits after a decimal point, and all other letters, are compared as in any text.
    """
    return _NUMBER.sub(lambda found: (found[1] or found[0]).zfill(_DIGITS) + (found[2] or ""), name)


def ending_of(path: Path) -> str:
    """Return the ending of a file in small letters; of what is packed both, as `.csv.gz`."""
    packed = path.suffix.lower() == ".gz"
    return "".join(path.suffixes[-2:] if packed else path.suffixes[-1:]).lower()


def some_of(names: Sequence[str], most: int = 12) -> str:
    """Return the first of these names, `printable`, and an ellipsis for others."""
    return ", ".join([*map(printable, names[:most]), *["…"] * (len(names) > most)])


def height_width(image_size: int | Sequence[int] | None) -> tuple[int, int] | None:
    """Return the setting `image_size` as height and width; one number is a square."""
    if image_size is None:
        return None
    return (
        (image_size, image_size) if isinstance(image_size, int) else (image_size[0], image_size[1])
    )


def printable(name: str) -> str:
    """Escape bytes that are not UTF-8 and control characters in `name`, because no report could
    show them.
    """
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in name
    )


@contextmanager
def placed_at(place: Path, unpacked: Path) -> Iterator[None]:
    """Let errors that name the folder of unpacked files name their source instead."""
    try:
        yield
    except UserError as error:
        if not error.place.startswith(str(unpacked)):
            raise
        file = error.place.removeprefix(str(unpacked)).strip("/")
        raise UserError(f"{place}: {file}" if file else str(place), error.problem) from error


@contextmanager
def refusing(path: Path, wanted: str) -> Iterator[None]:
    """Turn the errors that a damaged file provokes, of any kind, into a UserError of one line that
    names the file. Errors of a full disk, which is that of the cache, stay.
    """
    try:
        yield
    except UserError:
        raise
    except MemoryError as error:
        raise UserError(
            str(path), "its content does not fit into the memory of this machine"
        ) from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _FULL:
            raise
        if isinstance(error, OSError) and error.strerror:
            raise UserError(str(path), f"cannot be read: {error.strerror}") from error
        problem = printable(f"{type(error).__name__}: {error}")[:200]
        raise UserError(str(path), f"got something else ({problem}); must be {wanted}") from error
