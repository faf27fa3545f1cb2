"""The notebook of docs/examples: its code runs, and its outputs are those of a terminal that cannot move a cursor."""

import json
import shutil
from pathlib import Path

import matplotlib
import pytest
from command_line import Swept

NOTEBOOK = Path(__file__).resolve().parent.parent / "docs" / "examples" / "notebook.ipynb"


def test_the_notebook_was_executed_and_its_outputs_are_plain() -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert all(cell["execution_count"] for cell in code)
    assert not [output for cell in code for output in cell["outputs"] if output["output_type"] == "error"]
    text = json.dumps([cell["outputs"] for cell in code])
    assert "\\u001b" not in text


@pytest.mark.slow
def test_the_code_of_the_notebook_runs(
    tmp_path: Path, empty_store: Path, swept_smoke: Swept, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mlruns").mkdir()
    shutil.copy(empty_store, tmp_path / "mlruns")
    swept_smoke.copy_cache_to(tmp_path)
    matplotlib.use("Agg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VAEEXP_OFFLINE", "1")
    monkeypatch.delenv("VAEEXP_DATA", raising=False)
    monkeypatch.setenv("VAEEXP_CACHE", str(tmp_path / "cache"))
    names: dict[str, object] = {}
    for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), "notebook.ipynb", "exec"), names)
    assert names["images"].shape == (16, 1, 28, 28)
