"""vaeexp init --data: the study that it writes fits the file and says how it was understood."""

import csv
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from image_files import write_image

from sweeps.errors import UserError
from vaeexp.commands import cli, init
from vaeexp.data import open_dataset
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


def _long_table(make: Callable[[], np.ndarray], ending: str) -> str:
    """A file of numbers [N, F] in either format."""
    numbers = make()
    if ending == ".npy":
        return array("rows.npy", lambda: numbers)()
    names = [f"x{place}" for place in range(numbers.shape[1])]
    return table("rows.csv", names, lambda: numbers.tolist())()


def _spectra() -> np.ndarray:
    """Peaks of several heights upon a base line of its own, with noise."""
    places = np.arange(200)
    base = RANDOM.normal(0, 3, (120, 1)) + RANDOM.normal(size=(120, 1)) * places / 200
    peaks = [np.exp(-(((places - at) / 6) ** 2)) for at in (40, 90, 150)]
    return base + RANDOM.random((120, 3)) @ peaks + 0.02 * RANDOM.normal(size=(120, 200))


def _genes() -> np.ndarray:
    """Logarithms of counts that follow six causes, and the depth of each sample."""
    causes = RANDOM.normal(size=(120, 6)) @ RANDOM.normal(size=(6, 150)) / 2
    counts = RANDOM.poisson(np.exp(causes + RANDOM.normal(1, 0.5, (120, 1))))
    return np.log1p(counts)


def _one_cause() -> np.ndarray:
    """Columns that all follow one cause, so that any two of them agree."""
    share = RANDOM.uniform(0.8, 1.2, 100)
    return RANDOM.normal(size=(120, 1)) * share + 0.3 * RANDOM.normal(size=(120, 100))


def _rhythms() -> np.ndarray:
    """Waves of 2 to 12 periods, any phase, with noise."""
    periods = RANDOM.integers(2, 13, (120, 1))
    waves = np.sin(2 * np.pi * (np.arange(150) / 150 * periods + RANDOM.random((120, 1))))
    return waves + 0.3 * RANDOM.normal(size=(120, 150))


@pytest.mark.parametrize("ending", [".npy", ".csv"])
@pytest.mark.parametrize(
    ("make", "signals"),
    [
        (_spectra, True),
        (_rhythms, True),
        (lambda: np.cumsum(RANDOM.normal(size=(120, 80)), axis=1), True),
        (lambda: np.round(90 + 10 * _rhythms()).astype(int), True),
        (_genes, False),
        (_one_cause, False),
        (lambda: RANDOM.normal(size=(120, 80)) * RANDOM.uniform(1, 1e4, 80), False),
        (lambda: RANDOM.poisson(3, (120, 90)), False),
    ],
)
def test_vectors_are_signals_where_neighbouring_columns_agree(make, signals, ending):
    path = _long_table(make, ending)
    said = run("init", "mine", "--data", path)
    [why] = [line for line in said.splitlines() if line.startswith("Neighbouring columns")]
    settings = settings_of(open_study_file("mine"))
    assert settings.model.network == ("conv" if signals else "mlp")
    assert f"#   {why}" in Path("studies/mine.yaml").read_text(encoding="utf-8").splitlines()
    counts = settings.model.likelihood == "negative_binomial"
    assert settings.data.scale_per == ("global" if signals or counts else "feature")
    if signals:
        other = "mlp, scale_per: feature"
        assert re.fullmatch(rf".* agree \((0\.[5-9]\d|1\.00), others .*: network: {other}", why)
    else:
        other = "conv" if counts else "conv, scale_per: global"
        assert re.fullmatch(rf".* too little \(.*\): taken for .*: network: {other}", why)


@pytest.mark.parametrize("kind", [int, float, np.uint8, bool])
@pytest.mark.parametrize("shape", [(80, 30), (80, 16, 16)])
@pytest.mark.parametrize("ending", [".npy", ".csv", ".parquet"])
def test_zeros_and_ones_of_any_type_are_black_and_white(kind, shape, ending):
    bits = (RANDOM.random(shape) > 0.7).astype(kind)
    if ending == ".npy":
        np.save("bits.npy", bits)
    else:
        frame = pd.DataFrame(bits.reshape(80, -1)[:, :30]).rename(columns="q{}".format)
        writing = {".csv": frame.to_csv, ".parquet": frame.to_parquet}[ending]
        writing(f"bits{ending}", index=False)
    said = run("init", "mine", "--data", f"bits{ending}")
    assert "each pixel drawn once, black or white; bernoulli" in said
    settings = settings_of(open_study_file("mine"))
    assert (settings.data.scale, settings.data.binarisation) == ("unit", "static")
    data = open_dataset(settings.data, root=Path(f"bits{ending}"), say=lambda text: None)
    everything = np.concatenate([split.images.reshape(-1) for split in (data.train, data.test)])
    assert set(everything.tolist()) == {0, 1}
    assert abs(float(everything.mean()) - 0.3) < 0.05


def test_rows_of_zeros_are_no_empty_images():
    answers = (RANDOM.random((150, 40)) > 0.995).astype(int)
    table("answers.csv", [f"q{at}" for at in range(40)], answers.tolist)()
    run("init", "mine", "--data", "answers.csv")
    settings = settings_of(open_study_file("mine"))
    data = open_dataset(settings.data, root=Path("answers.csv"), say=lambda text: None)
    assert not any("show nothing" in words or "little to see" in words for words in data.warnings)


def test_a_two_in_another_split_leaves_counts():
    numbers = (RANDOM.random((150, 12)) > 0.9).astype(int)
    numbers[:, 3] = np.where(np.arange(150) == 149, 2, numbers[:, 3])
    np.savez("parts.npz", train_images=numbers[:120], test_images=numbers[120:])
    assert "negative_binomial" in run("init", "mine", "--data", "parts.npz")


@pytest.mark.parametrize("name", ["1", "true", "null", "7e3", "a: b", "größe", "# no", "-"])
def test_any_name_of_a_column_is_a_text_in_the_study(name):
    path = table(
        "visits.csv",
        ["pulse", "pressure", "ph", name, "patient"],
        lambda: [[*row[:4], 1] for row in _visits()],
    )()
    run("init", "mine", "--data", path, "--labels", name)
    assert settings_of(open_study_file("mine")).data.labels == name


def test_any_name_of_a_file_leaves_a_study_that_is_read():
    name = "my 'new'\n# file: {x}.csv"
    table(name, ["pulse", "pressure", "ph", "kind", "patient"], _visits)()
    run("init", "mine", "--data", name, "--labels", "kind", "--split-by", "patient")
    assert settings_of(open_study_file("mine")).data.labels == "kind"


def test_a_study_that_would_not_be_read_is_not_written(monkeypatch):
    monkeypatch.setattr(init, "FITTED", f"{init.FITTED}nonsense: 1\n")
    path = SPECTROGRAMS()
    with pytest.raises(UserError, match=r"studies/mine\.yaml: nonsense: unknown setting"):
        run("init", "mine", "--data", path)
    assert not Path("studies").exists()


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


def test_a_dry_run_says_what_was_understood_and_writes_nothing():
    """The words of the file of 1,000 spectrograms that the guide has."""
    images = RANDOM.uniform(-80, 0, size=(1000, 80, 64)).astype(np.float32)
    images[0, 0, :2] = -80, 0
    np.save("mine.npy", images)
    said = run("init", "mine", "--data", "mine.npy", "--dry-run").splitlines()
    assert said == [
        "1,000 arrays of 80 × 64, float32, −80 to 0, no labels; scaled by training mean and "
        "deviation; gaussian_learned",
        "Nothing was written.",
    ]
    assert not Path("studies").exists()


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
        (["--dry-run"], "--dry-run: is of --data; give the file, too"),
        (["--labels", "kind"], "--labels: is of --data; give the file, too"),
        (["--split-by", "patient"], "--split-by: is of --data; give the file, too"),
        (["--data", "visits.csv", "--extends", "smoke"], "--data: decides what --extends names"),
        (["--data", "visits.csv", "--dataset", "mnist"], "--data: decides what --dataset names"),
        (
            ["--data", "visits.csv"],
            "kind: got 'a' in line 2.*Try --labels kind if .* --split-by kind if",
        ),
        (["--data", "visits.csv", "--labels", "knid"], "knid"),
    ],
)
def test_what_cannot_be_fitted_is_refused(arguments, words):
    VISITS()
    with pytest.raises(UserError, match=words):
        run("init", "mine", *arguments)
    assert not Path("studies").exists()


PATIENTS = table(
    "patients.csv",
    ["id", "pulse", "dose", "cell type", "site", "note"],
    lambda: [
        [f"s{row}", *RANDOM.normal(size=2), "ab"[row % 2], f"p{row % 9}", "fine"]
        for row in range(60)
    ],
)


def test_every_role_that_is_advised_is_taken():
    """What an advice says is typed as it stands, until a study is written."""
    given = ["init", "mine", "--data", PATIENTS()]
    with pytest.raises(UserError, match="Nor are there numbers in site, note") as caught:
        run(*given)
    assert "--set" not in caught.value.problem
    advised = {words[0]: words for words in _options(caught.value.problem)}
    assert {*advised} == {"--labels", "--split-by", "--names", "--drop"}
    assert advised["--drop"][1] == '["cell type", "site", "note"]'
    run(*given, *advised["--drop"], "--dry-run")
    given += [*advised["--labels"], "--split-by", "site", "--factors", "dose"]
    with pytest.raises(UserError, match="note: got 'fine' in line 2") as caught:
        run(*given)
    *_, drop = _options(caught.value.problem)
    assert drop == ["--drop", "note"]
    run(*given, *drop, "--names", "id")
    data = settings_of(open_study_file("mine")).data
    assert (data.names, data.labels, data.split_by) == ("id", "cell type", "site")
    assert (data.factors, data.drop) == (("dose",), ("note",))
    run("sweep", "mine", "--data", "patients.csv", "--dry-run", "--compile", "off")


def _options(problem: str) -> list[list[str]]:
    words = shlex.split(problem)
    places = [place for place, word in enumerate(words) if word.startswith("--")]
    return [words[place : place + 2] for place in places]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("images=5", r"--set: got images=5; must be a setting of the data"),
        ("imges=x", "--set imges: unknown setting. Did you mean 'images'"),
        ("trials=3", "--set: got budget; must be a setting of the data"),
        ("scale", "--set scale: must be key=value"),
        ("missing=[-9999", "--set missing: column 7: expected"),
        ("names=@d", "--set names: column 1: found character '@'"),
        ("drop=*c", "--set drop: column 1: found undefined alias 'c'"),
        ("image_size=big", "--set: got image_size=big; must be a setting of the data"),
    ],
)
def test_a_change_that_is_no_setting_of_the_data_is_refused(change, words):
    with pytest.raises(UserError, match=words):
        run("init", "mine", "--data", VISITS(), "--set", change)


def test_init_takes_the_changes_that_it_advises():
    images = RANDOM.integers(0, 256, (40, 12, 12), np.uint8)
    np.savez("mine.npz", pictures=images, others=images)
    with pytest.raises(UserError, match="Try --set images=pictures for") as caught:
        run("init", "mine", "--data", "mine.npz")
    [change] = _options(caught.value.problem)
    run("init", "mine", "--data", "mine.npz", *change)
    assert settings_of(open_study_file("mine")).data.images == "pictures"


@pytest.mark.parametrize("kind", ["f8", "i8"])
@pytest.mark.parametrize("width", [5, 70])
def test_numbers_beyond_1e15_are_fitted_and_taken_by_the_study(kind, width):
    np.save("mine.npy", (RANDOM.normal(size=(60, width)) * 1e16).astype(kind))
    said = run("init", "mine", "--data", "mine.npy")
    assert f"60 vectors of {width}, " in said
    settings = settings_of(open_study_file("mine")).data
    assert settings.scale == "standard"
    dataset = open_dataset(settings, root=Path("mine.npy"), say=lambda text: None)
    assert np.abs(dataset.train.images).max() < 10


@pytest.mark.parametrize(
    ("short", "side"), [(20, 32), (63, 32), (64, 64), (127, 64), (128, 128), (400, 128)]
)
def test_photographs_of_several_sizes_get_the_power_of_two_below_their_median_side(short, side):
    """From 32 to 128; a few small or large files do not change it."""
    for number, height in enumerate([8, *[short] * 10, 500]):
        image = RANDOM.integers(0, 256, (height, 500 + number % 3, 3), np.uint8)
        write_image(Path("photos") / f"{number}.png", image)
    said = run("init", "mine", "--data", "photos")
    assert f"12 arrays of {side} × {side} × 3 channels" in said
    text = Path("studies/mine.yaml").read_text()
    assert re.search(rf"image_size: {side} +# pixels, as 64 or \[height, width\]", text)
    settings = settings_of(open_study_file("mine")).data
    assert settings.image_size == side
    unsized = settings.model_copy(update={"image_size": None})
    with pytest.raises(UserError, match=f"Try image_size: {side}, or .*={side}[.]"):
        open_dataset(unsized, root=Path("photos"), say=lambda text: None)
    run("init", "other", "--data", "photos", "--set", "image_size=16")
    assert settings_of(open_study_file("other")).data.image_size == 16


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_init_takes_channels_first_as_it_advises(channels):
    np.save("mine.npy", RANDOM.integers(0, 256, (40, channels, 16, 16), np.uint8))
    with pytest.raises(UserError, match=r"looks like \[N, C, H, W") as caught:
        run("init", "mine", "--data", "mine.npy")
    [first, *_] = _options(caught.value.problem)
    assert "40 arrays of 16 × 16" in run("init", "mine", "--data", "mine.npy", *first)


def test_init_advises_no_likelihood_which_it_chooses_itself():
    np.save("mine.npy", RANDOM.integers(0, 256, (40, 16, 16)).astype("f4"))
    with pytest.raises(UserError, match="Try --set scale=standard --set bin") as caught:
        run("init", "mine", "--data", "mine.npy", "--set", "scale=unit")
    advised = re.findall(r"--set (\S+=\w+)", caught.value.problem)
    pairs = [part for change in advised for part in ("--set", change)]
    assert "gaussian_learned" in run("init", "mine", "--data", "mine.npy", *pairs)


@pytest.mark.parametrize("scale", ["unit", "range", "standard", "none"])
@pytest.mark.parametrize(
    "kind",
    [
        RANDOM.poisson(2, (60, 9)).astype(np.uint16),
        RANDOM.integers(0, 2, (60, 9)).astype(np.uint8),
        RANDOM.integers(0, 256, (60, 16, 16)).astype(np.uint8),
        RANDOM.integers(-90, 90, (60, 9)).astype(np.int8),
        RANDOM.uniform(size=(60, 9)),
    ],
    ids=["counts", "binary", "images", "int8", "floats"],
)
def test_the_study_takes_the_scale_that_init_was_given(kind, scale):
    np.save("mine.npy", kind)
    said = run("init", "mine", "--data", "mine.npy", "--set", f"scale={scale}")
    assert settings_of(open_study_file("mine")).data.scale == scale
    assert ("negative_binomial" in said) == (kind.dtype == np.uint16 and scale == "none")
    run("sweep", "mine", "--data", "mine.npy", "--dry-run", "--compile", "off")
