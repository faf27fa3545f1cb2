"""How data sets lie in files: for each layout what is expected, how it is found, and how it is read.

A layout is three functions. `expected(definition)` names the files for an error message. `find(definition, root)`
returns their paths below the folder (or file) given, empty when there is none of them; it raises UserError when only
some are there. `read(source, scratch, say)` returns `RawImages`; it may write large arrays into the folder `scratch`,
and tells `say` what takes long.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vaeexp.data.datasets import Definition, RawImages
from vaeexp.data.formats import arrays, celeba, cifar, idx, image_folder, svhn

if TYPE_CHECKING:
    from vaeexp.data.locate import Source


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One way in which a data set is written."""

    expected: Callable[[Definition], str]
    find: Callable[[Definition, Path], tuple[Path, ...]]
    read: Callable[["Source", Path, Callable[[str], None]], RawImages]
    resized: bool = False
    """Whether there is a file for each image, so that `image_size`, `image_channels` and `crop` apply."""


LAYOUTS: dict[str, Layout] = {
    "idx": Layout(expected=idx.expected, find=idx.find, read=idx.read),
    "cifar": Layout(expected=cifar.expected, find=cifar.find, read=cifar.read),
    "svhn": Layout(expected=svhn.expected, find=svhn.find, read=svhn.read),
    "celeba": Layout(expected=celeba.expected, find=celeba.find, read=celeba.read, resized=True),
    "folder": Layout(expected=image_folder.expected, find=image_folder.find, read=image_folder.read, resized=True),
    "arrays": Layout(expected=arrays.expected, find=arrays.find, read=arrays.read),
}
