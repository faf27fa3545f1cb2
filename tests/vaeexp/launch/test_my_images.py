"""The templates for images and arrays: what they name, and the plan that is shown before and when
they run.
"""

import io
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from image_files import noise, write_tree
from rich.console import Console

from sweeps.errors import UserError
from vaeexp.commands import cli
from vaeexp.launch.job import prepare_job
from vaeexp.launch.options import SweepOptions
from vaeexp.launch.run import plan_sweep
from vaeexp.launch.study_log import StudyLog
from vaeexp.settings import SECTIONS, DataSettings

GUIDE = Path(__file__).parents[3] / "docs" / "guide" / "own-images.md"
TEMPLATE = Path(__file__).parents[3] / "studies" / "my_images.yaml"
ARRAYS = TEMPLATE.with_name("my_arrays.yaml")
SMALL = ("batch_size=4", "channels=[4, 4]", "image_size=8")
PLAN = [
    "Files: 20 .png; height 10, width 9 pixels; all in colour",
    "Images: 8 × 8 pixels, cropped to the largest centred rectangle of these proportions and "
    "resized (Lanczos)",
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
    execution = {
        "device": "cpu",
        "precision": "float32",
        "workers": 1,
        "lanes": 1,
        "resident_mb": 1,
    }
    return SweepOptions(study=str(study), data=folder, overrides=(*SMALL, *overrides), **execution)


def shown(work) -> list[str]:
    """The lines that `work` writes to a console."""
    console = Console(file=io.StringIO(), width=200)
    work(console)
    return [line.strip() for line in console.file.getvalue().splitlines()]


def test_the_templates_name_every_setting_of_the_data():
    texts = [path.read_text(encoding="utf-8") for path in (TEMPLATE, ARRAYS)]
    named = [set(yaml.safe_load(text)["data"]) for text in texts]
    assert named[0] | named[1] == set(DataSettings.model_fields)
    of_arrays = {"images", "labels", "factors", "names", "drop", "channels_first", "missing"}
    of_files = {"image_size", "image_channels", "crop", "background", "splits", "split_folders"}
    assert named[0] - named[1] == of_files | {"unreadable_share"}
    assert named[1] - named[0] == of_arrays


@pytest.mark.parametrize("path", [TEMPLATE, ARRAYS], ids=lambda path: path.stem)
def test_each_setting_of_a_template_has_a_word_on_it(path):
    text = path.read_text(encoding="utf-8")
    content = yaml.safe_load(text)
    settings = [line for line in text.splitlines() if re.match(r"  \w+: ", line)]
    fixed = [line for line in settings if line.split(":")[0].strip() not in content["search"]]
    assert len(fixed) >= sum(len(content[name]) for name in SECTIONS)
    assert [line for line in fixed if "  # " not in line] == []


def test_a_dry_run_says_what_will_be_done_and_does_nothing(folder):
    lines = shown(lambda console: plan_sweep(options(folder), StudyLog(console)))
    assert [line for line in PLAN if line not in lines] == []
    assert lines[-1] == "Nothing was trained."
    assert not Path("mlruns").exists()


def test_without_data_it_says_what_is_expected():
    with pytest.raises(
        UserError,
        match=r"'folder' needs --data \(or VAEEXP_DATA\), which must name image files \(\.png",
    ):
        prepare_job(options(None), StudyLog(Console(quiet=True)))


def test_the_plan_of_a_searched_network_measures_each(folder, tmp_path):
    text = TEMPLATE.read_text(encoding="utf-8").replace("  network: conv ", "  hidden: [400] ")
    path = tmp_path / "both.yaml"
    path.write_text(text.replace("search:\n", "search:\n  network: {values: [conv, mlp]}\n"))
    lines = shown(lambda console: plan_sweep(options(folder, study=path), StudyLog(console)))
    count = int(
        next(re.match(r"Largest model: ([\d,]+)", line) for line in lines if "Largest" in line)[
            1
        ].replace(",", "")
    )
    assert count > 400 * 3 * 64, "of the larger network, which is not the first"


def written_table(path: Path) -> Path:
    numbers = np.random.default_rng(0).normal(size=(200, 3)) * [1, 100, 1e-3]
    rows = [",".join([*map(str, row), f"kind {place % 2}"]) for place, row in enumerate(numbers)]
    path.write_text("\n".join(["a,b,c,kind", *rows]))
    return path


def written_signals(path: Path) -> Path:
    np.save(path, np.random.default_rng(0).normal(size=(200, 40)).astype(np.float32))
    return path


@pytest.mark.parametrize(
    ("name", "write", "settings", "words"),
    [
        ("table.csv", written_table, ("labels=kind",), "200 vectors of 3, float64"),
        ("signals.npy", written_signals, (), "200 vectors of 40, float32"),
    ],
)
def test_the_template_of_arrays_plans_as_shipped(tmp_path, name, write, settings, words):
    given = {"workers": 1, "lanes": 1, "compile": "off", "device": "cpu"}
    asked = SweepOptions(
        study=str(ARRAYS), data=write(tmp_path / name), overrides=settings, **given
    )
    lines = shown(lambda console: plan_sweep(asked, StudyLog(console)))
    assert any(line.startswith(f"Understood: {words}") for line in lines)
    assert any("scaled by training mean and deviation of each feature" in line for line in lines)
    classes = [line for line in lines if line.startswith("Classes: 2 (kind 0, kind 1)")]
    assert len(classes) == len(settings)
    assert lines[-1] == "Nothing was trained."


def guide_commands() -> list[str]:
    blocks = re.findall(
        r"^```sh\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith("vaeexp sweep ")]


def run_command(line: str, folder: Path, file: Path, *more: str) -> str:
    """Run a command of the guide with the user's own FOLDER or FILE; what it says."""
    _, *arguments = shlex.split(line.replace("FOLDER", str(folder)).replace("FILE", str(file)))
    done = CliRunner().invoke(cli, [*arguments, *more], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.parametrize("file", ["grey.npy", "colour.npz"])
def test_the_commands_of_the_guide_work_as_written(folder, tmp_path, file):
    write_tree(folder, {"cat": 50, "dog": 40}, shape=(12, 14, 3))
    np.save(tmp_path / "grey.npy", noise(100, 28, 28))
    np.savez(tmp_path / "colour.npz", images=noise(100, 20, 24, 3), labels=np.arange(100) % 3)
    commands = guide_commands()
    arrays = [line for line in commands if "FILE" in line]
    assert len(arrays) == len(commands) - len(arrays) == 2
    for line in arrays if file == "colour.npz" else commands:
        said = run_command(
            line.removesuffix(" --dry-run"),
            folder,
            tmp_path / file,
            "--dry-run",
            "--compile",
            "off",
        )
        assert "80 images to train on, 10 to validate, 10 to test" in said or "FOLDER" in line
        assert "Nothing was trained." in said


@pytest.mark.slow
def test_the_sweep_of_arrays_in_the_guide_ends_with_a_report(folder, tmp_path):
    np.save(tmp_path / "grey.npy", noise(100, 28, 28))
    more = (
        "--trials",
        "1",
        "--compile",
        "off",
        "--set",
        "channels=[4, 4]",
        "--set",
        "importance_samples=2",
    )
    said = run_command(guide_commands()[-1], folder, tmp_path / "grey.npy", *more)
    assert "Report: " in said
    assert (tmp_path / "reports" / "my_images" / "README.md").is_file()


def test_arrays_say_how_the_size_of_the_template_is_left_out(tmp_path):
    np.save(tmp_path / "grey.npy", noise(100, 28, 28))
    with pytest.raises(UserError, match=r"'arrays'.*--set image_size=null") as caught:
        prepare_job(options(tmp_path / "grey.npy", "dataset=arrays"), StudyLog(Console(quiet=True)))
    assert caught.value.place == "data.image_size"
