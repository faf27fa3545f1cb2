"""vaeexp init --data: the study that it writes fits the file and says how it was understood."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from image_files import write_image

from sweeps.errors import UserError
from vaeexp.commands import cli
from vaeexp.study import open_study_file, settings_of

RANDOM = np.random.default_rng(0)
WAVE = np.linspace(0, 6, 128)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VAEEXP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("VAEEXP_OFFLINE", "1")
    monkeypatch.delenv("VAEEXP_DATA", raising=False)


def run(*arguments: str) -> str:
    done = CliRunner().invoke(cli, [*arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def array(name: str, make: Callable[[], np.ndarray]) -> Callable[[], str]:
    def write() -> str:
        np.save(name, make())
        return name

    return write


def table(name: str, header: list[str], rows: Callable[[], list[list[Any]]]) -> Callable[[], str]:
    def write() -> str:
        with Path(name).open("w", newline="") as file:
            csv.writer(file).writerows([header, *rows()])
        return name

    return write


def files(ending: str, make: Callable[[], np.ndarray]) -> Callable[[], str]:
    def write() -> str:
        for number in range(40):
            write_image(Path("my images") / f"{number:02d}{ending}", make())
        (Path("my images") / "labels.csv").write_text("file,label\n00.png,cat\n")
        return "my images"

    return write


def _visits() -> list[list[Any]]:
    numbers = RANDOM.normal([70, 1e5, 7], [9, 900, 0.1], (150, 3)).tolist()
    return [[*row, "ab"[at % 2], f"p{at % 20}"] for at, row in enumerate(numbers)]


def _deep() -> np.ndarray:
    image = RANDOM.integers(0, 4096, (18, 21)).astype(np.uint16)
    image[0, 0] = 4095
    return image


def _signals(width: int) -> np.ndarray:
    return np.sin(WAVE[:width] + 6 * RANDOM.random((90, 1))).astype(np.float32)


SPECTROGRAMS = array(
    "spectrograms.npy", lambda: np.log(RANDOM.random((90, 32, 40)) + 1e-3).astype(np.float32)
)
VISITS = table("visits.csv", ["pulse", "pressure", "ph", "kind", "patient"], _visits)
COUNTS = table(
    "counts.csv",
    [f"gene{at}" for at in range(12)],
    lambda: np.minimum(RANDOM.poisson(3, (150, 12)), 9).tolist(),
)
KINDS = {
    "spectrograms": (
        SPECTROGRAMS,
        "90 arrays of 32 × 40, float32, −6",
        "no labels; scaled by training mean and deviation; gaussian_learned",
        {"scale": "standard", "scale_per": "global", "network": "conv"},
    ),
    "table": (
        VISITS,
        "150 vectors of 3, float64, ",
        "2 classes; scaled by training mean and deviation of each feature; gaussian_learned",
        {"scale_per": "feature", "network": "mlp", "labels": "kind", "split_by": "patient"},
    ),
    "16-bit TIFF files": (
        files(".tif", _deep),
        "40 arrays of 18 × 21, uint16, 0 to 4,095, ",
        "no labels; 0 to 4,095 scaled to 0 to 1; discretised_logistic",
        {"scale": "unit", "network": "conv", "dataset": "folder", "binarisation": "none"},
    ),
    "colour pictures": (
        files(".png", lambda: RANDOM.integers(0, 256, (20, 17, 3), np.uint8)),
        "40 arrays of 20 × 17 × 3 channels, uint8, 0 to 255, ",
        "no labels; values in [0, 1]; discretised_logistic",
        {"scale": "unit", "network": "conv", "dataset": "folder", "binarisation": "none"},
    ),
    "counts": (
        COUNTS,
        "150 vectors of 12, int64, 0 to 9, ",
        "no labels; not scaled; negative_binomial",
        {"scale": "none", "network": "mlp"},
    ),
    "masks": (
        array("masks.npy", lambda: (RANDOM.random((80, 16, 16)) > 0.7).astype(np.uint8)),
        "80 arrays of 16 × 16, uint8, 0 to 1, ",
        "no labels; each pixel drawn once, black or white; bernoulli",
        {"scale": "unit", "network": "conv", "binarisation": "static"},
    ),
    "zeros and ones": (
        array("bits.npy", lambda: (RANDOM.random((80, 30)) > 0.7).astype(np.uint8)),
        "80 vectors of 30, uint8, 0 to 1, ",
        "no labels; each pixel drawn once, black or white; bernoulli",
        {"scale": "unit", "network": "mlp", "binarisation": "static"},
    ),
    "signals": (
        array("signals.npy", lambda: _signals(67)),
        "90 vectors of 67, float32, −1 to 1, ",
        "no labels; scaled by training mean and deviation; gaussian_learned",
        {"scale": "standard", "scale_per": "global", "network": "conv"},
    ),
    "one column": (
        array("ages.npy", lambda: RANDOM.normal(40, 9, (90, 1))),
        "90 vectors of 1, float64, ",
        "no labels; scaled by training mean and deviation of each feature; gaussian_learned",
        {"scale": "standard", "network": "mlp"},
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_study_fits_the_file_and_plans(kind):
    write, what, how, settings = KINDS[kind]
    named = {"--labels": settings.get("labels"), "--split-by": settings.get("split_by")}
    options = [word for option, name in named.items() if name for word in (option, name)]
    path = write()
    said = run("init", "mine", "--data", path, *options)
    [understood] = [line for line in said.splitlines() if line.startswith(what)]
    assert understood.endswith(how)
    quoted = f"'{path}'" if " " in path else path
    assert f"sweep mine --data {quoted} --dry-run" in said
    text = Path("studies/mine.yaml").read_text(encoding="utf-8")
    assert f"#   {understood}" in text.splitlines()
    study = open_study_file("mine")
    fixed = settings_of(study)
    flat = fixed.data.model_dump() | fixed.model.model_dump()
    assert {name: flat[name] for name in settings} == settings
    assert flat["likelihood"] == how.rpartition("; ")[2]
    space = study.space["latent_size"]
    assert 1 <= space.low < space.high <= 64
    plan = run("sweep", "mine", "--data", path, "--dry-run", "--compile", "off")
    assert "Nothing was trained." in plan
    lines = [line for line in text.splitlines() if line.startswith("  ") and ": " in line]
    inside = lines[: next(at for at, line in enumerate(lines) if "importance" in line)]
    assert [line for line in inside if "  # " not in line and " # " not in line] == []


def test_a_second_call_replaces_nothing():
    path = SPECTROGRAMS()
    run("init", "mine", "--data", path)
    before = Path("studies/mine.yaml").read_text(encoding="utf-8")
    with pytest.raises(UserError, match=r"studies/mine.yaml: exists already"):
        run("init", "mine", "--data", path)
    assert Path("studies/mine.yaml").read_text(encoding="utf-8") == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--labels", "kind"], "--labels: is of --data; give the file, too"),
        (["--split-by", "patient"], "--split-by: is of --data; give the file, too"),
        (["--data", "visits.csv", "--extends", "smoke"], "--data: decides what --extends names"),
        (["--data", "visits.csv", "--dataset", "mnist"], "--data: decides what --dataset names"),
        (["--data", "visits.csv"], "kind: got 'a' in line 2.*labels=kind if it is a class"),
        (["--data", "visits.csv", "--labels", "knid"], "knid"),
    ],
)
def test_what_cannot_be_fitted_is_refused(arguments, words):
    VISITS()
    with pytest.raises(UserError, match=words):
        run("init", "mine", *arguments)
    assert not Path("studies").exists()
