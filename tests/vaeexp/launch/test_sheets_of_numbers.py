"""`--dry-run --show` draws images in [0, 1] as the models are given them, and says the range."""

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from vaeexp.data.dataset import examples
from vaeexp.launch.job import contact_sheet, prepare_job
from vaeexp.launch.options import SweepOptions
from vaeexp.launch.run import plan_sweep
from vaeexp.launch.study_log import StudyLog

STUDY = """
question: Which learning rate?
data: {dataset: arrays, binarisation: none}
model: {network: mlp, hidden: [8], latent_size: 2, likelihood: gaussian}
train: {epochs: 1, batch_size: 20}
search: {learning_rate: {values: [0.003]}}
sampler: grid
pruner: none
budget: {trials: 1}
"""
GREY = np.random.default_rng(0).random((60, 6, 6))
UNIT = {
    "dark floats": (0.1 * GREY).astype(np.float32),
    "floats": GREY,
    "16 bits": np.rint(GREY * 6000).astype(np.uint16),
    "12 bits and a hot pixel": np.where(GREY.max() == GREY, 65_535, GREY * 4095).astype(np.uint16),
}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VAEEXP_CACHE", str(tmp_path / "cache"))
    Path("grey.yaml").write_text(STUDY, encoding="utf-8")


def shown(images: np.ndarray, *changes: str) -> str:
    np.save("mine.npy", images)
    text = io.StringIO()
    options = SweepOptions(study="grey.yaml", data=Path("mine.npy"), overrides=changes)
    plan_sweep(options, StudyLog(Console(file=text, width=1000)), show=True)
    return next(line for line in text.getvalue().splitlines() if "-images.png" in line)


def job_of(images: np.ndarray, *changes: str):
    np.save("mine.npy", images)
    options = SweepOptions(study="grey.yaml", data=Path("mine.npy"), overrides=changes)
    return prepare_job(options, StudyLog(Console(file=io.StringIO())))


@pytest.mark.parametrize("kind", UNIT)
def test_images_in_the_unit_interval_are_not_stretched(kind):
    job = job_of(UNIT[kind])
    pictures, _ = examples(job.dataset, 9)
    targets = np.asarray(job.dataset.train.images).reshape(-1, 36)
    rows = {tuple(row) for row in np.rint(targets * 255).astype(int).tolist()}
    assert {tuple(picture.reshape(-1).tolist()) for picture in pictures} <= rows
    np.testing.assert_array_equal(contact_sheet(job).images, pictures)


def test_the_range_is_said():
    said = shown(UNIT["dark floats"])
    assert "as the models are given them" in said
    assert " Black is the target 0, white 1; numbers: " in said
    high = UNIT["dark floats"].max()
    assert f" to {high:.5g}, mean 0.0" in said
    said = shown(40 * GREY - 20, "scale=standard")
    assert " Black is the target −1.6" in said
    assert "numbers: −20 to " in said or "numbers: −19.9" in said


def test_bytes_need_no_range():
    assert "Black" not in shown(np.rint(GREY * 255).astype(np.uint8))
