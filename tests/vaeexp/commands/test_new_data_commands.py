"""`vaeexp encode`, `score` and `decode`, and arrays of `sample` and `reconstruct`: what they write,
say and refuse.
"""

import csv
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image
from refusals import refused
from sklearn.metrics import average_precision_score, roc_auc_score
from trained_runs import trained_run

import vaeexp
from vaeexp.commands import cli
from vaeexp.data.datasets import BUNDLED
from vaeexp.data.formats.torchvision_files import read_idx
from vaeexp.runs.new_data import _shift_words
from vaeexp.runs.run import open_run


@pytest.fixture(autouse=True)
def own_cache(
    tmp_path: Path, tiny_study: Path, keep_signals: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cache of the tiny study, and an empty working directory."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("VAEEXP_OFFLINE", "1")
    monkeypatch.setenv("VAEEXP_CACHE", str(tiny_study / "cache"))
    for name in ("VAEEXP_DATA", "VAEEXP_RUNS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def of_study(tiny_study: Path) -> list[object]:
    """The name of a run, and the options that name the runs and the images."""
    return ["beta_mnist/best", "--runs", tiny_study / "mlruns", "--data", tiny_study / "data"]


def ran(command: str, *arguments: object) -> str:
    result = CliRunner().invoke(cli, [command, *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def digits_of(study: Path) -> np.ndarray:
    """The test images of the study as its file has them, uint8 [30, 28, 28]."""
    [file] = (study / "data").rglob("t10k-images*")
    return read_idx(file, 3)


def test_encode_gives_the_codes_of_embed(tiny_study, of_study):
    ran("embed", *of_study, "-o", "map.png")
    ran("encode", *of_study, "--split", "test", "--to", "codes.parquet")
    codes = pd.read_parquet("codes.parquet")
    with Path("map.csv").open() as file:
        rows = {int(row["image"]): row for row in csv.DictReader(file)}
    assert len(rows) == len(codes) == 30
    for place, row in rows.items():
        assert codes["label"][place] == row["class"]
        for dimension in range(2):
            shown = f"{float(codes[f'mean_{dimension}'][place]):.7g}"
            assert shown == row[f"z{dimension + 1}"]


def test_new_images_are_placed_into_the_map_of_all_test_images(tiny_study, of_study):
    # Copies of each other: binarised and placed alike.
    np.save("new.npy", np.tile(digits_of(tiny_study)[:7], (2, 1, 1)))
    said = ran("embed", *of_study, "new.npy", "-o", "map.png")
    count = len(digits_of(tiny_study))
    assert f"t-SNE map of {count} test images" in said
    assert "and 14 new rows" in said
    table = pd.read_csv("map.csv")
    assert table["image"].tolist()[-14:] == [f"new.npy[{row}]" for row in range(14)]
    assert len(table) == count + 14
    points = table[["x", "y"]].to_numpy()
    spread = points[:count].std()
    assert np.linalg.norm(points[-14:-7] - points[-7:], axis=1).max() < spread
    assert Path("map.png").stat().st_size > 10_000


def test_pictures_and_arrays_of_the_same_images_have_the_same_codes(tiny_study, of_study):
    images = digits_of(tiny_study)
    np.save("test.npy", images)
    Path("pictures").mkdir()
    for row, image in enumerate(images):
        Image.fromarray(image).save(f"pictures/{row:03}.png")
    made = []
    for given in ("test.npy", "pictures"):
        said = ran("encode", *of_study, given, "--to", "codes.csv")
        assert "New images are binarised (dynamic): each pixel is drawn once" in said
        assert "seed of the study, 3" in said
        made.append(pd.read_csv("codes.csv"))
        assert made[-1]["problem"].isna().all()
    numbers = ["mean_0", "mean_1", "log_sigma_0", "log_sigma_1", "rate"]
    assert made[0][numbers].equals(made[1][numbers])


def test_empty_text_is_read_back_empty(tiny_study, of_study):
    np.save("test.npy", digits_of(tiny_study))
    for ending in ("parquet", "csv", "npz"):
        ran("encode", *of_study, "test.npy", "--to", f"codes.{ending}")
    frame = pd.read_parquet("codes.parquet")
    packed = np.load("codes.npz")
    for column in ("label", "problem"):
        assert frame[column].tolist() == packed[column].tolist() == [""] * 30
    assert frame["name"].tolist()[:2] == ["test.npy[0]", "test.npy[1]"]
    first = Path("codes.csv").read_text().splitlines()[1]
    assert first.startswith('"test.npy[0]",,')
    assert first.endswith(",")


def test_a_broken_picture_is_a_row_with_a_problem(tiny_study, of_study):
    Path("pictures").mkdir()
    for row, image in enumerate(digits_of(tiny_study)):
        Image.fromarray(image).save(f"pictures/{row:03}.png")
    Path("pictures/011.png").write_bytes(Path("pictures/011.png").read_bytes()[:60])
    said = ran("encode", *of_study, "pictures", "--to", "codes.csv")
    assert "30 rows of codes with 2 dimensions" in said
    assert "1 row with a problem, the first pictures/011.png: " in said
    codes = pd.read_csv("codes.csv")
    assert codes.index[codes["problem"].notna()].tolist() == [11]
    assert codes["mean_0"].isna().sum() == 1


def test_scores_are_compared_with_those_of_validation(tiny_study, of_study):
    np.save("test.npy", digits_of(tiny_study))
    said = ran("score", *of_study, "--split", "test", "--to", "split.parquet")
    assert "n = 40, so the smallest p is 0.024" in said
    assert "Test against validation: AUROC 0." in said
    assert "Kolmogorov–Smirnov p = " in said
    assert "scored by importance-weighted NLL" in said
    assert (pd.read_parquet("split.parquet")["split"] == "test").all()
    ran("score", *of_study, "test.npy", "--to", "scores.parquet")
    scores = pd.read_parquet("scores.parquet")
    assert (scores["split"] == "test").all(), "the same images before they are binarised"
    assert np.allclose(scores["neg_elbo"], scores["distortion"] + scores["rate"])
    assert scores["iw_nll"].mean() < scores["neg_elbo"].mean()
    by = ran("score", *of_study, "test.npy", "--by", "neg_elbo", "--to", "by.parquet")
    assert "scored by −ELBO" in by
    assert not pd.read_parquet("by.parquet")["p"].equals(scores["p"])
    ran("score", *of_study, "test.npy", "--to", "few.npz", "--no-p", "--importance-samples", 0)
    with np.load("few.npz") as packed:
        assert set(packed) == {"name", "label", "neg_elbo", "distortion", "rate", "problem"}
        assert np.array_equal(packed["neg_elbo"], scores["neg_elbo"])


def test_a_shift_is_said_by_one_rule():
    """The line says what is seen, by which rule, and how large it is."""
    random = np.random.default_rng(2)
    usual = random.normal(size=500)
    for other, words in (
        (random.normal(size=500), "no shift is seen (the interval holds 0.5, and p ≥ 0.05)"),
        (random.normal(0.5, size=500), "test images score higher (the interval lies above 0.5)"),
        (random.normal(-0.5, size=500), "test images score lower (the interval lies below 0.5)"),
        (random.normal(0, 2, size=500), "scores are spread differently (p < 0.05), though"),
    ):
        said = _shift_words(usual, other, "image")
        assert words in said
        assert re.search(r"AUROC 0\.\d{3} \[0\.\d{3}, 0\.\d{3}\]", said)


def test_anomalies_are_measured_beside_their_size(tiny_study, of_study):
    noise = np.random.default_rng(0).integers(0, 256, (20, 28, 28), dtype=np.uint8)
    np.save("noise.npy", noise)
    np.save("test.npy", digits_of(tiny_study))
    against = ["test.npy", "--against", "noise.npy", "--to", "scores.csv", "--sheet", "sheet.png"]
    said = ran("score", *of_study, *against)
    scores = pd.read_csv("scores.csv")
    assert scores["anomaly"].sum() == 20
    area = roc_auc_score(scores["anomaly"], scores["iw_nll"])
    precision = average_precision_score(scores["anomaly"], scores["iw_nll"])
    assert f"AUROC {area:.3f} [" in said
    assert f"AUPRC {precision:.3f} [" in said
    assert "FPR at 95 % TPR" in said
    assert "20 anomalies and 30 others" in said
    assert "by size alone (bytes as PNG). Likelihood prefers simple images (Nalisnick" in said
    with Image.open("sheet.png") as sheet:
        assert sheet.info["Software"].startswith("vaeexp")
        shown = "the highest and the lowest importance-weighted NLL"
        assert shown in sheet.info["Description"]
    said = ran("score", *of_study, "--split", "test", "--against-class", "7", "--to", "classes.csv")
    classes = pd.read_csv("classes.csv")
    assert classes["anomaly"].equals(classes["label"] == 7)
    area = roc_auc_score(classes["anomaly"], classes["iw_nll"])
    [row] = [line for line in said.splitlines() if line.startswith("7 ")]
    assert row.split()[-1] == f"{area:.3f}"


def test_decode_sample_and_reconstruct_write_bytes(tiny_study, of_study):
    run = ["beta_mnist/best", "--runs", tiny_study / "mlruns"]
    ran("encode", *of_study, "--split", "test", "--to", "codes.npz")
    codes = np.load("codes.npz")["mean"]
    np.save("codes.npy", codes)
    for name in ("codes.npz", "codes.npy"):
        ran("decode", *run, name, "--to", "decoded.npy")
        decoded = np.load("decoded.npy")
        assert (decoded.shape, decoded.dtype) == ((30, 28, 28), np.uint8)
    opened = open_run("beta_mnist/best", tiny_study / "mlruns")
    assert np.array_equal(opened.decode(codes), decoded)
    ran("sample", *run, "-n", 5, "--to", "samples.npy")
    assert np.load("samples.npy").shape == (5, 28, 28)
    assert not Path("samples.png").exists()
    ran("reconstruct", *of_study, "-n", 4, "--to", "made.npy", "-o", "made.png")
    assert np.load("made.npy").shape == (4, 28, 28)
    assert Path("made.png").exists()


def test_a_table_comes_back_with_its_columns(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("VAEEXP_CACHE", str(tmp_path / "cache"))
    table = pd.DataFrame(np.random.default_rng(0).normal(size=(150, 3)) * 5 + 100, columns=[*"abc"])
    table.to_csv("table.csv", index=False)
    scaled = {"scale": "standard", "scale_per": "feature"}
    model = {"likelihood": "gaussian", "sigma": 0.5}
    folder, _ = trained_run(tmp_path, Path("table.csv"), dataset="arrays", model=model, **scaled)
    table[["c", "a", "b"]].to_csv("shuffled.csv", index=False)
    for name, to in (("table.csv", "one.parquet"), ("shuffled.csv", "two.csv")):
        ran("encode", folder, name, "--to", to)
    one, two = pd.read_parquet("one.parquet"), pd.read_csv("two.csv")
    assert one["mean_0"].to_numpy() == pytest.approx(two["mean_0"].to_numpy(), rel=1e-5)
    for to in ("made.csv", "made.parquet"):
        ran("decode", folder, "one.parquet", "--to", to)
        made = pd.read_csv(to) if to.endswith("csv") else pd.read_parquet(to)
        assert [*made] == ["a", "b", "c"]
        assert made.shape == table.shape
        assert np.abs(made - table).to_numpy().mean() < 20, "in the unit of the columns"
    (table * 3).to_csv("strange.csv", index=False)
    shown = ["--against", "strange.csv", "--data", "table.csv", "--sheet", "sheet.png"]
    said = ran("score", folder, "shuffled.csv", "--to", "scores.csv", *shown)
    assert "AUROC 1.000 [" in said
    assert "#{scores of validation rows ≥ s}" in said
    assert "the rows with the highest and the lowest importance-weighted NLL" in said
    assert "image" not in said.replace("Likelihood prefers simple images", "")
    assert "by size alone (bytes of 256 levels, packed by zlib)" in said
    assert "a bar for each of the 3 columns" in said
    ran("score", folder, "shuffled.csv", "--to", "again.csv")  # p is kept in the run's folder
    (folder / "calibration.npz").unlink()
    said = refused(capsys, "score", folder, "table.csv", "--to", "scores.csv")
    assert "--data: is missing: p compares the rows with the run's own validation rows" in said
    ran("sample", folder, "-n", 7, "--to", "samples.csv")
    assert [*pd.read_csv("samples.csv")] == ["a", "b", "c"]
    assert "4 test rows of " in ran("reconstruct", folder, "--data", "table.csv", "-n", 4)


def test_columns_that_never_change_keep_their_places(tmp_path, monkeypatch):
    monkeypatch.setenv("VAEEXP_CACHE", str(tmp_path / "cache"))
    table = pd.DataFrame(np.random.default_rng(0).normal(size=(150, 3)) + 9, columns=[*"bce"])
    table.insert(0, "a", 4)
    table.insert(3, "d", "0.5")
    table.to_csv("table.csv", index=False)
    scaled = {"scale": "standard", "scale_per": "feature"}
    model = {"likelihood": "gaussian", "sigma": 0.5}
    folder, _ = trained_run(tmp_path, Path("table.csv"), dataset="arrays", model=model, **scaled)
    ran("encode", folder, "table.csv", "--to", "codes.csv")
    shown = ["--data", "table.csv", "-n", 9]
    for command, to in (
        (["decode", folder, "codes.csv"], "decoded.csv"),
        (["sample", folder, "-n", 9], "samples.parquet"),
        (["reconstruct", folder, *shown], "made.csv"),
    ):
        said = ran(*command, "--to", to)
        assert "; 2 columns constant in training (a, d)" in said
        made = pd.read_parquet(to) if to.endswith("parquet") else pd.read_csv(to)
        named = ["name"] if command[0] == "reconstruct" else []
        assert [*made] == [*named, *"abcde"]
        assert (made[["a", "d"]] == [4, 0.5]).all(axis=None)
        assert made[[*"bce"]].mean().to_numpy() == pytest.approx([9, 9, 9], abs=2)
    ran("encode", folder, "decoded.csv", "--to", "again.csv")
    assert pd.read_csv("again.csv")["problem"].isna().all()


def test_bad_input_is_one_line(tiny_study, of_study, capsys):
    run = ["beta_mnist/best", "--runs", tiny_study / "mlruns"]
    np.save("wide.npy", np.zeros((3, 28, 29), np.uint8))
    np.save("test.npy", digits_of(tiny_study))
    Path("broken.png").write_bytes(b"\x89PNG no")
    for arguments, words in (
        (["encode", *run, "wide.npy", "--to", "c.csv"], "[3, 28, 29]; must be [N, 28, 28]"),
        (["encode", *run, "none.npy", "--to", "c.csv"], "no such file"),
        (["encode", *run, "broken.png", "--to", "c.csv"], "None of 1 rows fits the model"),
        (["encode", *run, "test.npy", "--to", "c.txt"], "must end in .parquet or .csv or .npz"),
        (["encode", *run, "--to", "c.csv"], "give files, or --split test"),
        (["encode", *of_study, "test.npy", "--split", "test", "--to", "c.csv"], "give one of them"),
        (
            ["decode", *run, "test.npy", "--to", "x.npy"],
            "must be a file that the command encode wrote",
        ),
        (["decode", *run, "test.npy", "--to", "x.csv"], "must end in .npy"),
        (["score", *of_study, "test.npy", "--to", "s.csv", "--sheet", "s.jpg"], "end in .png"),
        (
            ["score", *of_study, "test.npy", "--to", "s.csv", "--against-class", "q"],
            "--against-class: got 'q'; must be a label of the rows. They have none.",
        ),
    ):
        assert words in refused(capsys, *arguments)
    assert not Path("c.csv").exists()


def test_what_is_asked_for_is_checked_before_anything_is_computed(
    tiny_study, of_study, capsys, monkeypatch
):
    """Nothing is scored, encoded, opened or drawn, and nothing is written."""
    images = digits_of(tiny_study)
    np.save("test.npy", images)
    np.savez("named.npz", images=images, labels=np.repeat(["ab", "cd"], 15))
    np.savez("alike.npz", images=images, labels=np.repeat("ab", 30))
    for folder in ("pictures/left", "pictures/right"):
        Path(folder).mkdir(parents=True)
        Image.fromarray(images[0]).save(f"{folder}/a.png")
    Path("file").write_text("")
    Path("other.png").write_text("of another program")

    def never(*_: object, **__: object) -> None:
        raise AssertionError("too late")

    for name in ("calibration_of", "measures.encode", "score_rows"):
        monkeypatch.setattr(f"vaeexp.runs.new_data.{name}", never)
    monkeypatch.setattr("vaeexp.models.vae.VAE.decode", never)
    scored = ["score", *of_study, "test.npy", "--to"]
    Path("samples.png").write_text("of another program")
    for arguments, words in (
        ([*scored, "s.csv", "--against", "none.npy"], "none.npy: there is no such file"),
        ([*scored, "file/s.csv"], "'file/s.csv'; '"),
        ([*scored, "s.csv", "--sheet", "file/s.png"], "--sheet: got 'file/s.png'"),
        ([*scored, "s.csv", "--against-class", "q"], "They have none"),
        (["score", *of_study, "named.npz", "--to", "s.csv", "--against-class", "abc"], "'ab'?"),
        (["score", *of_study, "alike.npz", "--to", "s.csv", "--against-class", "ab"], "every row"),
        (
            ["score", *of_study, "pictures", "--to", "s.csv", "--against-class", "q"],
            "must be a label of the rows. Known: left, right.",
        ),
        (
            ["score", *of_study, "--split", "test", "--to", "s.csv", "--against-class", "ten"],
            "Known: 0, 1, 2",
        ),
        (["encode", *of_study, "test.npy", "--to", "file/c.csv"], "is a file; must be a folder"),
        (["sample", *of_study[:3], "-o", "s.jpg"], "--output: got 's.jpg'; must end in .png"),
        (["sample", *of_study[:3]], "samples.png: is there already and is not from vaeexp"),
        (["reconstruct", *of_study, "--to", "s.csv"], "--to: got 's.csv'; must end in .npy"),
        (["embed", *of_study, "-o", "file/m.png"], "is a file; must be a folder"),
    ):
        assert words in refused(capsys, *arguments), arguments
    assert not Path("s.csv").exists()


def test_labels_of_a_table_are_known_before_it_is_scored(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("VAEEXP_CACHE", str(tmp_path / "cache"))
    table = pd.DataFrame(np.random.default_rng(0).normal(size=(150, 3)), columns=[*"abc"])
    table.assign(kind="well").to_csv("table.csv", index=False)
    new = table.assign(kind=np.where(np.arange(150) < 50, "ill", "well"))
    new.to_parquet("new.parquet")
    new.drop(columns="kind").to_csv("bare.csv", index=False)
    scaled = {"scale": "standard", "scale_per": "feature", "labels": "kind"}
    model = {"likelihood": "gaussian", "sigma": 0.5}
    folder, _ = trained_run(tmp_path, Path("table.csv"), dataset="arrays", model=model, **scaled)
    shown = ["--to", "s.csv", "--no-p", "--against-class"]
    for given, words in (("new.parquet", "Did you mean 'ill'?"), ("bare.csv", "They have none.")):
        assert words in refused(capsys, "score", folder, given, *shown, "il")
    assert not Path("s.csv").exists()
    said = ran("score", folder, "new.parquet", *shown, "ill")
    assert "50 anomalies and 100 others" in said


def test_blank_images_are_seen_from_below(tmp_path, monkeypatch):
    """p from above says nothing of images that are simpler than all others."""
    monkeypatch.setenv("VAEEXP_CACHE", str(tmp_path / "cache"))
    images = read_idx(BUNDLED / "digits.gz", 3)
    images = images[np.random.default_rng(0).permutation(len(images))]
    np.save("kept.npy", images[:2500])
    np.save("usual.npy", images[2500:2800])
    np.save("blank.npy", np.concatenate([images[2500:2800], np.zeros((12, 28, 28), np.uint8)]))
    data = {"dataset": "arrays", "binarisation": "dynamic", "validation_size": 250}
    model = {"hidden": (64,), "latent_size": 8}
    folder, _ = trained_run(tmp_path, Path("kept.npy"), epochs=8, model=model, **data)
    shown = ["--data", "kept.npy", "--importance-samples", 0, "--to", "scores.csv"]
    assert "chance of so many" not in ran("score", folder, "usual.npy", *shown)
    said = ran("score", folder, "blank.npy", *shown)
    [line] = [line for line in said.splitlines() if "chance of so many" in line]
    found = re.search(r"(\d+) rows have a lower rate than any of the 250 validation images", line)
    assert found is not None
    assert 12 <= int(found[1]) <= 16
    assert line.endswith("blank or simpler than the training images? See the column rate")
    scores = pd.read_csv("scores.csv")
    assert (scores["p"][300:] > 0.05).all()
    assert scores["split"].isna().all(), "blank images are no copies of others"


def test_the_best_run_of_a_study_takes_new_images(tiny_study):
    study = vaeexp.load_study("beta_mnist", runs=tiny_study / "mlruns")
    run = study.best_run()
    images = digits_of(tiny_study)
    frame = run.score(images, data=tiny_study / "data")
    assert frame["p"].between(1 / 41, 1).all()
    assert run.decode(run.encode(images)).shape == images.shape


def test_a_plain_autoencoder_has_codes_and_distortions(tmp_path, monkeypatch):
    monkeypatch.setenv("VAEEXP_CACHE", str(tmp_path / "cache"))
    images = np.random.default_rng(0).integers(0, 256, (150, 6, 6), dtype=np.uint8)
    np.save("images.npy", images)
    model = {"posterior": "deterministic"}
    folder, _ = trained_run(tmp_path, Path("images.npy"), dataset="arrays", model=model)
    ran("encode", folder, "images.npy", "--to", "codes.csv")
    assert [*pd.read_csv("codes.csv")] == ["name", "label", "mean_0", "mean_1", "mean_2", "problem"]
    said = ran("score", folder, "images.npy", "--data", "images.npy", "--to", "scores.csv")
    assert "distortion, because the posterior has no density" in said
    assert {"distortion", "p"} <= {*pd.read_csv("scores.csv")}


# ---- digits ----


@pytest.mark.slow
def test_a_digit_that_was_left_out_is_stranger_for_most_digits(tmp_path, monkeypatch):
    """A small model of nine of the bundled digits; the tenth is the anomaly."""
    monkeypatch.setenv("VAEEXP_CACHE", str(tmp_path / "cache"))
    images = read_idx(BUNDLED / "digits.gz", 3)
    labels = np.repeat(np.arange(10), 500)
    mixed = np.random.default_rng(0).permutation(5000)
    images, labels = images[mixed], labels[mixed]
    areas = []
    for digit in range(10):
        kept = images[labels != digit]
        np.save("kept.npy", kept[:4000])
        np.save("usual.npy", kept[4000:])
        np.save("strange.npy", images[labels == digit])
        model = {"hidden": (128,), "latent_size": 8}
        data = {"dataset": "arrays", "binarisation": "dynamic", "validation_size": 400}
        folder, _ = trained_run(
            tmp_path / str(digit), Path("kept.npy"), epochs=15, model=model, **data
        )
        shutil.rmtree("out", ignore_errors=True)
        arguments = ["usual.npy", "--against", "strange.npy", "--no-p", "--importance-samples", 0]
        said = ran("score", folder, *arguments, "--to", "out/scores.parquet")
        scores = pd.read_parquet("out/scores.parquet")
        areas.append(roc_auc_score(scores["anomaly"], scores["neg_elbo"]))
        [size] = [line for line in said.splitlines() if "by size alone" in line]
        print(digit, round(areas[-1], 3), size)
    assert np.sum(np.array(areas) > 0.5) >= 7, areas
