"""A named file of arrays, `NAME.npz`, known by its checksum: the data sets of MedMNIST (Yang et al.
2023, https://medmnist.com), each with the splits train, val and test.
"""

from collections.abc import Callable
from pathlib import Path

from vaeexp.data.formats import TEST, Definition, Layout, RawImages, Source
from vaeexp.data.formats.arrays import ARRAYS
from vaeexp.data.formats.official_files import describe_doubt


def _find(definition: Definition, root: Path) -> tuple[Path, ...]:
    name = f"{definition.name}.npz"
    if root.is_file():
        return (root,) if root.name == name else ()
    candidates = (root / below / name for below in ("", "medmnist", "MedMNIST"))
    return next(((path,) for path in candidates if path.is_file()), ())


def _read(source: Source, scratch: Path, say: Callable[[str], None]) -> RawImages:
    """Read the arrays, with the names of the classes. ChestMNIST has several labels an image, which
    are left out.
    """
    raw = ARRAYS.read(source, scratch, say)
    names = source.definition.classes
    if names and raw.classes is not None and len(raw.classes) <= len(names):
        raw = raw._replace(classes=names)
    tested = int((raw.parts == TEST).sum())
    if (len(raw.parts) - tested, tested) != source.definition.counts:
        return raw
    doubt, warnings = describe_doubt(source.definition, source.paths)
    return raw._replace(doubt=doubt, warnings=(*raw.warnings, *warnings))


OFFICIAL_ARRAYS = Layout(expected=lambda row: f"{row.name}.npz", find=_find, read=_read)
