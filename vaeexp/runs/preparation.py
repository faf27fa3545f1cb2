"""Prepare new images, arrays and rows of tables as a finished run prepared its own.

The record `preparation` of a run decides: size and crop of image files, the number that is white,
kept columns, limits, offset and scale. Nothing is learned from the new numbers. What does not fit
is a problem of its row, in words, and its row is zeros.

Shapes: N rows, C channels, H × W sub-pixels; a row of a table is [1, 1, F].
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sweeps import UserError, seed_of
from vaeexp.data.dataset import TARGETS, stored_in, white_in, whites_in
from vaeexp.data.duplicates import row_keys
from vaeexp.data.formats import printable, some_of
from vaeexp.data.formats.array_pixels import HAIR, as_images
from vaeexp.data.formats.image_numbers import read_numbers
from vaeexp.data.formats.image_pixels import UnreadableError, pixels_of, read_header, read_pixels
from vaeexp.data.formats.levels import DEEPEST, WHITE, Stored, to_bytes
from vaeexp.data.missing import codes_of, missing_numbers
from vaeexp.data.prepare import Purpose, binarise
from vaeexp.data.scaling import Scaling, changes, scaling_from
from vaeexp.data.values import Values, changes_left_out
from vaeexp.settings import DataSettings
from vaeexp.words import format_signed

if TYPE_CHECKING:
    from PIL.Image import Image

_RANGES: dict[Stored, tuple[float, float, str]] = {
    Stored.BYTES: (0, WHITE, f"whole numbers from 0 to {WHITE}"),
    Stored.DEEP: (0, DEEPEST, f"whole numbers from 0 to {DEEPEST}"),
    Stored.FLOATS: (-HAIR, 1 + HAIR, "floats from 0 to 1"),
}
"""Kind of numbers → the least and the largest that become grey levels, and the same in words."""


class Rows(NamedTuple):
    """N rows that were read: names for people, labels and problems in words (empty text: none),
    prepared images [N, C, H, W], uint8 or float32, zeros where there is a problem, how many of
    their numbers were cut to the limits of the run, int64 [N], and the names of the columns that
    were constant in training and are not here, joined; None for images, of which `Batch` tells
    where a density leaves sub-pixels out.
    """

    names: list[str]
    labels: list[str]
    images: np.ndarray
    problems: list[str]
    cut: np.ndarray
    unseen: list[str] | None = None


class Batch(NamedTuple):
    """The same with targets float32 [N, C, H, W]; keys: `row_keys` of the prepared images."""

    names: list[str]
    labels: list[str]
    x: Tensor
    problems: list[str]
    cut: np.ndarray
    unseen: list[str] | None
    keys: np.ndarray


class Ready(NamedTuple):
    """Numbers that were prepared: images, problems and cut numbers, as in `Rows`."""

    images: np.ndarray
    problems: list[str]
    cut: np.ndarray


class Columns(NamedTuple):
    """The F columns of files of which the model takes some.

    names: of all, those of a table; of an array `column 0` …
    kept: places of those that the model takes; the others never changed in training.
    constants: value in training of each of these others.
    """

    names: tuple[str, ...]
    kept: tuple[int, ...]
    constants: tuple[float, ...]

    @property
    def others(self) -> list[int]:
        """Places of those that the model does not take."""
        known = frozenset(self.kept)
        return [place for place in range(len(self.names)) if place not in known]

    @property
    def dropped(self) -> tuple[str, ...]:
        """Names of these others."""
        return tuple(self.names[place] for place in self.others)

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Return the columns of [N, 1, 1, F] that the model takes: a view where they are
        neighbours.
        """
        first, last = self.kept[0], self.kept[-1]
        together = last - first + 1 == len(self.kept)
        return rows[..., slice(first, last + 1) if together else list(self.kept)]

    def unseen(self, numbers: np.ndarray, names: Sequence[str]) -> list[str]:
        """Return which of these columns [N, D], constant in training, change in each row: their
        names, joined.
        """
        known = dict(zip(self.dropped, self.constants, strict=True))
        return changes(numbers, np.array([known[name] for name in names]), names)

    def put_back(self, rows: np.ndarray) -> np.ndarray:
        """Return rows float64 [N, 1, 1, F] of the columns that the model gives, and of the others
        as they were in training.
        """
        every = np.empty((*rows.shape[:-1], len(self.names)))
        every[..., list(self.kept)] = rows
        every[..., self.others] = self.constants
        return every


def columns_in(record: Mapping[str, Any]) -> Columns | None:
    """Return the columns of the files of a record of preparation; None where the model takes all.

    Raises UserError for a record that does not name the columns that were left out.
    """
    kept = record["kept"]
    if kept is None:
        return None
    if not record.get("constants"):
        problem = "has kept columns, and does not name those that were left out"
        raise UserError("preparation", f"{problem}. Train the run again.")
    left = iter(record["dropped"])
    names = iter(record["features"] or [f"column {place}" for place in kept])
    places = frozenset(kept)
    every = range(len(kept) + len(record["dropped"]))
    named = tuple(next(names if place in places else left) for place in every)
    return Columns(named, (*kept,), (*record["constants"],))


def table_in(record: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of all columns of a table, in the order of the files; none for other data,
    and where a record does not name them.
    """
    unnamed = record["kept"] is not None and not record.get("constants")
    if record["features"] is None or unnamed:
        return ()
    columns = columns_in(record)
    return tuple(record["features"]) if columns is None else columns.names


def other_columns(before: Sequence[str], now: Sequence[str]) -> str:
    """Say in what way the columns of a table are not those that it had before."""
    lacks = [printable(name) for name in before if name not in now]
    more = [printable(name) for name in now if name not in before]
    parts = [f"no column {some_of(lacks)}"] if lacks else []
    parts += [f"the new {some_of(more)}"] if more else []
    if parts:
        return " and ".join(parts)
    pairs = enumerate(zip(before, now, strict=True), 1)
    return next(f"'{new}' as column {at}, not '{old}'" for at, (old, new) in pairs if old != new)


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """How a run prepares what it is shown.

    run: name of the run, for errors.
    values: what its model takes, as its likelihood describes it.
    data: settings of its data.
    record: `vaeexp.data.dataset.Dataset.preparation`.
    study_seed: of the draws that binarise.
    counts: whether the model describes counts alone.
    """

    run: str
    values: Values
    data: DataSettings
    record: Mapping[str, Any]
    study_seed: int
    counts: bool = False

    @cached_property
    def scaling(self) -> Scaling:
        """How numbers become targets."""
        return scaling_from(self.record["scaling"])

    @cached_property
    def columns(self) -> Columns | None:
        """The columns of the files where the model takes some of them; None where it takes all."""
        return columns_in(self.record)

    @property
    def features(self) -> tuple[str, ...] | None:
        """Names of the columns of a table that the model takes; None for other data."""
        names = self.record["features"]
        return None if names is None else tuple(names)

    @property
    def named_by(self) -> str:
        """The column or the array that names the rows; empty where there is none."""
        return self.data.names or self.record.get("named_by", "")

    @property
    def table(self) -> tuple[str, ...] | None:
        """Names of all columns of a table, in the order of the files; None for other data."""
        return table_in(self.record) or None

    @cached_property
    def whites(self) -> dict[Stored, int]:
        """The number that is white in each kind of file."""
        return whites_in(self.record)

    @property
    def stored(self) -> Stored:
        """The kind of numbers in the run's files."""
        return stored_in(self.record)

    @property
    def black(self) -> int:
        """The number that is black in TIFF files in which 0 is white; 0 in a run of edition 1,
        which took such files as they are.
        """
        return int(self.record.get("black", 0))

    @property
    def edition(self) -> int:
        """How the run's own files were read, and new ones are: `vaeexp.data.formats.EDITION`."""
        return int(self.record.get("edition", 1))

    @property
    def binarised(self) -> str:
        """Say how new images are binarised; empty where they are not."""
        if not self.scaling.bytes or self.data.binarisation == "none":
            return ""
        return (
            f"New images are binarised ({self.data.binarisation}): each pixel is drawn once, by "
            f"the content of the image, with the seed of the study, {self.study_seed}"
        )

    def label(self, value: Any) -> str:
        """Return a label in words: the name of the class of a whole number, else its text."""
        if value is None:
            return ""
        if isinstance(value, bytes):
            return value.decode("utf-8", "backslashreplace")
        classes = self.record["classes"] or ()
        whole = isinstance(value, int) and not isinstance(value, bool)
        known = whole and 0 <= value < len(classes)
        return (known and classes[value]) or str(value)

    # ---- shapes ----

    def rows_of(self, array: np.ndarray, place: str) -> np.ndarray:
        """Return a view [N, C, H, W] of an array of rows, or of one row. Raises UserError for
        another shape.
        """
        images = self._as_rows(array)
        if images is None and array.ndim:
            images = self._as_rows(array[None])
        if images is None:
            raise UserError(place, f"got {array.dtype} {list(array.shape)}; must be {self.wanted}")
        if array.dtype.kind not in "biuf":
            raise UserError(place, f"got {array.dtype}; must be booleans, whole numbers or floats")
        if array.dtype.kind in "iu" and array.dtype.itemsize < self._levels_type.itemsize:
            problem = f"got {array.dtype}; must be {self._levels_type}, whose range is scaled"
            raise UserError(place, f"{problem} to 0 to 1. Give the numbers in this range.")
        return images

    @property
    def _levels_type(self) -> np.dtype:
        """The type of the run's files where its range decides the scale; else bytes."""
        kind = np.dtype(self.record["kind"])
        ranged = self.scaling.bytes or self.scaling.kind == "unit"
        return kind if ranged and kind.kind in "iu" else np.dtype(np.uint8)

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Return whether an array of this shape can be rows for the model."""
        return self._as_rows(np.broadcast_to(np.float32(0), shape)) is not None

    @property
    def wanted(self) -> str:
        """The shape of an array of rows, in words."""
        channels, height, width = self.values.shape
        if channels == height == 1:
            every = self.columns
            more = ""
            if every is not None:
                more = f", or [N, {len(every.names)}] with all columns of the run's own files"
            return f"[N, {width}]{more}, as {self.run} takes it"
        if channels == 1:
            return f"[N, {height}, {width}], as {self.run} takes it"
        sides = [channels, height, width] if self.data.channels_first else [height, width, channels]
        return f"{['N', *sides]}, as {self.run} takes it".replace("'", "")

    def _as_rows(self, array: np.ndarray) -> np.ndarray | None:
        if array.ndim not in (2, 3, 4):
            return None
        images = as_images(array, channels_first=self.data.channels_first)
        columns = self.columns
        if columns is not None and images.shape[1:] == (1, 1, len(columns.names)):
            images = columns.take(images)
        return images if images.shape[1:] == self.values.shape else None

    def as_files(self, images: np.ndarray) -> np.ndarray:
        """Return numbers [N, C, H, W] that the model gives as files have them: [N, F] with all
        columns, [N, H, W], or [N, H, W, C], or [N, C, H, W] with `channels_first`.
        """
        channels, height, _ = self.values.shape
        if channels == height == 1:
            columns = self.columns
            return (images if columns is None else columns.put_back(images))[:, 0, 0]
        if channels == 1:
            return images[:, 0]
        return images if self.data.channels_first else np.moveaxis(images, 1, -1)

    # ---- numbers ----

    @property
    def range(self) -> tuple[float, float, str]:
        """The least and the largest number that the run's kind of file may hold, infinite where any
        may stand, and the same in words.
        """
        floats = self.scaling.kind == "unit" and self.stored is Stored.FLOATS
        if self.scaling.bytes or floats:
            return _RANGES[self.stored]
        return -math.inf, math.inf, "finite numbers"

    @property
    def limits(self) -> str:
        """The limits to which numbers are cut, in words."""
        if self.scaling.bytes:
            return "the white of the training images"
        if self.data.clip is not None:
            return "the limits of data.clip"
        low, high = (f"{float(end.max()):,g}" for end in (self.scaling.low, self.scaling.high))
        return f"the range of the training images, {low} to {high}"

    def numbers(self, numbers: np.ndarray) -> Ready:
        """Prepare numbers [N, C, H, W] of files."""
        bad = ~np.isfinite(numbers) | missing_numbers(numbers, self.data.missing)
        fine = ~bad.reshape(len(numbers), -1).any(1)
        problems = ["" if each else self._bad(bad[row]) for row, each in enumerate(fine)]
        if self.scaling.bytes:
            return self._levels(numbers, problems)
        whole = numbers if fine.all() else np.where(fine[:, None, None, None], numbers, 0)
        if self.scaling.kind == "unit":
            problems = self._out_of_range(whole, problems)
        if self.counts:
            problems = _no_counts(whole, problems)
        with np.errstate(over="ignore"):
            images = self.scaling.targets(whole)
        finite = np.isfinite(images).reshape(len(images), -1).all(1)
        for row in np.flatnonzero(~finite):
            problems[row] = problems[row] or "it has numbers that are too large for float32"
        images[[bool(problem) for problem in problems]] = 0
        hair = HAIR if np.isfinite(self.range[1]) else 0
        beyond = (whole < self.scaling.low - hair) | (whole > self.scaling.high + hair)
        return Ready(images, problems, _counted(beyond, problems))

    def _out_of_range(self, numbers: np.ndarray, problems: list[str]) -> list[str]:
        """Add rows that were scaled in another way: beyond [0, 1] where the run's files are floats,
        and images of floats within [0, 1] where these have the range of whole numbers.
        """
        low, high = _ends(numbers)
        kind = np.dtype(self.record["kind"])
        if kind.kind == "f":
            least, most, wanted = self.range
            bad = (low < least) | (high > most)
        else:
            floats = numbers.dtype.kind == "f" and kind.kind in "iu" and self.features is None
            bad = floats & (high > 0) & (high <= 1)
            wanted = f"in the range of {kind}, as the run's files are"
        return _with_range(problems, bad, low, high, wanted)

    def _bad(self, bad: np.ndarray) -> str:
        """Say where the first of the bad numbers of a row is, bool [C, H, W]."""
        place = np.unravel_index(int(bad.reshape(-1).argmax()), bad.shape)
        where = f"at {[int(index) for index in place]} of [C, H, W]"
        if self.features is not None:
            where = f"in column '{self.features[int(place[2])]}'"
        codes = "".join(f", {format_signed(code)}" for code in codes_of(self.data.missing))
        kinds = f"missing{codes}, NaN or infinite"
        return f"{int(bad.sum()):,} of its numbers are {kinds}, the first {where}"

    def _levels(self, numbers: np.ndarray, problems: list[str]) -> Ready:
        """Return grey levels uint8: of bytes by the run's white, of floats in [0, 1] and
        booleans as 256 levels.
        """
        shares = numbers.dtype.kind in "bf"
        stored = Stored.DEEP if self.stored is Stored.DEEP else Stored.BYTES
        least, most, wanted = _RANGES[Stored.FLOATS if shares else stored]
        low, high = _ends(numbers)
        said = _with_range(problems, (low < least) | (high > most), low, high, wanted)
        fine = np.array([not problem for problem in said])
        inside = numbers if fine.all() else np.where(fine[:, None, None, None], numbers, 0)
        if shares:
            levels = np.rint(np.clip(inside.astype(np.float32), 0, 1) * WHITE)
            return Ready(levels.astype(np.uint8), said, np.zeros(len(numbers), np.int64))
        white = self.whites[stored]
        levels = to_bytes(inside.astype(np.uint16), white)
        return Ready(levels, said, _counted(inside > white, said))

    def in_units(self, targets: Tensor) -> np.ndarray:
        """Return targets [n, C, H, W] as numbers of the files: uint8 for bytes of which 255 is
        white, else float64 in the unit of each column or image.
        """
        made: np.ndarray = targets.cpu().numpy()
        if not self.scaling.bytes:
            return self.scaling.numbers(made)
        white = white_in(self.record)
        if white != WHITE:
            return made.astype(np.float64) * white
        return np.rint(made.clip(0, 1) * WHITE).astype(np.uint8)

    # ---- image files ----

    def picture(self, source: "Path | Image") -> Ready:
        """Prepare an image file, or an image of Pillow: one row."""
        try:
            return self._read(source) if isinstance(source, Path) else self._prepared(source)
        except UnreadableError as error:
            problem = str(error) or "it cannot be read"
        except UserError as error:
            problem = error.problem
        except (ValueError, OSError) as error:
            problem = " ".join(str(error).split())
        kind = np.uint8 if self.scaling.bytes else np.float32
        return Ready(np.zeros((1, *self.values.shape), kind), [problem], np.zeros(1, np.int64))

    def _read(self, path: Path) -> Ready:
        header = read_header(path)
        self._check_size(header.height, header.width)
        kind = np.dtype(self.record["kind"])
        if (self.scaling.bytes and "1" not in header.dtype) or (
            not header.dtype and kind == np.uint8
        ):
            return self._pixels(*read_pixels(path, *self._how))
        if not header.dtype:
            raise ValueError(f"got a picture of 8 bits; must be {kind}, as the run's files are")
        numbers, _ = read_numbers(path, self.values.shape, self.data.crop, kind, self.black)
        return self.numbers(numbers[None])

    @property
    def _how(self) -> tuple[Any, ...]:
        data = self.data
        return self.values.shape, data.crop, data.background, self.whites, self.black

    def _pixels(self, pixels: np.ndarray, facts: Any) -> Ready:
        """Prepare the bytes [C, H, W] of one image."""
        if self.scaling.bytes:
            return Ready(pixels[None], [""], np.array([facts.above]))
        return self.numbers(pixels[None])

    def _check_size(self, *size: int) -> None:
        """Raise ValueError where an image has another size than those of the run."""
        wanted = self.values.shape[1:]
        if self.data.image_size is None and size != wanted:
            got, must = (" × ".join(map(str, each)) for each in (size, wanted))
            raise ValueError(f"got {got} pixels; must be {must}")

    def _prepared(self, image: "Image") -> Ready:
        self._check_size(image.height, image.width)
        plain = self.record["kind"] == "uint8" and self.values.shape[0] in (1, 3)
        if self.scaling.bytes or plain:
            return self._pixels(*pixels_of(image, "image", *self._how))
        array = np.asarray(image)
        if array.ndim == 3 and self.data.channels_first:
            array = np.moveaxis(array, -1, 0)
        return self.numbers(np.ascontiguousarray(self.rows_of(array, "image")[:1]))

    # ---- batches ----

    def batches(self, read: Iterator[Rows]) -> Iterator[Batch]:
        """Yield all rows in batches with targets, binarised where the run's are. The draws of an
        image depend on the seed and on its content alone.
        """
        kind = self.data.binarisation if self.scaling.bytes else "scaled"
        rows = None
        for rows in rebatched(read, batch_rows(self.values)):
            keys = row_keys(rows.images)
            images = rows.images
            if self.binarised:
                kind = "static"
                seeds = [seed_of(f"{self.study_seed}/pixels/{key}") for key in keys]
                images = np.stack([*map(binarise, images, seeds, repeat(Purpose.NEW_PIXELS))])
            x = TARGETS[kind](torch.from_numpy(np.ascontiguousarray(images)), None)
            unseen = rows.unseen
            if unseen is None:
                unseen = changes_left_out(self.values, x.numpy(), rows.problems)
            yield Batch(rows.names, rows.labels, x, rows.problems, rows.cut, unseen, keys)
        if rows is None:
            raise UserError("images", "got no rows; must be at least one.")


def _ends(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the least and the largest number of each row [N, C, H, W], both [N]."""
    flat = numbers.reshape(len(numbers), -1)
    return flat.min(1), flat.max(1)


def _no_counts(numbers: np.ndarray, problems: list[str]) -> list[str]:
    """Return the problems of rows [N, C, H, W], and of others what makes them no counts."""
    flat = numbers.reshape(len(numbers), -1)
    said = [*problems]
    for kind, bad in (("a negative number", flat < 0), ("a fraction", flat != np.rint(flat))):
        for row in np.flatnonzero(bad.any(1)):
            first = flat[row, bad[row].argmax()]
            wanted = "whole numbers from 0, as the counts of the run's own files"
            said[row] = said[row] or f"got {kind}, {first:g}; must be {wanted}"
    return said


def _with_range(
    problems: list[str], bad: np.ndarray, low: np.ndarray, high: np.ndarray, wanted: str
) -> list[str]:
    """Return the problems of rows, and of `bad` ones [N] without another their range, from `low` to
    `high` [N], and what it must be.
    """
    return [
        problem or f"got numbers from {low[row]:g} to {high[row]:g}; must be {wanted}"
        if bad[row]
        else problem
        for row, problem in enumerate(problems)
    ]


def _counted(bad: np.ndarray, problems: list[str]) -> np.ndarray:
    """Return how many are true of each row of bool [N, C, H, W], 0 where it has a problem."""
    fine = np.array([not problem for problem in problems])
    return np.where(fine, bad.reshape(len(bad), -1).sum(1), 0)


def batch_rows(values: Values) -> int:
    """Return the rows of a batch: about 32 MiB of targets, a multiple of 400, because codes are
    computed for 100 rows at a time.
    """
    sub_pixels = int(np.prod(values.shape))
    return 400 * max(1, min(10, 2**23 // (400 * sub_pixels)))


def rebatched(read: Iterator[Rows], size: int) -> Iterator[Rows]:
    """Yield the same rows in batches of `size`; the last one may have fewer."""
    waiting = list[Rows]()
    count = 0
    for rows in read:
        waiting.append(rows)
        count += len(rows.names)
        while count >= size:
            joined = _joined(waiting)
            yield _part(joined, slice(size))
            waiting = [_part(joined, slice(size, None))]
            count -= size
    if count:
        yield _joined(waiting)


def _joined(some: list[Rows]) -> Rows:
    return Rows(*map(together, zip(*some, strict=True)))


def together(parts: Sequence[Any]) -> Any:
    """Return a column of the parts as one."""
    if len(parts) == 1 or parts[0] is None:
        return parts[0]
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    return [*chain.from_iterable(parts)]


def _part(rows: Rows, which: slice) -> Rows:
    columns: list[Any] = [None if column is None else column[which] for column in rows]
    return Rows(*columns)
