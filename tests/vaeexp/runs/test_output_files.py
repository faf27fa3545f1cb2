"""Where commands write: never over what they read, and over files of others only by --overwrite."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image
from refusals import refused
from trained_runs import trained_run

from vaeexp.commands import cli
from vaeexp.data.formats.csv_files import lines_of


def ran(*arguments: object) -> str:
    result = CliRunner().invoke(cli, [*map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def table() -> pd.DataFrame:
    return pd.DataFrame(np.random.default_rng(0).normal(size=(120, 3)) + 5, columns=[*"abc"])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a run on a table, and a run on pictures, and a cache."""
    root = tmp_path_factory.mktemp("outputs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VAEEXP_CACHE", str(root / "cache"))
        table().to_csv(root / "own.csv", index=False)
        scaled = {"scale": "standard", "scale_per": "feature"}
        model = {"likelihood": "gaussian", "latent_size": 2}
        trained_run(root / "t", root / "own.csv", model=model, dataset="arrays", **scaled)
        (root / "images").mkdir()
        for row, image in enumerate(np.random.default_rng(0).integers(0, 256, (60, 6, 6))):
            Image.fromarray(image.astype(np.uint8)).save(root / f"images/{row}.png")
        trained_run(root / "p", root / "images", model={}, dataset="folder")
        yield root


@pytest.fixture
def here(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with copies of the data, and files of others."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VAEEXP_CACHE", str(trained / "cache"))
    monkeypatch.setenv("VAEEXP_OFFLINE", "1")
    for name in ("VAEEXP_DATA", "VAEEXP_RUNS"):
        monkeypatch.delenv(name, raising=False)
    shutil.copy(trained / "own.csv", "own.csv")
    table().to_csv("new.csv", index=False)
    shutil.copytree(trained / "images", "images")
    Path("link.csv").symlink_to("new.csv")
    os.link("new.csv", "hard.csv")
    return tmp_path


def of_table(trained: Path) -> Path:
    return next((trained / "t").rglob("settings.json")).parent


def of_pictures(trained: Path) -> Path:
    return next((trained / "p").rglob("settings.json")).parent


def contents(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): path.read_bytes() for path in paths}


INPUTS = {
    "the file": "encode RUN new.csv --to new.csv",
    "through a link": "encode RUN new.csv --to link.csv",
    "of a link": "encode RUN link.csv --to new.csv",
    "through a hard link": "encode RUN new.csv --to hard.csv",
    "of a folder": "encode RUN . --to own.csv",
    "the data": "score RUN new.csv --data own.csv --to own.csv",
    "of the data's folder": "encode RUN --split test --data tables --to tables/one.csv",
    "anomalies": "score RUN new.csv --data own.csv --against strange.csv --to strange.csv",
    "codes": "decode RUN codes.csv --to codes.csv",
    "data of reconstructions": "reconstruct RUN --data own.csv --to own.csv",
    "the table beside a map": "embed RUN --data own.csv -o own.png",
    "an image": "score OF_PICTURES images --data images --to s.csv --sheet images/3.png",
    "the run": "evaluate RUN --data own.csv -o RUN/settings.json",
    "the folder of the run": "export RUN -o RUN",
}


@pytest.mark.parametrize("case", INPUTS)
def test_what_is_read_is_never_written_over(case, trained, here, capsys):
    table().to_csv("strange.csv", index=False)
    Path("tables").mkdir()
    table().to_csv("tables/one.csv", index=False)
    ran("encode", of_table(trained), "new.csv", "--to", "codes.csv")
    for path in ("codes.csv", "strange.csv") if case == "of a folder" else ():
        Path(path).unlink()
    before = contents(here) | contents(trained / "t")
    words = INPUTS[case].replace("OF_PICTURES", str(of_pictures(trained)))
    words = words.replace("RUN", str(of_table(trained)))
    for more in ([], ["--overwrite"]):
        said = refused(capsys, *words.split(), *more)
        assert "which the command reads; must be another file." in said
    assert contents(here) | contents(trained / "t") == before


OTHERS = {
    "codes.csv": "encode RUN new.csv --to codes.csv",
    "codes.parquet": "encode RUN new.csv --to codes.parquet",
    "codes.npz": "encode RUN new.csv --to codes.npz",
    "scores.csv": "score RUN new.csv --no-p --to scores.csv",
    "s.png": "score RUN new.csv --no-p --to scores.csv --sheet s.png",
    "decoded.npy": "decode RUN kept.parquet --to decoded.npy",
    "own.csv": "sample RUN -n 5 --to own.csv",
    "samples.parquet": "sample RUN -n 5 --to samples.parquet",
    "samples.png": "sample RUN",
    "made.npy": "reconstruct RUN --data new.csv --to made.npy",
    "ways.png": "interpolate RUN --data new.csv -o ways.png",
    "traversals.png": "traverse RUN --data new.csv",
    "manifold.png": "traverse RUN --data new.csv -o t.png",
    "m.png": "embed RUN --data new.csv -o m.png",
    "m.csv": "embed RUN --data new.csv -o m.png",
    "e.json": "evaluate RUN --data new.csv -o e.json",
    "out/README.md": "export RUN -o out",
    "out/weights.safetensors": "export RUN -o out",
    "out/encoder.onnx": "export RUN -o out",
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_file_of_others_is_replaced_only_by_overwrite(name, trained, here, capsys):
    words = OTHERS[name].replace("RUN", str(of_table(trained))).split()
    path = Path(name)
    ran("encode", of_table(trained), "new.csv", "--to", "kept.parquet")
    path.parent.mkdir(exist_ok=True)
    save = {
        ".parquet": table().to_parquet,
        ".npz": lambda to: np.savez(to, mean=np.zeros(3)),
        ".npy": lambda to: np.save(to, np.zeros((5, 3))),
        ".png": Image.new("L", (3, 3)).save,
        ".csv": lambda to: table().to_csv(to, index=False),
    }.get(path.suffix, lambda to: to.write_text(json.dumps({"mine": 1})))
    save(path)
    before = contents(here)
    said = refused(capsys, *words)
    assert f"{name}: is there already and is not from vaeexp" in said
    assert "--overwrite" in said
    assert contents(here) == before, "nothing is written, not even another file"
    ran(*words, "--overwrite")
    replaced = {each for each, content in contents(here).items() if before.get(each) != content}
    if name != "out/encoder.onnx":  # of an earlier export, whose card names it
        assert str(here / name) in replaced
    ran(*words)  # its own file of the first time


@pytest.mark.parametrize("ending", ["csv", "parquet", "npz", "npy"])
def test_a_file_that_was_changed_since_is_not_ours(ending, trained, here, capsys):
    run = of_table(trained)
    ran("encode", run, "new.csv", "--to", "kept.csv")
    command = ["decode", run, "kept.csv"] if ending == "npy" else ["encode", run, "new.csv"]
    to = Path(f"out.{ending}")
    for _ in range(2):
        ran(*command, "--to", to)
    if ending == "csv":
        pd.read_csv(to).to_csv(to, index=False)
    elif ending == "parquet":
        pd.read_parquet(to).to_parquet(to)
    elif ending == "npz":
        np.savez(to, **np.load(to))
    else:
        np.save(to, np.load(to) + 1)
    assert "is not from vaeexp" in refused(capsys, *command, "--to", to)


def test_a_table_of_windows_with_a_first_line_of_unix_is_not_ours(trained, here, capsys):
    Path("mixed.csv").write_bytes(b"a,b,c\n1,2,3\r\n4,5,6\r\n")
    said = refused(capsys, "sample", of_table(trained), "--to", "mixed.csv")
    assert "is not from vaeexp" in said


def test_marked_files_are_read_as_others_are(trained, here):
    """Every reader takes the mark, and the numbers are the same."""
    run = of_table(trained)
    ran("encode", run, "new.csv", "--to", "codes.csv")
    for ending in ("csv", "parquet", "npy"):
        ran("decode", run, "codes.csv", "--to", f"made.{ending}")
    from_csv = pd.read_csv("made.csv")
    from_parquet = pd.read_parquet("made.parquet")
    array = np.load("made.npy")
    assert [*from_csv] == [*from_parquet] == [*"abc"]
    assert np.array_equal(np.load("made.npy", mmap_mode="r"), from_parquet)
    assert array == pytest.approx(from_csv.to_numpy(), rel=1e-6)
    assert np.loadtxt("made.csv", delimiter=",", skiprows=1).shape == array.shape
    assert len([*lines_of(Path("made.csv"))]) == len(array)
    for name in ("made.csv", "made.parquet", "made.npy"):
        ran("encode", run, name, "--to", "again.parquet")
        assert (pd.read_parquet("again.parquet")["problem"] == "").all()


def test_a_file_in_the_folder_of_images_that_is_not_read_may_be_written_twice(trained, here):
    for _ in range(2):
        ran("encode", of_pictures(trained), "images", "--to", "images/codes.csv")
    data = ["--data", "images", "--split", "test"]
    for _ in range(2):
        ran("encode", of_pictures(trained), *data, "--to", "images/codes.parquet")


def test_an_export_is_renewed_but_never_over_another_run(trained, here, capsys):
    for _ in range(2):
        ran("export", of_table(trained), "-o", "out")
    said = refused(capsys, "export", of_pictures(trained), "-o", "out", "--overwrite")
    assert "'out' holds another run" in said
    Path("out/README.md").write_text("my own words")
    assert "README.md: is there already" in refused(
        capsys, "export", of_table(trained), "-o", "out"
    )
