"""Files read by the reader of their data set alone, before anything is prepared."""

from pathlib import Path

from vaeexp.data.datasets import find_definition
from vaeexp.data.formats import RawImages, Source
from vaeexp.settings import DataSettings


def read_raw(root: Path, **changes) -> RawImages:
    """Read the files below `root` under these settings of data."""
    settings = DataSettings(**{"dataset": "arrays", "binarisation": "none", **changes})
    definition = find_definition(settings.dataset)
    paths = definition.layout.find(definition, root)
    assert paths, f"no files of {definition.name} below {root}"
    source = Source(definition=definition, settings=settings, root=root, paths=paths, words="")
    numbered = len(list(root.parent.glob("raw-scratch-*")))
    scratch = root.parent / f"raw-scratch-{numbered}"
    scratch.mkdir()
    return definition.layout.read(source, scratch, lambda text: None)
