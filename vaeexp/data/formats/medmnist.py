"""MedMNIST (Yang et al. 2023, https://medmnist.com): any of its `.npz` files, with the official
split.

A file holds `train_images`, `val_images` and `test_images` uint8 [N, H, W] or [N, H, W, 3], and
`train_labels`, … [N, 1], or [N, L] where an image has several labels.
"""

from collections.abc import Callable
from itertools import product
from pathlib import Path

from sweeps import UserError
from vaeexp.data.formats import Definition, Layout, RawImages, Source, some_of
from vaeexp.data.formats.entries import described
from vaeexp.data.formats.named_arrays import read_named, refuse_names
from vaeexp.data.formats.npy_files import npz_entries

_PARTS = ("train", "val", "test")


def _find(definition: Definition, root: Path) -> tuple[Path, ...]:
    """Return the file that is given, or the only one in a folder. Raises UserError for several."""
    if root.is_file():
        return (root,) if root.suffix.lower() == ".npz" else ()
    found = sorted(path for path in root.glob("*.npz") if path.is_file())
    if len(found) > 1:
        names = some_of([path.name for path in found])
        problem = f"got {len(found)} .npz files ({names}); must be one"
        raise UserError(str(root), f"{problem}. Try --data {found[0]}")
    return tuple(found)


def _read(source: Source, scratch: Path, say: Callable[[str], None]) -> RawImages:
    refuse_names(source, "has a split of its own", "Its labels are read", "channels_first")
    path = source.paths[0]
    arrays = npz_entries(path)
    wanted = [f"{part}_{kind}" for part, kind in product(_PARTS, ("images", "labels"))]
    if missing := [name for name in wanted if name not in arrays]:
        problem = f"got the arrays {described(arrays.values()) or 'none'} without"
        remedy = "must be a file of MedMNIST. For other files try --set dataset=arrays"
        raise UserError(str(path), f"{problem} {', '.join(missing)}; {remedy}")
    return read_named(source, {name: arrays[name] for name in wanted}, scratch)


MEDMNIST = Layout(
    expected=lambda _: "a .npz file of MedMNIST, as pathmnist.npz, from https://medmnist.com",
    find=_find,
    read=_read,
)
