"""The columns of parquet files that are images, labels, factors and groups: as the settings name
them, else by their types.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sweeps import UserError
from vaeexp.data.formats import Source, printable, some_of
from vaeexp.data.formats.named_arrays import names_given, roles_in, unknown
from vaeexp.data.formats.tables import index_words, pandas_index

if TYPE_CHECKING:
    import pyarrow

Kinds = Mapping[str, str]
"""Column → image, list (of numbers), integer, float, or another word for its type."""


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The columns that are read.

    images: column of image files or of lists of numbers; None where each of `features`, columns of
        one number, is a number of a vector.
    encoded: whether `images` are image files.
    classes: names of the labels, where the files have them.
    notes: sentences for people on the choice.
    changed: as in `RawImages`.
    """

    images: str | None
    encoded: bool
    features: tuple[str, ...]
    labels: str | None
    classes: tuple[str, ...] | None
    factors: tuple[str, ...]
    groups: str | None
    names: str | None
    notes: tuple[str, ...]
    changed: tuple[str, ...]

    def beside(self) -> list[str]:
        """Return the columns that are read beside the images."""
        named = [self.labels, *self.factors, self.groups, self.names]
        return list(dict.fromkeys(name for name in named if name))


def choose_columns(source: Source, schema: "pyarrow.Schema") -> Columns:
    """Choose the columns of files of this schema. Raises UserError where a setting names none, or
    several may be meant.
    """
    settings = source.settings
    title = source.definition.title
    kinds = {field.name: _kind(field.type) for field in schema}
    named = roles_in(settings)
    for setting, name in (("images", settings.images), *named):
        if name and name not in kinds:
            raise unknown(setting, name, f"a column of {title}: {some_of([*kinds])}", kinds)
    taken: set[str | None] = {name for _, name in named}
    index = sorted({*pandas_index(schema)} - {*taken, settings.images})
    taken |= {*index}
    images = settings.images or _only_images(title, kinds, taken)
    if images and kinds[images] not in ("image", "list"):
        problem = f"got '{images}', a column of type {kinds[images]}"
        raise UserError("data.images", f"{problem}; must be images, or lists of numbers")
    classes = _class_names(schema)
    labels = settings.labels
    notes: tuple[str, ...] = ()
    if labels is None:
        labels, notes = _only_labels(kinds, classes, {*taken, images}, table=images is None)
    features: tuple[str, ...] = ()
    if images is None:
        features = _features(title, kinds, {*taken, labels})
    return Columns(
        images=images,
        encoded=images is not None and kinds[images] == "image",
        features=features,
        labels=labels,
        classes=classes.get(labels or ""),
        factors=names_given(settings.factors),
        groups=settings.split_by,
        names=settings.names,
        notes=notes,
        changed=index_words(index),
    )


def _only_images(title: str, kinds: Kinds, taken: Collection[str | None]) -> str | None:
    """Return the only column of images, else the only column of lists of numbers; None where there
    are neither. Raises UserError where there are several.
    """
    for kind in ("image", "list"):
        found = [name for name, each in kinds.items() if each == kind and name not in taken]
        if len(found) > 1:
            problem = f"got several columns of images: {some_of(found)}"
            raise UserError(title, f"{problem}; must be one. Try --set images={found[0]}")
        if found:
            return found[0]
    return None


def _only_labels(
    kinds: Kinds,
    classes: Mapping[str, tuple[str, ...]],
    taken: Collection[str | None],
    *,
    table: bool,
) -> tuple[str | None, tuple[str, ...]]:
    """Return the only column with names of classes, else the only column of integers (in no
    table); None, with a note, where there are several.
    """
    free = [name for name in kinds if name not in taken]
    found = [name for name in free if name in classes]
    if not found and not table:
        found = [name for name in free if kinds[name] == "integer"]
    if len(found) == 1:
        return found[0], ()
    if not found:
        return None, ()
    listed = some_of(found)
    return None, (f"Labels: none read, because {listed} may be meant; `labels` names one",)


def _features(title: str, kinds: Kinds, taken: Collection[str | None]) -> tuple[str, ...]:
    """Return the columns of one number that are nothing else. Raises UserError where there are
    none.
    """
    features = tuple(
        name for name, kind in kinds.items() if kind in ("integer", "float") and name not in taken
    )
    if not features:
        listed = some_of([f"{name} ({kind})" for name, kind in kinds.items()])
        raise UserError(title, f"got the columns {listed}; must have images or numbers")
    return features


def _kind(column: "pyarrow.DataType") -> str:
    from pyarrow import types

    if types.is_struct(column):
        return "image" if column.get_field_index("bytes") >= 0 else "struct"
    if types.is_binary(column) or types.is_large_binary(column):
        return "image"
    inner = column
    while types.is_list(inner) or types.is_large_list(inner) or types.is_fixed_size_list(inner):
        inner = inner.value_type
    if types.is_integer(inner) or types.is_boolean(inner):
        kind = "integer"
    else:
        kind = "float" if types.is_floating(inner) else str(column)
    return "list" if inner is not column and kind in ("integer", "float") else kind


def _class_names(schema: "pyarrow.Schema") -> dict[str, tuple[str, ...]]:
    """Return the names of the classes of each column that has them, from the metadata of the
    schema; empty where the metadata are others.
    """
    try:
        stored: Any = json.loads((schema.metadata or {})[b"huggingface"])
        features = stored["info"]["features"].items()
        names = {column: feature.get("names") for column, feature in features}
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}
    return {
        column: tuple(printable(str(each)) or "(empty)" for each in listed)
        for column, listed in names.items()
        if isinstance(listed, list)
    }
