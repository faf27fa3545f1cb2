"""A folder of a report: its files, its page and its text, each written whole or not at all."""

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

from matplotlib.figure import Figure

from sweeps.errors import UserError
from sweeps.files import write_whole
from vaeexp.plots import save
from vaeexp.report.html import page
from vaeexp.report.markdown import baselines

README = "README.md"
PAGE = "report.html"


def png(figure: Figure) -> bytes:
    """A figure as a PNG file; the same figure gives the same bytes."""
    file = BytesIO()
    save(figure, file)
    return file.getvalue()


def write_folder(folder: Path, text: str, files: Mapping[str, bytes], *, html: bool) -> Path:
    """Write a report's markdown with the files beside it, and return the path of its README.md.

    Pictures that an earlier report had and this one has not are removed. With `html` there is also a `report.html`;
    one that is already there is written again in any case, so that it never tells of an earlier state.

    Raises:
        UserError: the folder cannot be written.
    """
    readme, at = folder / README, folder / PAGE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        earlier = baselines(readme.read_text(encoding="utf-8", errors="replace")) if readme.exists() else set()
        for name, content in files.items():
            _replace(folder / name, content)
        if html or at.exists():
            _replace(at, page(text, files).encode())
        # Last, so that a report that can be read has all its files.
        _replace(readme, text.encode())
        for name in earlier - baselines(text):
            if name.endswith(".png"):
                (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise UserError(
            str(folder), f"the report cannot be written there ({error}). Name another folder with --reports."
        ) from error
    return readme


def _replace(path: Path, content: bytes) -> None:
    write_whole(path, lambda unfinished: unfinished.write_bytes(content))
