"""Where a command on a run may write: never over what it reads, and over other files only where
vaeexp wrote them, or the user says so.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sweeps import UserError
from vaeexp.data.datasets import find_definition
from vaeexp.data.formats.image_pixels import readable
from vaeexp.run_files import SETTINGS, load_json, writing
from vaeexp.runs.inputs import files_in
from vaeexp.runs.marks import check_ours
from vaeexp.runs.model_card import README
from vaeexp.runs.row_files import check_target
from vaeexp.runs.run import Run, preparation_of


@dataclass(frozen=True)
class Outputs:
    """What a command on a run reads: `files`, and the run's data at `data`. `overwrite`: whether it
    may replace files that others wrote.
    """

    run: Run
    files: Sequence[Path] = ()
    data: Path | None = None
    overwrite: bool = False

    def check(self, path: Path, endings: Sequence[str], option: str = "--to") -> None:
        """Raise UserError where a file cannot be written, or must not be."""
        with writing(path):
            check_target(path, endings, option)
            if not path.exists():
                return
            if any(read.exists() and read.samefile(path) for read in self._inputs()):
                problem = f"got '{path}', which the command reads; must be another file."
                raise UserError(option, problem)
            if not self.overwrite:
                check_ours(path, f"Give another file with {option}, or add --overwrite")

    def check_folder(self, folder: Path, names: Sequence[str]) -> None:
        """Raise UserError where the folder of an export must not get files of these names: it holds
        another run, or such files that are read or from others.
        """
        there = folder / SETTINGS
        exported = there.exists() and not there.samefile(self.run.folder / SETTINGS)
        if exported and there.read_bytes() == (self.run.folder / SETTINGS).read_bytes():
            names = (README,)  # the others are its own
        elif exported and _is_sealed(there):
            raise UserError("--output", f"'{folder}' holds another run; give another folder.")
        for name in names:
            self.check(folder / name, (), "--output")

    def _inputs(self) -> Iterator[Path]:
        """Yield the files that are read."""
        yield from self.run.folder.iterdir()
        for file in self.files:
            if file.exists():
                yield from files_in(file, preparation_of(self.run))
        if self.data is not None and self.data.exists():
            definition = find_definition(self.run.settings.data.dataset)
            images = definition.layout.resized
            for path in definition.layout.find(definition, self.data):
                if not images or path.suffix.lower() in readable():
                    yield path


def _is_sealed(path: Path) -> bool:
    """Return whether a file is the settings of a run."""
    try:
        return bool(load_json(path))
    except (UserError, ValueError):
        return False
