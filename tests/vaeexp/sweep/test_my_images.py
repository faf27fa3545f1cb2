"""The template for a folder of images: what it names, and the plan that is shown before and when it runs."""

import io
import re
from pathlib import Path

import pytest
import yaml
from image_files import write_tree
from rich.console import Console

from sweeps.errors import UserError
from vaeexp.settings import SECTIONS, DataSettings
from vaeexp.study import maxima_of
from vaeexp.sweep.execution import resolve_execution
from vaeexp.sweep.job import SweepOptions, prepare_job
from vaeexp.sweep.run import _announce, plan_sweep
from vaeexp.sweep.study_log import StudyLog

TEMPLATE = Path(__file__).parents[3] / "studies" / "my_images.yaml"
SMALL = ("batch_size=4", "channels=[4, 4]", "image_size=8")
PLAN = [
    "Files: 20 .png; height 10, width 9 pixels; all in colour",
    "Images: 8 × 8 pixels, cropped to the largest centred rectangle of these proportions and resized (Lanczos)",
    "Channels: 3 (red, green, blue)",
    "Classes: 2 (cat, dog)",
    "Sizes: 16 images to train on, 2 to validate, 2 to test; split seed 0",
]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("VAEEXP_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("VAEEXP_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    write_tree(tmp_path / "pets", {"cat": 10, "dog": 10}, shape=(10, 9, 3))
    return tmp_path / "pets"


def options(folder, *overrides, study=TEMPLATE):
    execution = {"device": "cpu", "precision": "float32", "workers": 1, "lanes": 1, "resident_mb": 1}
    return SweepOptions(study=str(study), data=folder, overrides=(*SMALL, *overrides), execution=execution)


def shown(work) -> list[str]:
    """The lines that `work` writes to a console."""
    console = Console(file=io.StringIO(), width=200)
    work(console)
    return [line.strip() for line in console.file.getvalue().splitlines()]


def test_it_names_every_setting_of_the_data_each_with_a_word_on_it():
    text = TEMPLATE.read_text(encoding="utf-8")
    content = yaml.safe_load(text)
    assert set(content["data"]) == set(DataSettings.model_fields)
    settings = [line for line in text.splitlines() if re.match(r"  \w+: ", line)]
    fixed = [line for line in settings if line.split(":")[0].strip() not in content["search"]]
    assert len(fixed) >= sum(len(content[name]) for name in SECTIONS)
    assert [line for line in fixed if "  # " not in line] == []


def test_a_dry_run_says_what_will_be_done_and_does_nothing(folder):
    lines = shown(lambda console: plan_sweep(options(folder), console=console))
    assert [line for line in PLAN if line not in lines] == []
    assert lines[-1] == "Nothing was trained."
    assert not Path("mlruns").exists()


def test_a_sweep_says_it_first(folder):
    job = prepare_job(options(folder), StudyLog(Console(quiet=True)))
    execution = resolve_execution(job.options.execution, {}, job.dataset, job.settings, maxima_of(job.study), 1)

    def announce(console):
        _announce(prepare_job(options(folder), StudyLog(console)), execution)

    lines = shown(announce)
    assert [line for line in PLAN if line not in lines] == []


def test_without_data_it_says_what_is_expected():
    with pytest.raises(
        UserError, match=r"'folder' needs --data \(or VAEEXP_DATA\), which must name image files \(\.png"
    ):
        prepare_job(options(None), StudyLog(Console(quiet=True)))


def test_the_plan_of_a_searched_network_measures_each(folder, tmp_path):
    text = TEMPLATE.read_text(encoding="utf-8").replace("  network: conv ", "  hidden: [400] ")
    path = tmp_path / "both.yaml"
    path.write_text(text.replace("search:\n", "search:\n  network: {values: [conv, mlp]}\n"))
    lines = shown(lambda console: plan_sweep(options(folder, study=path), console=console))
    count = int(
        next(re.match(r"Largest model: ([\d,]+)", line) for line in lines if "Largest" in line)[1].replace(",", "")
    )
    assert count > 400 * 3 * 64, "of the larger network, which is not the first"
    assert any(re.search(r"with (conv|mlp), the slowest network", line) for line in lines)
