"""The path of a newcomer with images: from a folder as people have it to a report, with what a
person sees at each step.
"""

import re
import shlex
import shutil
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from command_line import Forks
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
GUIDE = ROOT / "docs" / "guide" / "own-images.md"
SMALL = (
    "--set",
    "channels=[4, 4]",
    "--set",
    "image_size=8",
    "--set",
    "epochs=4",
    "--trials",
    "2",
    "--compile",
    "off",
)
COLOURS = {"cat": (200, 80, 40), "dog": (40, 90, 200)}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A user's folder with photographs of two kinds, and the other files that lie among them."""
    rng = np.random.default_rng(0)
    for kind, colour in COLOURS.items():
        (tmp_path / "pets" / kind).mkdir(parents=True)
        for number in range(40):
            pixels = rng.normal(colour, 30, (24, 30, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(
                tmp_path / "pets" / kind / f"IMG_{number:03}.{('jpg', 'png')[number % 2]}"
            )
    (tmp_path / "pets" / "dog" / "notes.txt").write_text("Taken in May.")
    (tmp_path / "pets" / "dog" / "IMG_040.cr2").write_bytes(b"a camera's own format")
    (tmp_path / "pets" / "cat" / "IMG_041.jpg").write_bytes(b"cut off on its way")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VAEEXP_DATA", raising=False)
    monkeypatch.setenv("VAEEXP_CACHE", str(tmp_path / "cache"))
    return tmp_path


def guided(starting: str) -> str:
    """The first command of the guide that starts so, without its comment."""
    lines = GUIDE.read_text(encoding="utf-8").splitlines()
    return next(line.split("  #")[0].strip() for line in lines if line.startswith(starting))


@pytest.fixture
def ran(place):
    """Run a command as typed, with more arguments; returns all that it said."""
    with closing(Forks(place)) as forks:

        def run(command: str, *more: str, status: int = 0) -> str:
            done = forks.run(*shlex.split(command)[1:], *more)
            assert done.returncode == status, done.stdout + done.stderr
            return str(done.stdout) + str(done.stderr)

        yield run


def test_the_owner_of_images_is_led_to_a_plan(ran):
    assert "(docs/guide/own-images.md)" in (ROOT / "README.md").read_text(encoding="utf-8").replace(
        "/blob/main", ""
    )
    looked = guided("vaeexp sweep my_images --data FOLDER --dry-run --show")
    # 1. A slip of the hand.
    said = ran(looked.replace("FOLDER", "pest"), status=2)
    nearest = r"there is no such file or folder\. Did you mean 'pets'\?"
    assert re.search(rf"^vaeexp: pest: {nearest}$", said, re.M)
    # 2. A broken file: which, and what can be done.
    looked = looked.replace("FOLDER", "pets")
    said = ran(looked, status=2)
    assert "1 of 81 image files cannot be read: cat/IMG_041.jpg (no image that" in said
    assert "--set unreadable_share=0.02" in said
    assert not Path("mlruns").exists()
    # 3. The remedy that was offered: what was found, what will be done, and nine images to look at.
    said = ran(looked, *SMALL, "--set", "unreadable_share=0.02")
    for line in (
        "Files: 41 .jpg, 40 .png; height 24, width 30 pixels; all in colour",
        "Channels: 3 (red, green, blue)",
        "Classes: 2 (cat, dog)",
        "Passed over: 1 .cr2, which are not read here.",
        "Left out: 1 of 81 files cannot be read",
        "Sizes: 65 images to train on, 8 to validate, 7 to test; split seed 0",
        "Then up to 3 further runs",
        "Nothing was trained.",
    ):
        assert line in said
    with Image.open("my_images-images.png") as sheet:
        means = np.asarray(sheet.convert("RGB"), float).reshape(-1, 3).mean(0)
    assert np.ptp(means) > 5, "the sheet shows the photographs in their colours"
    assert not Path("mlruns").exists()


@pytest.mark.slow
def test_and_to_a_report(ran, empty_store):
    Path("mlruns").mkdir()
    shutil.copy(empty_store, "mlruns")
    # 4. The sweep: its runs and where the report is.
    command = (
        guided("vaeexp sweep my_images --data FOLDER")
        .removesuffix(" --dry-run --show")
        .replace("FOLDER", "pets")
    )
    said = ran(command, *SMALL, "--set", "unreadable_share=0.02")
    assert re.search(r"^\[2/2\]  my_images/\d  \w+  epoch \d  −ELBO [\d.]+  beta=", said, re.M)
    assert re.search(r"^\[3/3\]  my_images/r2  complete", said, re.M)
    assert re.search(r"^Report: reports/my_images/report.html$", said, re.M)
    # 5. The report: an answer with its interval, what the data are, and how they look.
    report = Path("reports/my_images/README.md").read_text(encoding="utf-8")
    assert re.search(r"^- \*\*Use\*\* β = .*$", report, re.M)
    assert re.search(r"^- \*\*Get\*\* test −ELBO [\d,.]+ ± [\d,.]+ nats per image", report, re.M)
    assert "Passed over: 1 .cr2, which are not read here." in report
    assert "Left out: 1 of 81 files cannot be read" in report
    pictures = re.findall(r'<img src="([^"]+)"', report)
    assert "training_images.png" in pictures
    assert [name for name in pictures if not (Path("reports/my_images") / name).is_file()] == []
    # 6. What comes next: the state of the study, and new pictures of the best model.
    assert "my_images: finished" in ran("vaeexp status my_images")
    said = ran("vaeexp sample my_images/best")
    written = re.search(r"(\S+\.png)", said)
    assert written is not None
    with Image.open(written[1]) as image:
        assert min(image.size) > 8
