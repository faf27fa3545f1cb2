"""Images, labels, groups and factors in a file of arrays that have names.

The settings `images`, `labels`, `factors`, `split_by` and `names` name arrays. Without them, the
arrays are `images` and `labels`, or `train_images`, `test_images` (and `val_images`) with their
labels; the names of Keras' files (`x_train`, `y_train`, …) work too, in small letters or capitals.
In a file with groups (HDF5, zarr), `train/images` is such a name. Other arrays are not read.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sweeps import UserError, did_you_mean
from vaeexp.data.formats import (
    TEST,
    TRAINING,
    VALIDATION,
    RawImages,
    Source,
    blocks,
    check_grey,
    class_notes,
    printable,
    some_of,
)
from vaeexp.data.formats.array_labels import read_labels
from vaeexp.data.formats.array_pixels import as_bits, as_images, check_images, shape_note
from vaeexp.data.formats.entries import Entry, described, of_most_axes
from vaeexp.data.formats.scratch import write_rows

if TYPE_CHECKING:
    from vaeexp.settings import DataSettings

_NAMES = {
    "": (("images", "x"), ("labels", "y")),
    "train": (("train_images", "x_train"), ("train_labels", "y_train")),
    "val": (
        ("val_images", "x_val", "valid_images", "x_valid", "validation_images", "x_validation"),
        ("val_labels", "y_val", "valid_labels", "y_valid", "validation_labels", "y_validation"),
    ),
    "test": (("test_images", "x_test"), ("test_labels", "y_test")),
}
"""Part → names of its images and names of its labels; of each, the first that the file has is read,
in any case, and with `/` for `_`.
"""
ROLES = ("labels", "split_by", "factors", "names", "drop")
"""Settings that name arrays or columns that are no features."""
_PARTS = {"": TRAINING, "train": TRAINING, "val": VALIDATION, "test": TEST}
AUTOMATIC = "images (and labels), or train_images and test_images (and val_images, …_labels)"
ONE_CHANNEL = "images[..., :1] in the file"


class _Part(NamedTuple):
    images: Entry
    labels: Entry | None


def read_named(
    source: Source,
    entries: Mapping[str, Entry],
    scratch: Path,
    notes: Sequence[str] = (),
    *,
    channels_first: bool | None = None,
) -> RawImages:
    """Read the arrays that the settings name, in their own types. Raises UserError naming the array
    that does not fit.

    channels_first: whether images of four axes are [N, C, H, W]; as the setting says when None.
    """
    settings = source.settings
    first = settings.channels_first if channels_first is None else channels_first
    parts = _parts(source, entries)
    images = dict[str, np.ndarray]()
    columns = list[np.ndarray | None]()
    taken = set[str]()
    for part, (entry, label) in parts.items():
        _check_order(entry, () if label is None else label.header()[1])
        images[part] = _read_images(entry, scratch, channels_first=first)
        named = settings.labels is not None
        count = len(images[part])
        columns.append(None if label is None else _one_each(label, count, scratch, named=named))
        taken |= {entry.name, *([label.name] if label else [])}
    joined = _join(source.root, images, scratch)
    check_grey(source.root.name, joined.shape[1], settings.binarisation, ONE_CHANNEL)
    factors, factor_labels = _factors(source, entries, len(joined), scratch)
    groups, names = (
        _texts(source, entries, role, len(joined), scratch) for role in ("split_by", "names")
    )
    raw = label_parts(as_bits(joined, settings, scratch), columns, images)
    kept = {*taken, settings.images, *(name for _, name in roles_in(settings))}
    unread = sorted(entry.name for entry in entries.values() if entry.name not in kept)
    passed = [f"Not read: {some_of(unread)}"] if unread else []
    packed = [
        f"{printable(entry.name)} is unpacked as its attributes say: {entry.packed}"
        for entry in entries.values()
        if entry.packed and entry.name in kept
    ]
    root = source.root.name
    files = [(f"{root}: {parts[part].images.name}", len(rows)) for part, rows in images.items()]
    return raw._replace(
        notes=(*notes, *raw.notes, *packed, *passed),
        changed=tuple(packed),
        factors=factors,
        factor_names=factor_labels,
        groups=groups,
        names=None if names is None else names.astype(str),
        files=files if len(files) > 1 else (),
    )


def names_given(given: Sequence[str] | str | None) -> tuple[str, ...]:
    """Return the names that a setting gives; none where it is empty."""
    return (given,) if isinstance(given, str) else tuple(given or ())


def roles_in(settings: "DataSettings") -> list[tuple[str, str]]:
    """Return (role, name) for each name that a setting of a role gives."""
    found = list[tuple[str, str]]()
    for role in ROLES:
        found += [(role, name) for name in names_given(getattr(settings, role))]
    return found


def refuse_settings(source: Source, fields: Iterable[str], subject: str, remedy: str) -> None:
    """Raise UserError where one of these settings is given for files that have no use for it."""
    for field in fields:
        if value := getattr(source.settings, field):
            shown = ", ".join(value) if isinstance(value, tuple) else value
            problem = f"got {shown}, but {subject}; must be left out"
            raise UserError(f"data.{field}", f"{problem}. {remedy}")


def _find(source: Source, entries: Mapping[str, Entry], field: str, name: str) -> Entry:
    """Return the array that a setting names. Raises UserError where the file has none so."""
    if name in entries:
        return entries[name]
    wanted = f"an array of {source.root.name}: {described(entries.values())}"
    raise unknown(field, name, wanted, entries)


def unknown(role: str, name: str, wanted: str, known: Iterable[str]) -> UserError:
    """Return an error for a name that a setting gives and files do not have."""
    hint = did_you_mean(name, known)
    problem = f"got '{name}'; must be {wanted}"
    return UserError(f"data.{role}", f"{problem}. {hint}" if hint.startswith("Did") else problem)


def _parts(source: Source, entries: Mapping[str, Entry]) -> dict[str, _Part]:
    """Return the arrays of images and labels of each part, as the settings name them or as they are
    found. Raises UserError where it is not clear what is meant.
    """
    settings = source.settings
    if settings.images:
        parts = {"": _Part(_find(source, entries, "images", settings.images), None)}
        images, found = parts[""].images, _own_names(entries)
        label = _first(found, _NAMES[""][1])
        if label and label != images and label.header()[1][:1] == images.header()[1][:1]:
            parts[""] = _Part(images, label)
    else:
        parts = _found_parts(source, entries)
    for field in ROLES:
        if getattr(settings, field) and parts.keys() != {""}:
            problem = "got an array's name, but the file has splits of its own; must be left out"
            remedy = "Save all images as one array, or name one of the splits in data.images"
            raise UserError(f"data.{field}", f"{problem}. {remedy}")
    if settings.labels:
        parts[""] = parts[""]._replace(labels=_find(source, entries, "labels", settings.labels))
    return parts


def _own_names(entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """Return the arrays by their names in small letters, with `_` for `/`; the first of each, and
    no coordinates.
    """
    own = [name for name, entry in entries.items() if not entry.coordinate]
    return {name.lower().replace("/", "_"): entries[name] for name in reversed(own)}


def _first(entries: Mapping[str, Entry], names: Iterable[str]) -> Entry | None:
    return next((entries[name] for name in names if name in entries), None)


def _found_parts(source: Source, entries: Mapping[str, Entry]) -> dict[str, _Part]:
    own = _own_names(entries)
    parts = {}
    for part, (images, labels) in _NAMES.items():
        if entry := _first(own, images):
            parts[part] = _Part(entry, _first(own, labels))
    likely = of_most_axes(reversed(own.values()))
    if not parts and len(likely) == 1 and any(entry.coordinate for entry in entries.values()):
        return {"": _Part(likely[0], None)}  # netCDF names arrays by what they hold
    problem = f"got the arrays {described(entries.values()) or 'none'}; must be"
    if parts.keys() != {""} and "train" not in parts:
        example = printable(likely[0].name) if likely else "NAME"
        remedy = f"Try --set images={example} for one of them."
        raise UserError(
            str(source.root), f"{problem} named {AUTOMATIC}, or as in Keras x_train. {remedy}"
        )
    if "" in parts and len(parts) > 1:
        remedy = f"Try --set images={printable(parts[''].images.name)} for those alone."
        raise UserError(
            str(source.root), f"{problem} all images, or the images of splits. {remedy}"
        )
    return parts


def _check_order(images: Entry, labels: Sequence[int]) -> None:
    """Raise UserError where the last axis counts the images: there are as many labels, or MATLAB
    wrote the file and the labels do not say that it is the first.
    """
    dtype, shape = images.header()
    count = max(labels, default=0)
    if len(shape) > 1 and count != shape[0] and (images.matlab or count == shape[-1]):
        beside = f" beside {count:,} labels" if count else ""
        problem = f"got {dtype} {list(shape)}{beside}: axes are reversed, as MATLAB writes them"
        remedy = f"Save {images.name}[()].T, which is {[*shape[::-1]]}"
        raise UserError(images.place, f"{problem}; the first must count the images. {remedy}")


def _read_images(entry: Entry, scratch: Path, *, channels_first: bool) -> np.ndarray:
    """Read images [N, C, H, W] in the bytes of this machine."""
    dtype, shape = entry.header()
    check_images(entry.place, entry.name, dtype, shape, channels_first=channels_first)
    target = scratch / f"array-{len(list(scratch.iterdir()))}.npy"
    images = as_images(entry.read(target), channels_first=channels_first)
    if images.dtype.isnative:
        return images
    swapped = target.with_name(f"{target.name}.native")
    return write_rows(swapped, blocks(images), images.dtype.newbyteorder("="), images.shape[1:])


def read_column(entry: Entry, scratch: Path) -> np.ndarray:
    """Read labels, groups or factors."""
    return entry.read(scratch / f"column-{len(list(scratch.iterdir()))}.npy")


def _one_each(entry: Entry, images: int, scratch: Path, *, named: bool) -> np.ndarray:
    """Read labels; pickled ones, which nobody `named`, are not read. Raises UserError where it is
    not known which image a label belongs to.
    """
    dtype, shape = entry.header()
    if not shape or shape[0] != images:
        problem = f"got {dtype} {list(shape)}; must be {images:,} labels, one for each image"
        raise UserError(entry.place, f"{problem}. Leave out labels that do not fit")
    if dtype.hasobject and named:
        problem = f"got {dtype} {list(shape)}, which is pickled; must be numbers or text"
        raise UserError(entry.place, f"{problem}. Save {entry.name}.astype(str)")
    if dtype.hasobject:
        return np.empty(images, object)  # of no class
    return read_column(entry, scratch)


def _factors(
    source: Source, entries: Mapping[str, Entry], images: int, scratch: Path
) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Return the known factors, float64 [N, K], and their K names; None where none is asked for."""
    columns = list[np.ndarray]()
    names = list[str]()
    for name in names_given(source.settings.factors):
        entry = _find(source, entries, "factors", name)
        dtype, shape = entry.header()
        if dtype.kind not in "biuf" or len(shape) not in (1, 2) or shape[0] != images:
            wanted = f"numbers [{images}] or [{images}, K], a row for each image"
            raise UserError(entry.place, f"got {dtype} {list(shape)}; must be {wanted}")
        values = read_column(entry, scratch).reshape(images, -1).astype(np.float64)
        columns.append(values)
        several = values.shape[1] > 1
        names += [f"{name}[{place}]" if several else name for place in range(values.shape[1])]
    return (np.hstack(columns) if columns else None), tuple(names)


def _texts(
    source: Source, entries: Mapping[str, Entry], role: str, images: int, scratch: Path
) -> np.ndarray | None:
    """Return the group or the name of each image, numbers or text [N]; None where the setting is
    empty.
    """
    name = getattr(source.settings, role)
    if name is None:
        return None
    entry = _find(source, entries, role, name)
    dtype, shape = entry.header()
    if not shape or shape[0] != images or int(np.prod(shape)) != images:
        wanted = f"{images:,} numbers or texts, one for each image"
        raise UserError(entry.place, f"got {dtype} {list(shape)}; must be {wanted}")
    if dtype.kind not in "biufSUM":
        remedy = f". Save {entry.name}.astype(str)" if dtype.hasobject else ""
        raise UserError(entry.place, f"got {dtype}; must be numbers, texts or times{remedy}")
    values = read_column(entry, scratch).reshape(-1)
    if dtype.kind == "S":
        return np.char.decode(values, "utf-8", "backslashreplace")
    return np.asarray(values)


def _join(root: Path, parts: Mapping[str, np.ndarray], scratch: Path) -> np.ndarray:
    """Join images [N, C, H, W] of all parts one after the other, in a file of their own where there
    are several.
    """
    first, *others = parts.values()
    for images in others:
        if images.dtype != first.dtype:
            types = f"{first.dtype} and {images.dtype}"
            problem = "got splits of different types; must be one type"
            raise UserError(str(root), f"{problem}, but they are {types}")
        if images.shape[1:] != first.shape[1:]:
            sizes = sorted({each.shape[1:] for each in parts.values()})
            problem = f"got splits of different channels, height and width {sizes}"
            raise UserError(str(root), f"{problem}; must be the same")
    if not others:
        return first
    return write_rows(scratch / "all.npy", _pieces(parts.values()), first.dtype, first.shape[1:])


def _pieces(arrays: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    for array in arrays:
        yield from blocks(array)


def label_parts(
    images: np.ndarray, columns: Sequence[np.ndarray | None], parts: Mapping[str, Sized]
) -> RawImages:
    """Return images [N, C, H, W] of all parts with their labels, parts and notes.

    columns: labels of each part; None where the part has none.
    parts: name of each part → anything with one entry for each of its images.
    """
    counts = [len(rows) for rows in parts.values()]
    labels = read_labels(columns, counts)
    part_of = np.repeat(np.array([_PARTS[name] for name in parts], np.uint8), counts)
    unlabelled = tuple(
        _PARTS[name] for index, name in enumerate(parts) if index in labels.unlabelled
    )
    split = [] if "" in parts else [f"Split: {', '.join(parts)} as in the file"]
    return RawImages(
        images=images,
        labels=labels.values,
        parts=part_of,
        classes=labels.classes,
        unlabelled=unlabelled,
        notes=(
            shape_note(images),
            *labels.notes,
            *split,
            *class_notes(labels.values, part_of, labels.classes, unlabelled),
        ),
    )
