"""The report of a study: `reports/<study>/README.md` with its plots, `trials.csv` and `summary.json`, readable on any git host."""

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

from matplotlib.figure import Figure

from sweeps.errors import UserError, masked
from sweeps.files import write_whole
from vaeexp.plots import save
from vaeexp.report.chapters import compose
from vaeexp.report.html import page
from vaeexp.report.markdown import linked_files
from vaeexp.report.summary import summary_json
from vaeexp.results.study_view import StudyView

__all__ = ["README", "png", "trials_csv", "write_folder", "write_report"]

README = "README.md"
PAGE = "report.html"


def write_report(view: StudyView, *, reports: Path, html: bool = False) -> Path:
    """Write the report of a study in any state and return the path of its README.md. The same study gives the same bytes.

    Args:
        view: the study.
        reports: folder that gets `<study>/`.
        html: whether to write `report.html`, too: the report as one file, with pictures and tables inside.

    Raises:
        UserError: the folder cannot be written.
    """
    text, figures = compose(view)
    files = {name: png(figure) for name, figure in figures.items()}
    files |= {"trials.csv": trials_csv(view).encode(), "summary.json": summary_json(view).encode()}
    return write_folder(reports / view.name, text, files, html=html)


def trials_csv(view: StudyView) -> str:
    """Return all trials of search and repeats with the metrics of their best epoch as CSV, without folders and passwords."""
    trials, keys = view.trials, ["repeat", "number"]
    epochs = view.at_best_epoch(trials)
    metrics = [name for name in epochs.columns if name.startswith(("train/", "val/"))]
    table = trials.drop(columns=["folder"]).merge(epochs[[*keys, *metrics]], on=keys, how="left")
    table["purposes"] = table["purposes"].map("+".join)
    table["message"] = table["message"].map(masked, na_action="ignore")
    return table.sort_values(keys).to_csv(index=False, lineterminator="\n")


def png(figure: Figure) -> bytes:
    """Return a figure as a PNG file; the same figure gives the same bytes."""
    file = BytesIO()
    save(figure, file)
    return file.getvalue()


def write_folder(folder: Path, text: str, files: Mapping[str, bytes], *, html: bool) -> Path:
    """Write a report's markdown with the files beside it, and return the path of its README.md.

    Passwords in addresses are masked in the text. Pictures that only an earlier report had are removed. A `report.html`
    that is already there is written again even without `html`, so that it never shows an earlier state.

    Raises:
        UserError: the folder cannot be written.
    """
    text = masked(text)
    readme, at = folder / README, folder / PAGE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        earlier = linked_files(readme.read_text(encoding="utf-8", errors="replace")) if readme.exists() else set()
        for name, content in files.items():
            _write(folder / name, content)
        if html or at.exists():
            _write(at, page(text, files).encode())
        # Last, so that a report that can be read has all its files.
        _write(readme, text.encode())
        for name in earlier - linked_files(text):
            if name.endswith(".png"):
                (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise UserError(
            str(folder), f"the report cannot be written ({error}). Name another folder with --reports."
        ) from error
    return readme


def _write(path: Path, content: bytes) -> None:
    write_whole(path, lambda unfinished: unfinished.write_bytes(content))
