"""Runs a notebook in a real Jupyter kernel, and reads what each of its cells shows.

`python tests/support/notebooks.py --write` executes the notebook of docs/examples again and writes
its outputs.
"""

import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "docs" / "examples" / "notebook.ipynb"


@dataclass(frozen=True)
class Shown:
    """What a person sees below a cell."""

    lines: str
    """What was printed."""
    bar: str
    """The last state of the progress bar; it is written to standard error."""
    kinds: tuple[str, ...]
    """MIME types of the pictures and values."""
    value: str
    """The value of the cell as text."""
    error: str


def execute(
    notebook: nbformat.NotebookNode, folder: Path, environment: Mapping[str, str]
) -> nbformat.NotebookNode:
    """Execute all cells in one kernel that runs in the folder. A cell that fails does not end the
    others.
    """
    kernel = {"resources": {"metadata": {"path": str(folder)}}, "kernel_name": "python3"}
    client = NotebookClient(
        notebook, timeout=280, allow_errors=True, coalesce_streams=True, **kernel
    )
    executed: nbformat.NotebookNode = client.execute(env=dict(environment))
    return executed


def show(cells: Sequence[str], folder: Path, environment: Mapping[str, str]) -> list[Shown]:
    """Run code cells in one kernel, and return what each shows."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    return [shown(cell) for cell in execute(notebook, folder, environment).cells]


def shown(cell: nbformat.NotebookNode) -> Shown:
    """Return what an executed code cell shows."""

    def text(name: str) -> str:
        return "".join(o.text for o in cell.outputs if o.output_type == "stream" and o.name == name)

    data = [o.data for o in cell.outputs if o.output_type in ("display_data", "execute_result")]
    return Shown(
        lines=text("stdout"),
        bar=text("stderr").strip().splitlines()[-1] if text("stderr").strip() else "",
        kinds=tuple(dict.fromkeys(kind for each in data for kind in each)),
        value="".join(each.get("text/plain", "") for each in data),
        error="\n".join(
            line for o in cell.outputs if o.output_type == "error" for line in o.traceback
        ),
    )


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("usage: python tests/support/notebooks.py --write")
    with tempfile.TemporaryDirectory() as place:
        activated = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
        offline = {"PYTHONPATH": str(ROOT), "VAEEXP_OFFLINE": "1", "PATH": activated}
        inherited = {
            name: value
            for name, value in os.environ.items()
            if name not in ("VAEEXP_DATA", "VAEEXP_CACHE")
        }
        content = execute(nbformat.read(NOTEBOOK, as_version=4), Path(place), inherited | offline)
    for each in content.cells:
        each.metadata.pop("execution", None)  # the times of the day
    NOTEBOOK.write_text(
        nbformat.writes(content).replace(str(Path.home()), "~") + "\n", encoding="utf-8"
    )
