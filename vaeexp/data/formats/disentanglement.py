"""dSprites and 3D Shapes: images with all their factors of variation.

- dSprites (Matthey et al. 2017, https://github.com/google-deepmind/dsprites-dataset): an `.npz`
  with `imgs` uint8 [737280, 64, 64] of 0 and 1, `latents_values` float64 [737280, 6] and
  `latents_classes` int64 [737280, 6]. Its `metadata` is pickled, so it is not read.
- 3D Shapes (Burgess and Kim 2018, https://github.com/google-deepmind/3d-shapes): an HDF5 file with
  `images` uint8 [480000, 64, 64, 3] and `labels` float64 [480000, 6], the values of the factors.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from sweeps import UserError
from vaeexp.data.formats import Definition, Layout, RawImages, Source
from vaeexp.data.formats.entries import Entry, described
from vaeexp.data.formats.hierarchical import HDF5, hdf5_entries
from vaeexp.data.formats.named_arrays import ROLES, read_column, read_named, refuse_settings
from vaeexp.data.formats.npy_files import npz_entries

SPRITES = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"
SHAPES = "3dshapes.h5"
_SPRITE_FACTORS = ("color", "shape", "scale", "orientation", "posX", "posY")
_SHAPE_FACTORS = ("floor_hue", "wall_hue", "object_hue", "scale", "shape", "orientation")


def _find(name: str, endings: tuple[str, ...]) -> Callable[[Definition, Path], tuple[Path, ...]]:
    """Return a function that finds the file of this name, or takes a file that is given."""

    def find(definition: Definition, root: Path) -> tuple[Path, ...]:
        if root.is_file():
            return (root,) if root.suffix.lower() in endings else ()
        places = [root / definition.folder / name, root / name]
        return tuple(path for path in places if path.is_file())[:1]

    return find


def _read(
    source: Source,
    scratch: Path,
    arrays: Mapping[str, Entry],
    images: str,
    values: str,
    factors: tuple[str, ...],
) -> RawImages:
    """Return the images with the shape as class, and all factors. Raises UserError."""
    fields = ("images", *ROLES, "channels_first")
    subject = f"{source.root.name} has arrays of its own"
    refuse_settings(source, fields, subject, "All its factors are read")
    path = source.paths[0]
    missing = [name for name in (images, values) if name not in arrays]
    if missing:
        problem = f"got the arrays {described(arrays.values()) or 'none'}"
        raise UserError(str(path), f"{problem}; must be {images} and {values}")
    dtype, shape = arrays[values].header()
    count = arrays[images].header()[1][:1]
    if dtype.kind not in "iuf" or shape != (*count, len(factors)):
        wanted = f"numbers [{', '.join(map(str, (*count, len(factors))))}]: {', '.join(factors)}"
        raise UserError(arrays[values].place, f"got {dtype} {list(shape)}; must be {wanted}")
    raw = read_named(source, {"images": arrays[images]}, scratch)
    known = np.asarray(read_column(arrays[values], scratch), np.float64)
    return raw._replace(factors=known, factor_names=factors)


def _with_shapes(
    place: Path, raw: RawImages, shapes: np.ndarray, names: tuple[str, ...]
) -> RawImages:
    """Return the images with their shapes, whole numbers [N] from 0, as classes. Raises UserError
    for other numbers.
    """
    if not np.isin(shapes, np.arange(len(names))).all():
        problem = f"got other shapes among its factors than {', '.join(names)}"
        raise UserError(str(place), f"{problem}; must be the official file")
    notes = [note for note in raw.notes if not note.startswith("Classes")]
    classes = f"Classes: {len(names)} ({', '.join(names)}), the shapes"
    kept = shapes.astype(np.uint8)
    return raw._replace(labels=kept, classes=names, notes=(*notes, classes))


def _read_sprites(source: Source, scratch: Path, say: Callable[[str], None]) -> RawImages:
    arrays = npz_entries(source.paths[0])
    raw = _read(source, scratch, arrays, "imgs", "latents_values", _SPRITE_FACTORS)
    assert raw.factors is not None
    # The values of the shape are 1, 2 and 3, as its classes from 1.
    return _with_shapes(source.paths[0], raw, raw.factors[:, 1] - 1, ("square", "ellipse", "heart"))


def _read_shapes(source: Source, scratch: Path, say: Callable[[str], None]) -> RawImages:
    arrays = hdf5_entries(source.paths[0])
    raw = _read(source, scratch, arrays, "images", "labels", _SHAPE_FACTORS)
    assert raw.factors is not None
    return _with_shapes(source.paths[0], raw, raw.factors[:, 4], ("0", "1", "2", "3"))


DSPRITES = Layout(
    expected=lambda _: f"{SPRITES}, from https://github.com/google-deepmind/dsprites-dataset",
    find=_find(SPRITES, (".npz",)),
    read=_read_sprites,
)
SHAPES3D = Layout(
    expected=lambda _: f"{SHAPES}, from https://storage.googleapis.com/3d-shapes/{SHAPES}",
    find=_find(SHAPES, HDF5),
    read=_read_shapes,
)
