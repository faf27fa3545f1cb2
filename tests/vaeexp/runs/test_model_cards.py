"""The model card of an exported run, and its preparation.json."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch
import yaml
from markdown_it import MarkdownIt
from prepared_runs import FEATURES, KINDS, Case
from saved_runs import finished_run
from tiny_study import NAME

from sweeps.state.trial import stored_path
from sweeps.storage import open_storage
from sweeps.storage.study_record import write_study
from vaeexp.data.scaling import scaling_from
from vaeexp.run_files import RESULT, load_json
from vaeexp.runs.export import export_run
from vaeexp.runs.model_card import PREPARATION, README
from vaeexp.runs.run import open_run

ALONE = """
import os, sys, json
for name in ("vaeexp", "sweeps", "torch", "pandas"):
    sys.modules[name] = None
import numpy
for folder in sys.argv[1:]:
    os.chdir(folder)
    with open("README.md", encoding="utf-8") as card:
        code = card.read().split("```python\\n")[1].split("```")[0]
    names = {}
    exec(code, names)
    shown = ("numbers", "mean", "reconstructions")
    numpy.savez("shown.npz", **{name: names[name] for name in shown})
"""


def front_matter(text: str) -> dict[str, Any]:
    start, head, _ = text.split("---\n", 2)
    assert start == ""
    return yaml.safe_load(head)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Case, Path]]:
    """A run on data of each kind, exported with ONNX files, and the example of its card run by a
    process that has ONNX Runtime and NumPy alone.
    """
    root = tmp_path_factory.mktemp("cards")
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VAEEXP_CACHE", str(root / "cache"))
        for kind in KINDS:
            case = Case(kind, root / kind)
            export_run(open_run(str(case.folder), root), root / kind / "out", onnx=True)
            found[kind] = case, root / kind / "out"
    folders = [str(folder) for _, folder in found.values()]
    done = subprocess.run(
        [sys.executable, "-c", ALONE, *folders], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_the_example_takes_numbers_of_files_to_codes_and_back(exported: dict, kind: str) -> None:
    case, folder = exported[kind]
    shown = np.load(folder / "shown.npz")
    scaling = case.dataset.scaling
    numbers = shown["numbers"]
    assert not scaling.bytes or numbers.max() <= case.white
    with torch.no_grad():
        mean = case.vae.encode(case.targets(numbers)).mean
        made = case.vae.decode(mean).mean.numpy()
    np.testing.assert_allclose(shown["mean"], mean, rtol=1e-5, atol=1e-5)
    wanted = case.numbers_of(made)
    scale = case.white if scaling.bytes else scaling.scale
    np.testing.assert_allclose((shown["reconstructions"] - wanted) / scale, 0, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_front_matter_is_that_of_the_hub(exported: dict, kind: str) -> None:
    _, folder = exported[kind]
    head = front_matter((folder / README).read_text(encoding="utf-8"))
    assert head["library_name"] == "vaeexp"
    assert {"variational-autoencoder", "pytorch", "onnx"} <= set(head["tags"])
    assert "license" not in head, "that is the user's"


@pytest.mark.parametrize("kind", KINDS)
def test_preparation_json_has_all_that_the_run_records(exported: dict, kind: str) -> None:
    case, folder = exported[kind]
    found = json.loads((folder / PREPARATION).read_text(encoding="utf-8"))
    recorded = json.loads(json.dumps(case.dataset.preparation))
    assert {name: found[name] for name in recorded} == recorded
    assert scaling_from(found["scaling"]) == case.dataset.scaling
    assert found["shape"] == list(case.dataset.image_shape)


FORMULAS = {
    "bytes": "target = number / 255; number = target · 255",
    "masks": "target = round(min(number, 3) · 255 / 3) / 255; number = target · 3",
    "sixteen bits": "The offset is 0.0, the scale 4095.0.\nNumbers are cut to 0 … 4095 first.",
    "table": "offset and scale",
}


@pytest.mark.parametrize("kind", FORMULAS)
def test_the_card_says_how_numbers_become_targets(exported: dict, kind: str) -> None:
    text = (exported[kind][1] / README).read_text(encoding="utf-8")
    if kind == "table":
        assert "target = (number − offset) / scale" in text
        assert all(name.replace("|", "\\|") in text for name in FEATURES if name != "constant")
    else:
        assert FORMULAS[kind] in text
    drawn = "trained on zeros and ones"
    assert (drawn in text) == (kind in ("static", "dynamic"))


def test_markup_in_names_is_text(tmp_path: Path) -> None:
    finished_run(tmp_path / "a|b_<i>*c*", (1, 4, 4), hidden=(4,), latent_size=2)
    export_run(open_run(str(tmp_path / "a|b_<i>*c*"), tmp_path), tmp_path / "out")
    text = (tmp_path / "out" / README).read_text(encoding="utf-8")
    html = MarkdownIt("commonmark").enable("table").render(text.split("---\n", 2)[2])
    assert "<h1>a|b_&lt;i&gt;*c*</h1>" in html
    assert "Nalisnick et al. 2019" in html
    assert "was not tested" in html, "a copied folder without its study has a card, too"


def test_figures_are_those_of_the_run_and_of_its_study(runs: Path, tmp_path: Path) -> None:
    folder = runs / "trials" / NAME / "repeat-0000"
    report = tmp_path / "reports" / NAME
    report.mkdir(parents=True)
    settings = load_json(folder / "settings.json")
    spread = {"mean": 123.456, "low": 120.0, "high": 126.912, "n": 3}
    confirmed = [{"configuration": settings["params"], "test": {"neg_elbo": spread}}]
    (report / "summary.json").write_text(json.dumps({"confirmed": confirmed}))
    study = optuna.load_study(study_name=NAME, storage=open_storage(None, runs, NAME))
    write_study(study, report=stored_path(report, runs))
    export_run(open_run(f"{NAME}/r0", runs), tmp_path / "out")
    text = (tmp_path / "out" / README).read_text(encoding="utf-8")
    tested = load_json(folder / RESULT)["test"]
    [row] = [line for line in text.splitlines() if line.startswith("| −ELBO |")]
    assert f"{tested['test/neg_elbo']:,.2f}" in row
    assert f"standard error {tested['test/neg_elbo_se']:,.2f}" in row
    assert "123.46, 120.00 to 126.91, n = 3" in row
    assert row.endswith("| nats per image |")
    assert f"k = 7, test images = {tested['test/images']:,.0f}" in text
    assert "> Does a trial that is trained again come out the same?" in text
    assert "learning rate (searched)" in text
    assert str(tmp_path) not in text, "no path of this machine"
