"""A data set opened for training: three splits as memory maps, their description for a record, and
the plan for people.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sweeps import Damaged, UserError
from vaeexp.cache import distrust
from vaeexp.data.datasets import (
    DATASETS,
    download_again,
    find_definition,
    find_source,
)
from vaeexp.data.duplicates import row_keys
from vaeexp.data.first_look import pixel_words
from vaeexp.data.formats import (
    EDITION,
    ONE_CHANNEL,
    Definition,
    Source,
    Unreadable,
    arrays,
    check_grey,
    height_width,
    printable,
)
from vaeexp.data.formats.image_files import check_unreadable
from vaeexp.data.formats.levels import PLAIN, Stored, stored_kind
from vaeexp.data.formats.named_arrays import ROLES
from vaeexp.data.formats.official_files import NOT_OFFICIAL
from vaeexp.data.numbers import scale_words
from vaeexp.data.prepare import Known, Prepared, prepare, sizes_of
from vaeexp.data.row_names import RowNames, read_marks
from vaeexp.data.scaling import Scaling, pieces, scaling_from
from vaeexp.data.showing import kind_of, to_pictures
from vaeexp.data.values import Values, from_record
from vaeexp.words import plural

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from vaeexp.settings import DataSettings


@dataclass(frozen=True)
class Split:
    """Images and labels of a split, both read-only memory maps.

    images: uint8 [N, C, H, W], or targets float32.
    labels: [N], uint8; uint16 beyond 256 classes. All are 0 without classes.
    classes: name of each label; None where the images of this split have no labels.
    first: row of the first image in its file.
    factors: known factors of variation, float64 [N, K]; None without them.
    grey_keys: `row_keys` of the grey images under static binarisation; None without it.
    names: of its rows, for people.
    """

    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...] | None
    first: int
    names: RowNames
    factors: np.ndarray | None = None
    grey_keys: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def keys(self) -> np.ndarray:
        """The hash of each image before it was binarised, uint64 [N]."""
        if self.grey_keys is not None:
            return np.array(self.grey_keys)
        return np.concatenate([row_keys(piece) for piece in pieces(self.images)])

    def marks(self, places: np.ndarray) -> list[str]:
        """Return the names of the columns, constant in training, that change in the images at these
        places, int64 [M]: joined, empty for none.
        """
        return read_marks(self.names.folder, self.names.part, self.first + places)


@dataclass(frozen=True, kw_only=True)
class Dataset(Known):
    """Images split for training, validation and test.

    Pixels are 0 or 1 under static binarisation and 0 to 255 otherwise (dynamic binarisation is
    drawn in training). A pickle holds the fields and no array; the process that opens the pickle
    maps the arrays when it uses them.

    fingerprint: SHA-256 (hex) of the arrays, the validation size, the binarisation and the reading.
        Two runs with the same fingerprint are validated and tested on the same pixels, whatever
        their `train_size`.
    source: the origin of the files, for people, without a path of this machine.
    folder: the prepared arrays (vaeexp/data/prepare.py).
    sizes: images in train, validation and test.
    notes: sentences for people on the files and on their preparation.
    pixels: range, mean, and shares of black and white of the training images, in words.
    limits: least and largest number of the training images.
    split_seed: of the order in which training and validation images are taken.
    values: what a model is given and describes.
    scaling: how numbers of the files became targets.
    """

    name: str
    title: str
    subset: bool
    binarisation: str
    fingerprint: str
    source: str
    folder: Path
    sizes: tuple[int, int, int]
    notes: tuple[str, ...]
    pixels: str
    limits: tuple[float, float]
    split_seed: int
    values: Values
    scaling: Scaling

    @property
    def class_count(self) -> int:
        """How many classes occur; 0 where the images have none."""
        return sum(map(bool, self.classes or ()))

    @property
    def target_kind(self) -> str:
        """The row of `TARGETS` that makes targets of its images."""
        return self.binarisation if self.scaling.bytes else "scaled"

    @cached_property
    def train(self) -> Split:
        """The first images of the split order: all that are not held out, or the first `train_size`
        of them.
        """
        return self._split("train", slice(0, self.sizes[0]))

    @cached_property
    def validation(self) -> Split:
        """The last images of the split order."""
        return self._split("validation", slice(-self.sizes[1], None))

    @cached_property
    def test(self) -> Split:
        """The images of the test files."""
        return self._split("test", slice(None))

    @property
    def preparation(self) -> dict[str, Any]:
        """What a run records to prepare other images as these were prepared: values for JSON."""
        names = ("name", "kind", "features", "kept", "dropped", "constants", "named_by")
        facts = {name: getattr(self, name) for name in (*names, "whites", "black", "classes")}
        return facts | {"scaling": self.scaling.record(), "edition": EDITION}

    def describe(self) -> dict[str, Any]:
        """Describe the data for a record: values for JSON, without arrays and paths."""
        return {
            **{name: getattr(self, name) for name in ("name", "title", "subset")},
            **dict(zip(("train", "validation", "test"), self.sizes, strict=True)),
            "image_shape": list(self.image_shape),
            "edition": EDITION,
            **{
                name: getattr(self, name)
                for name in ("binarisation", "fingerprint", "source", "pixels")
            },
            **({} if self.kind == "uint8" else {"kind": self.kind}),
            **({"files": list(self.notes)} if self.notes else {}),
            **({"reading": "; ".join(self.reading)} if self.reading else {}),
            **({"constant": self.values.left_out} if self.values.left_out else {}),
        }

    @cached_property
    def taught(self) -> bool:
        """Whether the training files have images of each class of the test images."""
        if self.classes is None or {"train", "test"} & set(self.unlabelled):
            return False
        return bool(
            np.isin(np.unique(self.test.labels), self._split("train", slice(None)).labels).all()
        )

    def _split(self, name: str, which: slice) -> Split:
        part = "test" if name == "test" else "training"

        def load(kind: str) -> np.ndarray:
            array: np.ndarray = np.load(self.folder / f"{part}_{kind}.npy", mmap_mode="r")
            return array

        try:
            images, labels = load("images"), load("labels")
            factors = load("factors")[which] if self.factors else None
            keys = load("keys")[which] if self.binarisation == "static" else None
        except (OSError, ValueError) as error:
            distrust(self.folder)
            raise UserError(
                str(self.folder), f"got damaged prepared arrays ({error}). Start again."
            ) from error
        classes = None if name in self.unlabelled else self.classes
        first = which.indices(len(images))[0]
        names = RowNames(self.folder, part, which, name)
        return Split(images[which], labels[which], classes, first, names, factors, keys)

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}


def fingerprint_of(
    digest: str, validation: int | None, binarisation: str, reading: Sequence[str]
) -> str:
    """Return the fingerprint of images: of the digest of their prepared arrays, the validation
    size, the binarisation, and what else decides the pixels."""
    text = f"{digest} validation={validation} binarisation={binarisation}"
    return hashlib.sha256("; ".join([text, *reading]).encode()).hexdigest()


def open_dataset(
    settings: "DataSettings",
    *,
    root: Path | None = None,
    full_data: bool = False,
    columns: Sequence[str] = (),
    say: Callable[[str], None] = print,
) -> Dataset:
    """Find, prepare (the first time) and open the data set that `settings` name.

    root: folder with the files, or the file of arrays (`--data`, `VAEEXP_DATA`). None: the user's
        cache, a download and, for MNIST unless `full_data`, the bundled digits.
    columns: of a table, all of them in the order in which they are taken; by default that of the
        file.
    say: is told of a download, of the bundled digits, and of the decoding of image files.

    Raises UserError when the settings contradict the data, when there are no files, when a file is
    damaged, when the split leaves nothing to train on, or when the cache cannot be written.
    """
    definition = check_data(settings)
    known = partial(find_source, settings, definition, root=root, full_data=full_data, say=say)

    def find() -> Source:
        return replace(known(), columns=tuple(columns))

    make = partial(prepare, say=say)
    try:
        prepared = make(source := find())
    except Damaged as damage:
        download_again(definition, damage, say)
        prepared = make(source := find())
    return dataset_of(source, prepared)


def dataset_of(source: Source, prepared: Prepared) -> Dataset:
    """Return the data set of a source that is prepared. Raises UserError as `open_dataset`."""
    settings = source.settings
    definition = source.definition
    title = _title(settings, source, prepared)
    one_channel = ONE_CHANNEL if definition.layout.resized else arrays.ONE_CHANNEL
    check_grey(title, prepared.image_shape[0], settings.binarisation, one_channel)
    notes = prepared.notes
    if prepared.unreadable:
        # The files may have been decoded under a larger share than is allowed now.
        unreadable = [Unreadable(*file) for file in prepared.unreadable]
        check_unreadable(str(source.root), unreadable, prepared.files, settings.unreadable_share)
        count = f"{len(unreadable):,} of {prepared.files:,} files"
        listed = f"prepared/{prepared.folder.name}/meta.json"
        notes = (*notes, f"Left out: {count} cannot be read ({listed} in the cache)")
    sizes = sizes_of(
        source, prepared.training, prepared.test, prepared.validation, prepared.holdout
    )
    if (own := prepared.validation) and own > sizes[1]:
        unused = f"{own - sizes[1]:,} of {own:,} validation images"
        notes = (*notes, f"Left out: {unused}; data.validation_size is {sizes[1]:,}")
    same: dict[str, Any] = {field.name: getattr(prepared, field.name) for field in fields(Known)}
    return Dataset(
        **same,
        name=definition.name,
        title=title,
        subset=source.subset,
        binarisation=settings.binarisation,
        fingerprint=fingerprint_of(
            prepared.digest, sizes[1], settings.binarisation, prepared.reading
        ),
        source=source.words,
        folder=prepared.folder,
        sizes=sizes,
        notes=notes,
        pixels=pixel_words(prepared.pixels),
        limits=(prepared.pixels["lowest"], prepared.pixels["highest"]),
        split_seed=settings.split_seed,
        values=from_record(prepared.values),
        scaling=scaling_from(prepared.scaling),
    )


def check_data(settings: "DataSettings") -> Definition:
    """Return the data set that is named. Raises UserError for mistakes that show without files: an
    unknown name, binarised colour images, a size for images of one size."""
    definition = find_definition(settings.dataset)
    if definition.image_shape:
        check_grey(definition.title, definition.image_shape[0], settings.binarisation)
    if definition.counts is not None and not definition.layout.columns:
        _refuse_meanings(settings, definition)
    if settings.splits and definition.name != "folder":
        problem = f"got {settings.splits}; must be left out for '{definition.name}'"
        raise UserError("data.splits", f"{problem}. It is for image files: dataset: folder.")
    for name in ("image_size", "image_channels"):
        if (setting := getattr(settings, name)) is not None and not definition.layout.resized:
            resized = ", ".join(row.name for row in DATASETS.values() if row.layout.resized)
            problem = f"got {setting}; must be left out for '{definition.name}'"
            raise UserError(
                f"data.{name}",
                f"{problem}. Try --set {name}=null. It is for data sets with a file for each "
                f"image: {resized}.",
            )
    return definition


def _refuse_meanings(settings: "DataSettings", definition: Definition) -> None:
    """Raise UserError for settings that give files a meaning, where official files have one."""
    without = {"channels_first": "false", "split": "random"}
    for name in ("images", *ROLES, "channels_first", "pages", "missing", "split"):
        setting = getattr(settings, name)
        if not setting or setting == without.get(name):
            continue
        shown = ", ".join(map(str, setting)) if isinstance(setting, tuple) else setting
        shown = "true" if setting is True else shown
        problem = f"got {shown}; must be left out for '{definition.name}', whose files have one"
        remedy = f"meaning. Try --set {name}={without.get(name, 'null')}"
        raise UserError(f"data.{name}", f"{problem} {remedy}.")


def _title(settings: "DataSettings", source: Source, prepared: Prepared) -> str:
    definition = source.definition
    count = prepared.training + prepared.test
    if source.subset:
        return f"{definition.title}, {count:,}-image subset"
    size = height_width(settings.image_size)
    resized = f", {size[0]} × {size[1]}" if size else ""
    if definition.counts is None and definition.downloadable:
        return f"{definition.title}{resized}, {count:,} images"
    if definition.counts is None:
        return f"{printable(source.root.resolve().name)}{resized}, {count:,} images"
    other = (prepared.training, prepared.test) != definition.counts
    doubt = NOT_OFFICIAL if other else prepared.doubt
    return f"{definition.title}{resized}" + (f", {count:,} images ({doubt})" if doubt else "")


_BINARISATION = {
    "static": "each pixel drawn once, black or white",
    "dynamic": "each pixel drawn anew in every epoch, black or white",
    "none": "values in [0, 1]",
}


def understood(dataset: Dataset, likelihood: str) -> str:
    """Say in one line what was understood of arrays: how many, their shape, type and range, labels,
    scale and likelihood.
    """
    channels, height, width = dataset.image_shape
    shape = f"{height} × {width}" if height > 1 else f"{width}"
    shape += f" × {channels} channels" if channels > 1 else ""
    kind = "vectors" if height == channels == 1 else "arrays"
    labels = plural(dataset.class_count, "class", "classes") if dataset.classes else "no labels"
    found = dataset.pixels.partition(", mean")[0]
    if dataset.scaling.bytes:
        white = white_in(dataset.preparation)
        found = found if white == 255 else f"0 to {white}"
    text = f"{sum(dataset.sizes):,} {kind} of {shape}, {dataset.kind}, {found}, {labels}; "
    text += target_words(dataset)
    return f"{text}; {likelihood}" if likelihood else text


def whites_in(record: Mapping[str, Any]) -> dict[Stored, int]:
    """Return the number that is white in each kind of file, of a record of preparation."""
    known = record["whites"] or {}
    return PLAIN | {Stored(int(kind)): white for kind, white in known.items()}


def stored_in(record: Mapping[str, Any]) -> Stored:
    """Return the kind of numbers in the files, of a record of preparation."""
    return stored_kind(np.dtype(record["kind"]))


def white_in(record: Mapping[str, Any]) -> int:
    """Return the number that is white in the files of a run whose images are bytes: 1 of floats."""
    stored = stored_in(record)
    return 1 if stored is Stored.FLOATS else whites_in(record)[stored]


def target_words(dataset: Dataset) -> str:
    """Say how numbers become targets: binarised, as levels, or scaled."""
    if dataset.scaling.bytes:
        return _BINARISATION[dataset.binarisation]
    return scale_words(dataset.scaling)


def describe_plan(dataset: Dataset, likelihood: str = "") -> list[str]:
    """Describe files, size, channels, classes, split and memory of a data set, one line each. Reads
    no image.

    likelihood: of the models, in words.
    """
    train, validation, test = dataset.sizes
    channels, height, width = dataset.image_shape
    if not dataset.scaling.bytes:
        return [
            f"Understood: {understood(dataset, likelihood)}",
            *dataset.notes,
            f"Sizes: {train:,} to train on, {validation:,} to validate, {test:,} to test; split "
            f"seed {dataset.split_seed}",
            f"Values: {dataset.pixels}",
            f"Memory: {train * channels * height * width / 2**18:,.1f} MiB to train on, as float32",
        ]
    classes = [f"Classes: {dataset.class_count}"] if dataset.classes else []
    return [
        *(dataset.notes or (f"Images: {height} × {width} pixels, channels: {channels}", *classes)),
        f"Sizes: {train:,} images to train on, {validation:,} to validate, {test:,} to test; "
        f"split seed {dataset.split_seed}",
        f"Pixels: {dataset.pixels}",
        f"Targets: {_BINARISATION[dataset.binarisation]}",
        f"Memory: {train * channels * height * width / 2**20:,.1f} MiB of images to train on, as "
        "bytes",
    ]


def changes_words(dataset: Dataset, record: Mapping[str, Any]) -> str:
    """Say what is read otherwise than in edition 1, with a space before it; empty where nothing is,
    or `record`, of the data or their preparation, has a later edition.
    """
    if not dataset.changed or record.get("edition", 1) > 1:
        return ""
    return f" This version of vaeexp reads the files otherwise: {'; '.join(dataset.changed)}."


def stratified(labels: np.ndarray, count: int) -> np.ndarray:
    """Return the indices int64 [≤ count] of images that show each class in turn: the first image of
    every class, in the order of the labels [N], then the second of every class, and so on. Images
    without classes come in their order."""
    by_class = np.argsort(labels, kind="stable")
    sorted_labels = np.asarray(labels)[by_class]
    turns = np.arange(len(sorted_labels)) - np.searchsorted(sorted_labels, sorted_labels)
    return by_class[np.lexsort((sorted_labels, turns))[:count]]


TARGETS: dict[str, "Callable[[Tensor, Any], Tensor]"] = {
    "static": lambda images, thresholds: images.float(),
    "dynamic": lambda images, thresholds: (images > thresholds).float(),
    "none": lambda images, thresholds: images.float().div_(255),
    "scaled": lambda images, thresholds: images,
}
"""Kind of binarisation, or scaled → targets float32 from prepared images of any shape, uint8 but
for scaled ones, and, where it is dynamic, `draw_thresholds`.
"""


def draw_thresholds(images: "Tensor", generator: "torch.Generator") -> "Tensor":
    """Draw uint8 like `images`, uniform on 0 … 254, on the generator's device: P(image > threshold)
    = grey / 255.
    """
    import torch

    return torch.randint(
        0, 255, images.shape, generator=generator, device=generator.device, dtype=torch.uint8
    )


def targets(images: np.ndarray, kind: str, seed: int) -> "Tensor":
    """Return targets float32 [N, C, H, W] on the CPU, from prepared images [N, C, H, W] of this
    kind (`Dataset.target_kind`).

    static: the images are zeros and ones already and stay so.
    dynamic: every pixel is drawn once with the seed, P(1) = grey / 255 exactly (Salakhutdinov &
        Murray 2008).
    none: grey / 255.
    scaled: the images themselves.
    """
    import torch

    pixels = torch.from_numpy(np.array(images))  # a copy, because memory maps are read-only
    dynamic = kind == "dynamic"
    thresholds = draw_thresholds(pixels, torch.Generator().manual_seed(seed)) if dynamic else None
    return TARGETS[kind](pixels, thresholds)


def examples(dataset: Dataset, count: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return pictures of training images as a model is given them, uint8 [≤ count, H, W, C], and
    the class of each; no classes where the images have none. They are the same for the same data,
    and of as many classes as they can be.
    """
    train = dataset.train
    rows = stratified(train.labels, max(count, dataset.class_count))
    kinds = len(np.unique(train.labels[rows]))
    if kinds > count:
        rows = rows[np.linspace(0, kinds - 1, count).round().astype(int)]
    rows = rows[:count]
    shown = targets(train.images[rows], dataset.target_kind, dataset.split_seed)
    names = tuple(dataset.classes[label] for label in train.labels[rows]) if dataset.classes else ()
    return to_pictures(shown, drawn(dataset)), names


def drawn(dataset: Dataset) -> Values:
    """Return the values by which examples are drawn: images in [0, 1] are not stretched."""
    as_they_are = dataset.values.unit and kind_of(dataset.values) == "image"
    return replace(dataset.values, shown=(0.0, 1.0)) if as_they_are else dataset.values
