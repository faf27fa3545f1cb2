"""The folder of a report: its README.md, the files next to it, and the HTML page."""

from collections.abc import Callable, Mapping
from functools import partial
from io import BytesIO
from pathlib import Path

from matplotlib.figure import Figure

from sweeps import UserError, masked, write_whole
from vaeexp.plots import save
from vaeexp.report import PAGE
from vaeexp.report.markup import linked_files

README = "README.md"


def png(figure: Figure) -> bytes:
    """Return a figure as a PNG file; the same figure gives the same bytes."""
    file = BytesIO()
    save(figure, file)
    return file.getvalue()


def write_folder(
    folder: Path,
    text: str,
    files: Mapping[str, bytes],
    html: Callable[[str, Mapping[str, bytes]], str] | None,
) -> Path:
    """Write a report's markdown with the files next to it, and return the path of its README.md.

    Passwords in addresses are masked in the text. Pictures and arrays that only an earlier report
    had are removed, and its `report.html` without `html`, so that no file shows an earlier state.

    Args:
        html: makes the HTML page of text and files, as `page` does.

    Raises:
        UserError: the folder cannot be written.
    """
    text = masked(text)
    readme = folder / README
    contents = dict(files)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        earlier = (
            linked_files(readme.read_text(encoding="utf-8", errors="replace"))
            if readme.exists()
            else set()
        )
        if html:
            contents[PAGE] = html(text, files).encode()
        else:
            (folder / PAGE).unlink(missing_ok=True)
        # The README comes last, so that a report that can be read has all its files.
        for name, content in {**contents, README: text.encode()}.items():
            write_whole(folder / name, partial(Path.write_bytes, data=content))
        for name in earlier - linked_files(text):
            if name.endswith((".png", ".npz")):
                (folder / name).unlink(missing_ok=True)
    except OSError as error:
        problem = f"the report cannot be written ({error}). Name another folder with --reports."
        raise UserError(str(folder), problem) from error
    return readme
