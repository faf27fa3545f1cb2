"""Rows keep their names: of own splits, in reconstructions, and those of tables in memory."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow
import pytest
from click.testing import CliRunner
from PIL import Image
from trained_runs import trained_run

from vaeexp.commands import cli
from vaeexp.data import Dataset
from vaeexp.data.formats.tables import read_tables
from vaeexp.runs.run import Run, open_run

SCALED = {"dataset": "arrays", "scale": "standard", "scale_per": "feature"}
MODEL = {"likelihood": "gaussian"}


def table(count: int, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame(random.normal(size=(count, 3)) * [1, 10, 1e4] + 5, columns=[*"abc"])


def ran(*arguments: object) -> str:
    result = CliRunner().invoke(cli, [*map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


class Source:
    """Files of a data set, and the numbers of the row of a name, before they are scaled."""

    def __init__(self, path: Path, rows: dict[str, np.ndarray], settings: dict[str, Any]) -> None:
        self.path = path
        self.rows = rows
        self.settings = settings


def one_csv(root: Path) -> Source:
    table(150).to_csv(root / "own.csv", index=False)
    numbers = table(150).to_numpy()
    return Source(root / "own.csv", {f"own.csv[{r}]": x for r, x in enumerate(numbers)}, SCALED)


def of_folder(root: Path, ending: str) -> Source:
    """Days 1, 2 and 10, which are read in the order of text."""
    (root / "days").mkdir()
    rows = {}
    for day in (1, 2, 10):
        frame = table(40 + day, seed=day)
        path = root / f"days/day_{day}.{ending}"
        if ending == "csv":
            frame.to_csv(path, index=False)
        elif ending == "parquet":
            frame.to_parquet(path)
        else:
            np.save(path, frame.to_numpy())
        rows |= {f"{path.name}[{r}]": x for r, x in enumerate(frame.to_numpy())}
    return Source(root / "days", rows, SCALED)


def one_npy(root: Path) -> Source:
    np.save(root / "own.npy", table(150).to_numpy())
    numbers = table(150).to_numpy()
    return Source(root / "own.npy", {f"own.npy[{r}]": x for r, x in enumerate(numbers)}, SCALED)


def pictures(root: Path) -> Source:
    images = np.random.default_rng(0).integers(0, 256, (120, 6, 5), np.uint8)
    rows = {}
    for row, image in enumerate(images):
        name = f"{'left' if row % 2 else 'right'}/{row}.png"
        (root / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(root / "images" / name)
        rows[name] = image.reshape(-1).astype(float)
    return Source(root / "images", rows, {"dataset": "folder"})


def of_splits(root: Path) -> Source:
    """Arrays of training and test in one file."""
    numbers = {"x_train": table(100).to_numpy(), "x_test": table(40, seed=1).to_numpy()}
    np.savez(root / "own.npz", **numbers)
    rows = {
        f"own.npz: {name}[{place}]": row
        for name, array in numbers.items()
        for place, row in enumerate(array)
    }
    return Source(root / "own.npz", rows, SCALED)


SOURCES = {
    "splits of one file": of_splits,
    "one csv": one_csv,
    "csv files": lambda root: of_folder(root, "csv"),
    "parquet files": lambda root: of_folder(root, "parquet"),
    "npy files": lambda root: of_folder(root, "npy"),
    "one npy": one_npy,
    "pictures": pictures,
}


@pytest.fixture(scope="module", params=SOURCES)
def trained(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Run, Dataset, Source]]:
    root = tmp_path_factory.mktemp("named")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VAEEXP_CACHE", str(root / "cache"))
        patch.setenv("VAEEXP_OFFLINE", "1")
        source = SOURCES[request.param](root)
        folder, dataset = trained_run(root, source.path, model=MODEL, **source.settings)
        yield open_run(str(folder), Path("nowhere")), dataset, source


def test_each_row_of_a_split_has_the_name_of_its_place_in_the_files(trained):
    _, dataset, source = trained
    seen = set[str]()
    for split in (dataset.train, dataset.validation, dataset.test):
        numbers = np.asarray(split.images, np.float64).reshape(len(split), -1)
        if not dataset.scaling.bytes:
            numbers = dataset.scaling.numbers(np.asarray(split.images))[:, 0, 0]
        names = split.names.of(np.arange(len(split)))
        for name, row in zip(names, numbers, strict=True):
            assert row == pytest.approx(source.rows[name], rel=1e-3, abs=1e-3)
        assert split.names.of(np.array([3, 1])) == [names[3], names[1]]
        seen |= {*names}
    assert seen == source.rows.keys()


def test_outputs_name_the_rows(trained, tmp_path, monkeypatch):
    run, dataset, source = trained
    monkeypatch.chdir(tmp_path)
    names = dataset.test.names.of(np.arange(len(dataset.test)))
    data = ["--data", source.path]
    ran("encode", run.folder, *data, "--split", "test", "--to", "codes.csv")
    ran("score", run.folder, *data, "--split", "test", "--to", "scores.parquet")
    ran("embed", run.folder, *data, "-o", "map.png")
    codes, scores = pd.read_csv("codes.csv"), pd.read_parquet("scores.parquet")
    assert codes["name"].tolist() == scores["name"].tolist() == names
    mapped = pd.read_csv("map.csv").set_index("name")
    assert mapped.loc[names, "z1"].to_numpy() == pytest.approx(codes["mean_0"], rel=1e-4, abs=1e-5)
    assert mapped.loc[names, "image"].tolist() == [*range(len(names))]


def test_reconstructions_keep_order_and_names(trained, tmp_path, monkeypatch):
    run, dataset, source = trained
    monkeypatch.chdir(tmp_path)
    names = dataset.test.names.of(np.arange(len(dataset.test)))
    shown = ["reconstruct", run.folder, "--data", source.path, "--to"]
    for count in (5, len(names)):
        ran(*shown, "made.npz", "-n", count)
        with np.load("made.npz") as made:
            kept = made["names"].tolist()
            images = made["images"]
        assert kept == [name for name in names if name in kept]
        assert len(kept) == count == len(images)
        ran(*shown, "made.npy", "-n", count)
        assert np.array_equal(np.load("made.npy"), images)
    if dataset.features:
        ran(*shown, "made.csv", "-n", 7)
        made = pd.read_csv("made.csv")
        assert [*made] == ["name", *"abc"]
        codes = run.encode(
            pd.DataFrame([source.rows[name] for name in made["name"]], columns=[*"abc"])
        )
        assert run.decode(codes) == pytest.approx(made[[*"abc"]].to_numpy(), rel=1e-4)


def test_a_named_data_set_keeps_the_place_in_the_split(tiny_study, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VAEEXP_CACHE", str(tiny_study / "cache"))
    given = ["beta_mnist/best", "--runs", tiny_study / "mlruns", "--data", tiny_study / "data"]
    ran("encode", *given, "--split", "test", "--to", "codes.parquet")
    assert pd.read_parquet("codes.parquet")["name"].tolist()[17] == "test[17]"


# ---- tables in memory ----


@pytest.fixture(scope="module")
def of_table(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    root = tmp_path_factory.mktemp("table")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VAEEXP_CACHE", str(root / "cache"))
        table(150).to_csv(root / "own.csv", index=False)
        folder, _ = trained_run(root, root / "own.csv", model=MODEL, **SCALED)
        yield open_run(str(folder), Path("nowhere"))


class Stream:
    """A table of a library that only has Arrow's protocol."""

    def __init__(self, table: pyarrow.Table) -> None:
        self._table = table

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._table.__arrow_c_stream__(requested_schema)


INDICES = {
    "filtered": lambda frame: frame[frame["a"] > frame["a"].median()],
    "of text": lambda frame: frame.set_axis([f"p{row}" for row in range(len(frame))]),
    "of two levels": lambda frame: frame.set_axis(
        pd.MultiIndex.from_product(
            [range(len(frame) // 2), ["left", "right"]], names=["id", "side"]
        )
    ),
    "descending": lambda frame: frame[::-1],
    "twice the same": lambda frame: frame.set_axis([7] * len(frame)),
}


@pytest.mark.parametrize("kind", INDICES)
def test_a_data_frame_comes_back_with_its_index(kind, of_table):
    given = INDICES[kind](table(40, seed=3))
    plain = of_table.encode(given.to_numpy())
    for found in (of_table.encode(given), of_table.score(given, p=False)):
        assert found.index.equals(given.index)
        assert found.index.names == given.index.names
    numbers = ["mean_0", "mean_1", "mean_2"]
    assert np.array_equal(of_table.encode(given)[numbers], plain[numbers])


def test_a_list_keeps_its_parts_apart(of_table):
    frames = [table(3), table(2, seed=1), pyarrow.Table.from_pandas(table(1, seed=2))]
    names = ["0[0]", "0[1]", "0[2]", "1[0]", "1[1]", "2[0]"]
    assert of_table.encode(frames)["name"].tolist() == names
    arrays = [frame.to_numpy() for frame in (table(3), table(2))]
    assert of_table.encode(arrays)["name"].tolist() == names[:5]


@pytest.mark.parametrize(
    "wrap",
    [
        pyarrow.Table.from_pandas,
        lambda frame: Stream(pyarrow.Table.from_pandas(frame)),
        lambda frame: pyarrow.RecordBatchReader.from_batches(
            (arrow := pyarrow.Table.from_pandas(frame)).schema, arrow.to_batches(max_chunksize=7)
        ),
    ],
    ids=["pyarrow", "the protocol", "a reader"],
)
def test_tables_of_other_libraries_are_read_by_names(wrap, of_table):
    own = table(40, seed=3)
    wanted = of_table.encode(own)
    shuffled = own[["c", "a", "b"]].assign(more="text", d=3)
    found = of_table.encode(wrap(shuffled))
    assert found.equals(wanted)
    codes = wanted[["rate", "mean_2", "mean_1", "name", "mean_0"]]
    assert np.array_equal(of_table.decode(wrap(codes)), of_table.decode(wanted))


# ---- names of their own ----


@pytest.fixture
def of_patients(tmp_path, monkeypatch) -> tuple[Run, Path]:
    """A run on a table whose reader has found names in a column, and the file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VAEEXP_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "patients.csv"
    table(150).to_csv(path, index=False)

    def read(source, scratch):
        raw = read_tables(source, scratch)
        names = np.array([f"P{row:03}" for row in range(150)])
        return raw._replace(names=names, named_by="patient")

    monkeypatch.setattr("vaeexp.data.formats.arrays.read_tables", read)
    folder, _ = trained_run(tmp_path, path, model=MODEL, **SCALED)
    return open_run(str(folder), Path("nowhere")), path


def test_names_of_a_column_stand_in_every_output(of_patients):
    run, path = of_patients
    new = table(30, seed=5)
    new.insert(0, "patient", [f"Q{row:02}" for row in range(30)])
    new.loc[4, "patient"] = ""
    new.loc[7, "b"] = np.nan
    new.to_csv("new.csv", index=False)
    new.to_parquet("new.parquet")
    wanted = [*new["patient"]]
    for name in ("new.csv", "new.parquet"):
        said = ran("encode", run.folder, name, "--to", "codes.parquet")
        wanted[4] = f"{name}[4]"
        assert pd.read_parquet("codes.parquet")["name"].tolist() == wanted
        assert "1 row with a problem, the first Q07: " in said
    ran("score", run.folder, "new.csv", "--no-p", "--to", "scores.csv", "--sheet", "s.png")
    assert pd.read_csv("scores.csv")["name"].tolist()[:2] == ["Q00", "Q01"]
    assert run.encode(new)["name"].tolist()[:2] == ["Q00", "Q01"]
    for levels in ("patient", ["patient", "a"]):
        # Levels that are features, too, are columns that the model takes.
        indexed = new.set_index(levels, drop=levels == "patient")
        found = run.encode(indexed)
        assert found["name"].tolist()[:2] == ["Q00", "Q01"]
        assert found.index.equals(indexed.index)
    data = ["--data", path]
    ran("encode", run.folder, *data, "--split", "test", "--to", "own.csv")
    ran("embed", run.folder, *data, "-o", "map.png")
    own = pd.read_csv("own.csv")["name"]
    assert own.str.fullmatch(r"P\d{3}").all()
    assert {*pd.read_csv("map.csv")["name"]} == {*own}
    ran("reconstruct", run.folder, *data, "-n", 9, "--to", "made.parquet")
    made = pd.read_parquet("made.parquet")
    assert [*made] == ["patient", *"abc"]
    assert {*made["patient"]} <= {*own}
    numbers = new[[*"abc"]].fillna(0).to_numpy()
    np.savez("new.npz", images=numbers, patient=np.array(wanted))
    ran("encode", run.folder, "new.npz", "--to", "codes.parquet")
    assert pd.read_parquet("codes.parquet")["name"].tolist() == wanted


@pytest.mark.parametrize(
    "names",
    [
        pd.date_range("2024-01-01", periods=150, freq="h"),
        np.arange(150) + 0.5,
        np.arange(150) + 7,
        pd.Categorical([f"k{row}" for row in range(150)]),
    ],
    ids=["times", "fractions", "whole numbers", "categories"],
)
def test_new_rows_are_named_as_those_of_the_splits_are(names, tmp_path, monkeypatch):
    monkeypatch.setenv("VAEEXP_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "own.parquet"
    table(150).assign(key=names).to_parquet(path)
    folder, data = trained_run(tmp_path, path, model=MODEL, names="key", **SCALED)
    run = open_run(str(folder), Path("nowhere"))
    splits = (data.train, data.validation, data.test)
    known = [name for split in splits for name in split.names.of(np.arange(len(split)))]
    for given in (path, pd.read_parquet(path), pd.read_parquet(path).set_index("key")):
        assert {*run.encode(given)["name"]} == {*known}


@pytest.mark.parametrize(
    ("given", "numbers"),
    [
        (np.array([1, 2, 3]), {"1": 1, "2": 2, "3": 3}),
        (np.array(["a", "_background_", "c"]), {"_background_": 0, "a": 1, "c": 2}),
        (np.array([2019, 2021, 2022]), {"2019": 2019, "2021": 2021, "2022": 2022}),
    ],
    ids=["from 1", "texts", "years"],
)
def test_the_table_of_a_map_has_one_numbering(given, numbers, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VAEEXP_CACHE", str(tmp_path / "cache"))
    labels = np.resize(given, 150)
    np.savez("own.npz", images=table(150).to_numpy(), labels=labels)
    np.savez("new.npz", images=table(9, seed=1).to_numpy(), labels=labels[:9])
    folder, _ = trained_run(tmp_path, Path("own.npz"), model=MODEL, **SCALED)
    ran("embed", folder, "new.npz", "--data", "own.npz", "-o", "map.png")
    mapped = pd.read_csv("map.csv", dtype={"class": str})
    assert len(mapped) > 9
    assert mapped["class"].tolist()[-9:] == [*map(str, labels[:9])]
    assert mapped["label"].tolist() == [numbers[name] for name in mapped["class"]]
