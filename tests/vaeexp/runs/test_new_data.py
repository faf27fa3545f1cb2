"""New data shown to finished runs: read and prepared as the run's own, encoded, scored, decoded."""

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from prepared_runs import WHITES, Case
from trained_runs import trained_run

from sweeps import UserError
from vaeexp.data import Dataset
from vaeexp.evaluation.latent import codes_of
from vaeexp.evaluation.nll import evaluate_elbo, importance_weighted_nll
from vaeexp.runs import new_data
from vaeexp.runs.drawing import draw_extremes
from vaeexp.runs.preparation import Rows, rebatched
from vaeexp.runs.run import Run, code_seed, evaluate_run, open_images, open_run

SIDES = (12, 10)


def blobs(count: int, seed: int = 0) -> np.ndarray:
    """Bytes [count, 12, 10] of one bright spot each."""
    y, x = np.mgrid[: SIDES[0], : SIDES[1]]
    places = np.random.default_rng(seed).uniform(2, 8, (count, 2, 1, 1))
    return (255 * np.exp(-((y - places[:, 0]) ** 2 + (x - places[:, 1]) ** 2) / 4)).astype(np.uint8)


def write_pngs(folder: Path, images: np.ndarray) -> Path:
    folder.mkdir(parents=True)
    for row, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{row:05}.png")
    return folder


def a_run(folder: Path) -> Run:
    return open_run(str(folder), Path("nowhere"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VAEEXP_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("VAEEXP_OFFLINE", "1")
        yield


KINDS = {
    "none": {"model": {"likelihood": "gaussian", "sigma": 0.3}},
    "static": {"binarisation": "static", "model": {}},
    "dynamic": {"binarisation": "dynamic", "model": {"prior": "mixture", "components": 3}},
}


@pytest.fixture(scope="module", params=list(KINDS))
def of_bytes(request, tmp_path_factory, cache) -> tuple[Run, Dataset, Path]:
    """A run on 4,600 arrays of bytes, its data set, and the file."""
    root = tmp_path_factory.mktemp(request.param)
    np.save(root / "images.npy", blobs(4_600))
    path = root / "images.npy"
    folder, dataset = trained_run(root, path, dataset="arrays", **KINDS[request.param])
    return a_run(folder), dataset, path


@pytest.fixture(scope="module")
def of_pictures(tmp_path_factory, cache) -> tuple[Run, Path]:
    """A run on a folder of pictures in two classes, and the folder."""
    root = tmp_path_factory.mktemp("pictures")
    write_pngs(root / "images" / "left", blobs(60))
    write_pngs(root / "images" / "right", blobs(60, seed=1))
    folder, _ = trained_run(root, root / "images", dataset="folder", **KINDS["none"])
    return a_run(folder), root / "images"


COLUMNS = ("age", "still", "height", "kind", "mass")


def rows_of_table(count: int, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    numbers = random.normal(size=(count, 3)) * [10, 0.1, 1000] + [40, 1.7, -7]
    table = pd.DataFrame(numbers, columns=["age", "height", "mass"])
    table.insert(1, "still", 5)
    table.insert(3, "kind", random.choice(["a", "b"], count))
    return table


@pytest.fixture(scope="module")
def of_table(tmp_path_factory, cache) -> tuple[Run, Dataset, Path]:
    """A run on a table with labels and a column that never changes, scaled column by column."""
    root = tmp_path_factory.mktemp("table")
    rows_of_table(200).to_csv(root / "table.csv", index=False)
    scaled = {"scale": "standard", "scale_per": "feature", "clip": (1.0, 99.0), "labels": "kind"}
    model = {"likelihood": "gaussian", "sigma": 0.5}
    path = root / "table.csv"
    folder, dataset = trained_run(root, path, model=model, dataset="arrays", **scaled)
    return a_run(folder), dataset, path


def test_images(of_bytes) -> np.ndarray:
    """The test images as the file has them."""
    _, dataset, path = of_bytes
    every = np.load(path)
    known = np.load(dataset.folder / "test_images.npy", mmap_mode="r")
    assert len(known) == 460
    from vaeexp.data.prepare import Purpose, permutation

    rows = np.sort(permutation(len(every), 0, Purpose.HELD_OUT_TEST)[: len(known)])
    return every[rows]


test_images.__test__ = False  # type: ignore[attr-defined]


def means(frame: pd.DataFrame) -> np.ndarray:
    return frame[[name for name in frame if name.startswith("mean_")]].to_numpy()


def test_codes_of_the_test_images_are_those_of_embed_to_the_bit(of_bytes):
    run, dataset, path = of_bytes
    shown = open_images(run, path, say=print)
    x = shown.x
    images = test_images(of_bytes)
    if dataset.binarisation != "none":
        # New images have draws of their own, by their content.
        black_or_white = np.where(images > 127, 255, 0).astype(np.uint8)
        images, x = black_or_white, torch.from_numpy(black_or_white[:, None] / 255).float()
    expected, variances = codes_of(run.vae, x)
    frame = run.encode(images)
    assert np.array_equal(means(frame).astype(np.float64), expected.numpy())
    sigmas = frame[[name for name in frame if name.startswith("log_sigma")]].to_numpy()
    assert np.allclose(np.exp(2 * sigmas.astype(np.float64)), variances.numpy(), rtol=1e-5)


def test_evaluate_gives_the_scores_of_the_record(of_bytes):
    run, _, path = of_bytes
    shown = open_images(run, path, say=print)
    found = evaluate_run(run, shown, importance_samples=None, device="cpu", say=print)
    assert found["record"]["agrees"], found["record"]["words"]
    terms = evaluate_elbo(run.vae, shown.x, seed=code_seed(run))
    recorded = np.load(run.folder / "evaluation.npz")
    measured = (terms.distortion + terms.rate).numpy()
    assert np.allclose(measured, recorded["neg_elbo_per_image"], rtol=1e-4)
    bounds = importance_weighted_nll(run.vae, shown.x, importance_samples=5, seed=code_seed(run))
    assert np.allclose(bounds[-1].numpy(), recorded["iw_nll_per_image"], rtol=1e-4)


def test_files_of_any_kind_give_the_same_codes(of_bytes, tmp_path):
    run, _, _ = of_bytes
    images = blobs(70, seed=3)
    expected = means(run.encode(images))
    np.save(tmp_path / "a.npy", images)
    np.savez(tmp_path / "b.npz", images=images, labels=np.arange(70) % 2)
    np.savez_compressed(tmp_path / "c.npz", images=images)
    with h5py.File(tmp_path / "d.h5", "w") as file:
        file["x"] = images
    write_pngs(tmp_path / "e", images)
    for name in ("a.npy", "b.npz", "c.npz", "d.h5", "e"):
        assert np.array_equal(means(run.encode(tmp_path / name)), expected), name
    in_memory = [[*map(Image.fromarray, images)], torch.from_numpy(images), images[..., None]]
    for given in (*in_memory, images / np.float32(255), images.astype(np.int64), [*images]):
        assert np.array_equal(means(run.encode(given)), expected)
    assert means(run.encode(images[0])).shape == (1, 3)
    assert run.encode(tmp_path / "b.npz")["label"].tolist()[:3] == ["0", "1", "0"]


def test_rows_in_batches_are_the_same_rows():
    images = np.arange(1000, dtype=np.uint8).reshape(1000, 1, 1, 1)
    names = [str(row) for row in range(1000)]
    for total in (3, 17, 99, 115, 116, 517, 1000):
        pieces = []
        for start in range(0, total, 37):
            some = slice(start, min(start + 37, total))
            count = some.stop - some.start
            cut = np.arange(start, some.stop)
            pieces.append(Rows(names[some], [""] * count, images[some], [""] * count, cut))
        made = [*rebatched(iter(pieces), 100)]
        assert np.array_equal(np.concatenate([rows.images for rows in made]), images[:total])
        assert np.array_equal(np.concatenate([rows.cut for rows in made]), np.arange(total))
        assert all(len(rows.names) == 100 for rows in made[:-1])


# ---- pictures ----


def test_corrupted_pictures_cost_a_row_each(of_pictures, tmp_path):
    check_corrupted(of_pictures, tmp_path, 300)


@pytest.mark.slow
def test_a_corrupted_picture_among_10_000_costs_a_row(of_pictures, tmp_path):
    check_corrupted(of_pictures, tmp_path, 10_000)


def check_corrupted(of_pictures: tuple[Run, Path], tmp_path: Path, count: int) -> None:
    run, _ = of_pictures
    folder = write_pngs(tmp_path / "many", blobs(count, seed=5))
    whole = (folder / "00123.png").read_bytes()
    (folder / "00123.png").write_bytes(whole[: len(whole) // 2])
    Image.fromarray(np.zeros((30, 28), np.uint8)).save(folder / "00200.png")
    (folder / "00201.png").write_text("no image")
    frame = run.encode(folder)
    bad = frame[frame["problem"] != ""]
    assert [Path(name).name for name in bad["name"]] == ["00123.png", "00200.png", "00201.png"]
    assert "30 × 28 pixels; must be 12 × 10" in bad["problem"].iloc[1]
    assert bad[["mean_0", "rate"]].isna().all(axis=None)
    fine = frame[frame["problem"] == ""]
    assert len(fine) == count - 3
    assert fine[["mean_0", "rate"]].notna().all(axis=None)


def test_pictures_are_labelled_by_their_folder(of_pictures):
    run, folder = of_pictures
    frame = run.encode(folder)
    assert frame["label"].value_counts().to_dict() == {"left": 60, "right": 60}
    one = frame["name"].iloc[7]
    assert np.allclose(means(run.encode(one)), means(frame)[7:8], atol=1e-6)


# ---- tables ----


def test_a_table_is_read_by_the_names_of_its_columns(of_table, tmp_path):
    run, dataset, _ = of_table
    assert dataset.features == ("age", "height", "mass")
    table = rows_of_table(50, seed=2)
    frame = run.encode(table)
    table[["mass", "kind", "age", "height"]].assign(more=3).to_parquet(tmp_path / "t.parquet")
    table[["height", "age", "mass"]].to_csv(tmp_path / "t.csv", index=False)
    np.save(tmp_path / "raw.npy", table[["age", "still", "height", "mass"]].to_numpy())
    for name in ("t.parquet", "t.csv", "raw.npy"):
        found = run.encode(tmp_path / name)
        assert np.allclose(means(found), means(frame), rtol=1e-6), name
    assert run.encode(tmp_path / "t.parquet")["label"].tolist() == table["kind"].tolist()
    with pytest.raises(UserError, match="got no column height; must be all 3 columns of s/r0"):
        run.encode(table.drop(columns="height"))


def test_the_test_rows_of_a_table_have_the_codes_of_the_split(of_table):
    run, dataset, path = of_table
    shown = open_images(run, path, say=print)
    every = pd.read_csv(path)
    targets = dataset.test.images.reshape(len(shown.x), -1)
    numbers = every[["age", "height", "mass"]].to_numpy()
    scaled = dataset.scaling.targets(numbers[:, None, None]).reshape(len(every), -1)
    rows = [int(np.abs(scaled - row).sum(1).argmin()) for row in targets]
    frame = run.encode(every.iloc[rows])
    assert np.array_equal(means(frame), codes_of(run.vae, shown.x)[0].numpy().astype(np.float32))


def test_cells_without_a_number_are_problems_of_their_rows(of_table, tmp_path):
    run, _, _ = of_table
    table = rows_of_table(6).astype(object)
    table.loc[1, "height"] = ""
    table.loc[2, "mass"] = "heavy"
    table.loc[4, "age"] = "inf"
    table.to_csv(tmp_path / "t.csv", index=False)
    frame = run.encode(tmp_path / "t.csv")
    assert [bool(problem) for problem in frame["problem"]] == [
        False,
        True,
        True,
        False,
        True,
        False,
    ]
    assert "column 'height'" in frame["problem"][1]
    assert "column 'mass'" in frame["problem"][2]
    assert means(frame)[[0, 3, 5]] == pytest.approx(means(run.encode(rows_of_table(6)))[[0, 3, 5]])


# ---- what does not fit ----


def test_what_is_no_array_for_the_model_is_one_error(of_bytes, of_table, tmp_path):
    run, _, _ = of_bytes
    np.save(tmp_path / "wide.npy", np.zeros((5, 12, 11), np.uint8))
    np.savez(tmp_path / "two.npz", a=np.zeros((5, 12, 10)), b=np.zeros((5, 12, 10)))
    np.save(tmp_path / "text.npy", np.full((5, 12, 10), "a"))
    np.save(tmp_path / "none.npy", np.zeros((0, 12, 10), np.uint8))
    (tmp_path / "broken.npy").write_bytes(b"no array")
    (tmp_path / "empty").mkdir()
    rows_of_table(3).to_csv(tmp_path / "t.csv", index=False)
    said = {
        "wide.npy": r"\[5, 12, 11\]; must be \[N, 12, 10\], as s/r0 takes it",
        "two.npz": "got the arrays a float64",
        "text.npy": "got <U1",
        "none.npy": "got no rows",
        "broken.npy": "must be a whole file of plain numpy arrays",
        "empty": "holds no files that can be read",
        "t.csv": "is a table; must be an array",
        "missing.npy": "there is no such file or folder",
    }
    for name, words in said.items():
        with pytest.raises(UserError, match=words):
            run.encode(tmp_path / name)
    Image.fromarray(np.zeros((3, 3), np.uint8)).save(tmp_path / "p.png")
    with pytest.raises(UserError, match="is no array, and s/r0 takes rows of numbers"):
        of_table[0].encode(tmp_path / "p.png")


def test_numbers_that_are_no_levels_are_problems_of_their_rows(of_bytes):
    run, _, _ = of_bytes
    images = blobs(5, seed=1) / np.float64(255)
    images[1, 0, 0] = np.nan
    images[2] *= 255
    frame = run.encode(images)
    assert [bool(problem) for problem in frame["problem"]] == [False, True, True, False, False]
    assert "1 of its numbers are missing, NaN or infinite" in frame["problem"][1]
    assert "must be floats from 0 to 1" in frame["problem"][2]


def test_a_folder_that_does_not_record_its_preparation_says_so(tmp_path):
    from saved_runs import finished_run

    finished_run(tmp_path / "made", (1, 28, 28), hidden=(8,), latent_size=2)
    with pytest.raises(UserError, match=r"has no preparation in its settings\.json"):
        a_run(tmp_path / "made").encode(np.zeros((2, 28, 28), np.uint8))


# ---- decoding ----


def test_decoded_codes_have_the_shape_and_unit_of_the_files(of_bytes, of_table):
    run, _, _ = of_bytes
    images = blobs(30, seed=2)
    decoded = run.decode(run.encode(images))
    assert decoded.dtype == np.uint8
    assert decoded.shape == images.shape
    codes = means(run.encode(images))
    mean = run.vae.decode(torch.from_numpy(codes)).mean.detach().numpy()
    assert np.array_equal(run.decode(codes), np.rint(mean[:, 0].clip(0, 1) * 255))
    run, dataset, _ = of_table
    table = rows_of_table(40)
    made = run.decode(run.encode(table))
    x = torch.from_numpy(
        dataset.scaling.targets(table[["age", "height", "mass"]].to_numpy()[:, None, None])
    )
    assert (made[:, 1] == 5).all(), "the column that never changed in training"
    assert made[:, [0, 2, 3]] == pytest.approx(
        dataset.scaling.numbers(run.vae.reconstruct(x).numpy())[:, 0, 0], rel=1e-5
    )
    assert run.encode(made)["problem"].eq("").all(), "what is decoded can be encoded again"
    for wrong in (codes[:, :2], codes[0], [[np.nan] * 3]):
        with pytest.raises(UserError, match="codes: got"):
            run.decode(wrong)


@pytest.mark.parametrize("kind", ["bytes", *WHITES])
def test_what_became_bytes_is_encoded_and_decoded_in_the_unit_of_its_files(tmp_path, cache, kind):
    """Masks, booleans, and floats and 16 bits that are binarised."""
    case = Case(kind, tmp_path)
    run = a_run(case.folder)
    shown = case.numbers[:, 0]
    codes = run.encode(shown)
    assert codes["problem"].eq("").all()
    if case.dataset.binarisation == "none":
        with torch.no_grad():
            wanted = case.vae.encode(case.targets(case.numbers)).mean
        np.testing.assert_allclose(means(codes), wanted, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        made = case.vae.decode(torch.from_numpy(means(codes))).mean.numpy()
    numbers = case.numbers_of(made)[:, 0]
    step = 0.5 if case.white == 255 else 1e-4 * case.white
    np.testing.assert_allclose(run.decode(codes).astype(float), numbers, atol=step)
    if kind == "binarised sixteen bits":
        with pytest.raises(UserError, match="got uint8; must be uint16"):
            run.encode(shown.astype(np.uint8))


def test_whole_floats_of_a_binarised_table_are_shares_of_white(tmp_path, cache):
    """Rows of zeros and ones among floats: 1 is white, and not 1 of 255."""
    numbers = np.random.default_rng(0).random((80, 5))
    numbers[40:] = numbers[40:].round()
    pd.DataFrame(numbers, columns=[*"abcde"]).to_csv(tmp_path / "t.csv", index=False)
    model = {"likelihood": "bernoulli"}
    folder, _ = trained_run(
        tmp_path, tmp_path / "t.csv", dataset="arrays", model=model, binarisation="dynamic"
    )
    run = a_run(folder)
    rows = pd.DataFrame(numbers[40:], columns=[*"abcde"])
    x = torch.from_numpy(numbers[40:, None, None].astype(np.float32))  # black or white for sure
    with torch.no_grad():
        wanted = run.vae.encode(x).mean
    np.testing.assert_allclose(means(run.encode(rows)), wanted, rtol=1e-5, atol=1e-5)


def test_vectors_come_back_with_the_columns_of_their_file(tmp_path, cache):
    """Columns that never changed in training come with their value, the last ones too."""
    numbers = np.random.default_rng(0).normal([0, 10, 0, 20, 30, 40], size=(150, 6))
    numbers[:, [0, 4, 5]] = [7, 8, 9]
    np.save(tmp_path / "rows.npy", numbers)
    model = {"likelihood": "gaussian", "sigma": 0.5}
    scaled = {"scale": "standard", "scale_per": "feature"}
    folder, dataset = trained_run(
        tmp_path, tmp_path / "rows.npy", dataset="arrays", model=model, **scaled
    )
    assert dataset.kept == (1, 2, 3)
    run = a_run(folder)
    codes = run.encode(numbers)
    assert np.array_equal(means(codes), means(run.encode(numbers[:, 1:4])))
    images = open_images(run, tmp_path / "rows.npy", count=9, say=print)
    new_data.sample_to(run, 9, tmp_path / "samples.npy", component=None, seed=0)
    new_data.reconstruct_to(run, images, tmp_path / "made.npy")
    arrays = [np.load(tmp_path / name) for name in ("samples.npy", "made.npy")]
    for array in (*arrays, run.decode(codes)):
        assert array.shape[1] == 6
        assert (array[:, [0, 4, 5]] == [7, 8, 9]).all()
        assert array[:, 1:4].mean(0) == pytest.approx([10, 0, 20], abs=3)
    with pytest.raises(UserError, match=r"must be \[N, 3\], or \[N, 6\] with all columns"):
        run.encode(numbers[:, :5])
    record = {name: value for name, value in run.preparation.items() if name != "constants"}
    with pytest.raises(UserError, match="does not name those that were left out"):
        replace(run, preparation=record).encode(numbers)


# ---- size ----

MEMORY = """
import sys, threading, time
from dataclasses import replace
from pathlib import Path
from vaeexp.runs import new_data
from vaeexp.runs.drawing import draw_extremes
from vaeexp.runs.run import open_run
most = 0
def watch():
    global most
    while True:
        for line in open("/proc/self/status"):
            if line.startswith("RssAnon"):
                most = max(most, int(line.split()[1]))
        time.sleep(0.02)
run = open_run(sys.argv[1], Path("nowhere"))
run.vae
threading.Thread(target=watch, daemon=True).start()
time.sleep(0.1)
before = most
given = new_data.Given([Path(sys.argv[2])], None, None)
new_data.encode_to(run, given, Path(sys.argv[3]), device="cpu", say=print, progress=None)
print((most - before) // 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_the_memory_of_encoding_does_not_grow_with_the_file(of_pictures, tmp_path):
    run, _ = of_pictures
    count = 2_000_000
    array = np.lib.format.open_memmap(
        tmp_path / "large.npy", mode="w+", dtype=np.uint8, shape=(count, *SIDES)
    )
    for start in range(0, count, 100_000):
        array[start : start + 100_000] = blobs(1_000)[np.arange(100_000) % 1_000]
    array.flush()
    del array
    to = tmp_path / "codes.parquet"
    arguments = [sys.executable, "-c", MEMORY, run.folder, tmp_path / "large.npy", to]
    done = subprocess.run([*map(str, arguments)], capture_output=True, text=True, check=True)
    assert int(done.stdout.split()[-1]) < 200, "MiB; the targets alone are 915 MiB"
    import pyarrow.parquet as parquet

    assert parquet.read_metadata(to).num_rows == count
    assert parquet.read_metadata(to).num_row_groups > 100


# ---- numbers ----


def stack(count: int, seed: int = 0) -> np.ndarray:
    """Whole numbers of 12 bits, uint16 [count, 6, 8]."""
    return np.random.default_rng(seed).integers(0, 4096, (count, 6, 8), dtype=np.uint16)


@pytest.fixture(scope="module")
def of_numbers(tmp_path_factory, cache) -> tuple[Run, Dataset, Path]:
    """A run on a TIFF stack of 16 bits, whose range is scaled."""
    from tifffile import imwrite

    root = tmp_path_factory.mktemp("numbers")
    imwrite(root / "stack.tif", stack(150), photometric="minisblack")
    model = {"likelihood": "gaussian", "sigma": 0.3}
    path = root / "stack.tif"
    folder, dataset = trained_run(root, path, dataset="arrays", model=model)
    return a_run(folder), dataset, path


def test_a_stack_of_16_bits_is_read_and_decoded_in_its_unit(of_numbers, tmp_path):
    from tifffile import imwrite

    run, dataset, path = of_numbers
    assert dataset.kind == "uint16"
    shown = open_images(run, path, say=print)
    every = means(run.encode(path))
    assert len(every) == 150
    expected = codes_of(run.vae, shown.x)[0].numpy()
    assert np.abs(every[:, None] - expected).sum(-1).min(0).max() < 1e-4
    images = stack(20, seed=1)
    imwrite(tmp_path / "s.tif", images, photometric="minisblack")
    np.save(tmp_path / "s.npy", images.astype(">u2"))
    for name in ("s.tif", "s.npy"):
        assert np.array_equal(means(run.encode(tmp_path / name)), means(run.encode(images)))
    decoded = run.decode(run.encode(images))
    assert decoded.shape == images.shape
    assert 500 < decoded.mean() < 3500
    assert run.encode(decoded)["problem"].eq("").all()


def test_numbers_that_were_scaled_before_are_problems(of_numbers):
    run, _, _ = of_numbers
    frame = run.encode(stack(3) / 4095)
    assert frame["problem"].str.contains("must be in the range of uint16").all()
    with pytest.raises(UserError, match="got uint8; must be uint16"):
        run.encode((stack(3) // 16).astype(np.uint8))


def lines_of(run: Run, path: Path, to: Path) -> list[str]:
    """What is said of encoding the files at a path, after the first line."""
    given = new_data.Given([path], None, None)
    return new_data.encode_to(run, given, to, device="cpu", say=print, progress=None)[1:]


def test_values_above_the_white_of_16_bits_are_counted(of_numbers, tmp_path):
    run, _, path = of_numbers
    assert lines_of(run, path, tmp_path / "c.csv") == []
    images = stack(5)
    images[2, :3] = 65535
    images[4, 0, 0] = 4096
    np.save(tmp_path / "s.npy", images)
    [line] = lines_of(run, tmp_path / "s.npy", tmp_path / "c.csv")
    assert line == (
        "25 values in 2 rows cut to the range of the training images, 0 to 4,095; the first in "
        f"{tmp_path / 's.npy'}[2]"
    )
    frame = pd.read_csv(tmp_path / "c.csv")
    assert frame["problem"].isna().all()
    images[2, :3] = 4095
    assert np.array_equal(means(run.encode(images)), means(run.encode(tmp_path / "s.npy")))


def test_values_above_the_white_of_masks_and_of_deep_pictures_are_counted(tmp_path, cache):
    random = np.random.default_rng(0)
    np.save(tmp_path / "masks.npy", random.integers(0, 4, (150, 6, 6), np.uint8))
    folder, _ = trained_run(tmp_path / "a", tmp_path / "masks.npy", dataset="arrays", model={})
    np.save(tmp_path / "new.npy", np.full((3, 6, 6), 9, np.uint8))
    [line] = lines_of(a_run(folder), tmp_path / "new.npy", tmp_path / "c.csv")
    assert line.startswith("108 values in 3 rows cut to the white of the training images; ")
    (tmp_path / "deep").mkdir()
    for row, image in enumerate(stack(80)):
        Image.fromarray(image).save(tmp_path / "deep" / f"{row:03}.png")
    settings = {"dataset": "folder", "binarisation": "dynamic"}
    folder, _ = trained_run(tmp_path / "b", tmp_path / "deep", model={}, **settings)
    bright = np.full((6, 8), 60_000, np.uint16)
    Image.fromarray(bright).save(tmp_path / "bright.png")
    line = lines_of(a_run(folder), tmp_path / "bright.png", tmp_path / "c.csv")[0]
    assert line.startswith("48 values in 1 row cut to the white of the training images; ")


def test_values_beyond_the_limits_of_clip_are_counted(of_table, tmp_path):
    run, _, _ = of_table
    table = rows_of_table(4)
    table.loc[:, ["age", "height", "mass"]] = [40, 1.7, -7]
    table.loc[1, "mass"] = 1e9
    table.loc[3, ["age", "height"]] = -1e9
    table.to_csv(tmp_path / "t.csv", index=False)
    [line] = lines_of(run, tmp_path / "t.csv", tmp_path / "c.csv")
    said = (
        f"3 values in 2 rows cut to the limits of data.clip; the first in {tmp_path / 't.csv'}[1]"
    )
    assert line == said


@pytest.mark.parametrize("first", [False, True], ids=["channels last", "channels first"])
def test_channels_lie_where_those_of_the_run_do(first, tmp_path, cache):
    random = np.random.default_rng(0)
    images = random.random((150, 5, 6, 7) if first else (150, 6, 7, 5)).astype(np.float32)
    np.save(tmp_path / "images.npy", images)
    model = {"likelihood": "gaussian", "sigma": 0.3}
    folder, _ = trained_run(
        tmp_path, tmp_path / "images.npy", dataset="arrays", model=model, channels_first=first
    )
    run = a_run(folder)
    frame = run.encode(images[:7])
    assert frame["problem"].eq("").all()
    assert run.decode(frame).shape == images[:7].shape
    assert "must be floats from 0 to 1" in run.encode(images[:1] * 9)["problem"][0]
    with pytest.raises(UserError, match=r"must be \[N, "):
        run.encode(np.moveaxis(images[:7], 1, -1) if first else np.moveaxis(images[:7], -1, 1))


def test_a_zarr_folder_is_read(of_numbers, tmp_path):
    import zarr

    run, _, _ = of_numbers
    images = stack(30, seed=2)
    group = zarr.open_group(tmp_path / "z.zarr", mode="w")
    group.create_array("images", data=images)
    group.create_array("labels", data=np.arange(30) % 3)
    frame = run.encode(tmp_path / "z.zarr")
    assert np.array_equal(means(frame), means(run.encode(images)))
    assert frame["label"].tolist()[:4] == ["0", "1", "2", "0"]


def test_pictures_of_a_run_whose_bytes_are_scaled(tmp_path, cache):
    folder = write_pngs(tmp_path / "images", blobs(100))
    model = {"likelihood": "gaussian", "sigma": 0.5}
    made, dataset = trained_run(
        tmp_path, folder, dataset="folder", model=model, scale="standard", image_size=8
    )
    assert not dataset.scaling.bytes
    run = a_run(made)
    shown = open_images(run, folder, say=print)
    frame = run.encode(folder)
    assert frame["problem"].eq("").all()
    expected = codes_of(run.vae, shown.x)[0].numpy()
    assert np.abs(means(frame)[:, None] - expected).sum(-1).min(0).max() < 1e-4
    pictures = [Image.fromarray(image) for image in blobs(100)]
    assert np.array_equal(means(run.encode(pictures)), means(frame))
    decoded = run.decode(frame)
    assert decoded.shape == (100, 8, 8)
    assert 5 < decoded.mean() < 100, "in the unit of the files"


def test_an_infinite_score_is_the_strangest_and_nan_a_problem(tmp_path, cache):
    """Numbers whose squares overflow float32, and numbers that overflow in the encoder."""
    np.save(tmp_path / "rows.npy", np.random.default_rng(0).normal(size=(150, 4)))
    model = {"likelihood": "gaussian", "sigma": 0.5}
    folder, _ = trained_run(
        tmp_path, tmp_path / "rows.npy", dataset="arrays", model=model, scale="none"
    )
    run = a_run(folder)
    with torch.no_grad():
        next(run.vae.encoder.parameters()).mul_(50)  # so that 1e38 overflows there
    rows = np.random.default_rng(1).normal(size=(60, 4))
    rows[7], rows[8] = 1e25, [3e38, -3e38, 3e38, -3e38]
    np.save(tmp_path / "new.npy", rows)
    frame = run.score(rows, data=tmp_path / "rows.npy", importance_samples=5)
    assert np.isposinf(frame["neg_elbo"][7])
    assert frame["p"][7] == frame["p"].min() == 1 / 13
    assert frame.index[frame["problem"] != ""].tolist() == [8]
    assert "no number as " in frame["problem"][8]
    assert "its numbers overflow" in frame["problem"][8]
    assert np.isnan(frame["p"][8])
    codes = run.encode(rows)
    assert codes["problem"][8].startswith("the model gives it no number as mean")
    asked = new_data.Asked("neg_elbo", 0, True, [tmp_path / "new.npy"], None)
    given = new_data.Given([tmp_path / "rows.npy"], None, tmp_path / "rows.npy")
    how = {"device": "cpu", "say": print, "progress": None}
    scored = new_data.score_to(run, given, tmp_path / "s.csv", asked, **how)
    assert any("59 anomalies and 150 others" in line for line in scored.lines)
    assert scored.seen.worst.names[0] == f"{tmp_path / 'new.npy'}[7]"
    assert not any("new.npy[8]" in name for name in scored.seen.worst.names)
    drawn = draw_extremes(run, scored.seen, scored.by)
    assert "to inf nats" in drawn.words
    below = [text.get_text() for text in drawn.figure.axes[0].texts]
    assert below[:4] == ["highest", "highest", "lowest", "lowest"]
    assert below[4] == "new.npy[7]"
    assert len(below) == 4 + 32


def test_a_long_name_below_a_picture_keeps_its_end(of_pictures, tmp_path):
    run, _ = of_pictures
    write_pngs(tmp_path / "new", blobs(9, seed=5))
    for path in (tmp_path / "new").glob("*.png"):
        path.rename(path.with_name(f"of the left ear ${path.name}"))
    how = {"device": "cpu", "say": print, "progress": None}
    asked = new_data.Asked("neg_elbo", 0, False, (), None)
    given = new_data.Given([tmp_path / "new"], None, None)
    scored = new_data.score_to(run, given, tmp_path / "s.csv", asked, **how)
    drawn = draw_extremes(run, scored.seen, scored.by)
    below = [text.get_text() for text in drawn.figure.axes[0].texts][4:]
    assert len(below) == 4 * 8
    named = [text for text in below if text]
    assert len(named) == 2 * 9
    assert all(re.fullmatch(r"….* \$0000\d\.png", text) for text in named)


def test_numbers_beyond_float32_are_problems(of_table):
    run, _, _ = of_table
    table = rows_of_table(3)
    table.loc[1, "mass"] = 1e300
    assert run.encode(table)["problem"].eq("").all(), "they are cut to the limits"
    open_ended = run.preparation | {
        "scaling": run.preparation["scaling"] | {"high": [[1, 1, 3], [None] * 3]}
    }
    problems = replace(run, preparation=open_ended).encode(table)["problem"]
    assert problems.tolist() == ["", "it has numbers that are too large for float32", ""]
