"""Columns of a table are those of their names, whatever their order in the file."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from saved_runs import finished_run

import vaeexp
from sweeps.errors import UserError
from vaeexp.data import open_dataset
from vaeexp.runs.preparation import other_columns
from vaeexp.runs.run import evaluate_run, open_images, open_run
from vaeexp.settings import DataSettings

NAMES = ("age", "height", "still", "weight", "pulse")
DATA = {
    "dataset": "arrays",
    "binarisation": "none",
    "scale": "standard",
    "scale_per": "feature",
    "labels": "kind",
}
MODEL = {"hidden": (8,), "latent_size": 2, "likelihood": "gaussian_learned"}
ORDERS = {
    "turned": NAMES[::-1],
    "two exchanged": ("age", "weight", "still", "height", "pulse"),
    "label first": ("kind", *NAMES),
}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VAEEXP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("VAEEXP_OFFLINE", "1")


def table(rows: int = 120) -> pd.DataFrame:
    random = np.random.default_rng(0)
    numbers = random.normal(size=(rows, 2)) @ random.normal(size=(2, 5))
    numbers = numbers * [10, 9, 0, 12, 8] + [40, 170, 3, 70, 65]
    frame = pd.DataFrame(numbers, columns=list(NAMES))
    return frame.assign(kind=np.where(random.random(rows) > 0.5, "ill", "well"))


def made_run():
    table().to_csv("own.csv", index=False)
    dataset = open_dataset(DataSettings(**DATA), root=Path("own.csv"), say=str)
    params = {name: value for name, value in DATA.items() if name != "dataset"} | MODEL
    finished_run(Path("run"), dataset.image_shape, dataset=dataset, **params)
    run = open_run("run", Path("mlruns"))
    return replace(run, settings=run.settings.with_params({"dataset": "arrays"}))


def figures(run, file: str) -> tuple[dict, list[str]]:
    said = list[str]()
    images = open_images(run, Path(file), say=said.append)
    found = evaluate_run(run, images, importance_samples=3, device="cpu", say=str)["figures"]
    return found, said


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
@pytest.mark.parametrize("order", ORDERS)
def test_a_run_is_evaluated_by_name(order, ending):
    run = made_run()
    known, said = figures(run, "own.csv")
    assert said == []
    others = [name for name in table().columns if name not in ORDERS[order]]
    moved = table()[[*ORDERS[order], *others]]
    {".csv": moved.to_csv, ".parquet": moved.to_parquet}[ending](f"moved{ending}", index=False)
    found, said = figures(run, f"moved{ending}")
    assert said == []
    assert found == known


def test_a_renamed_column_is_refused_by_its_name():
    run = made_run()
    table().rename(columns={"height": "length"}).to_csv("other.csv", index=False)
    with pytest.raises(UserError, match=r"other columns: .* has no column height and the new len"):
        figures(run, "other.csv")
    table().drop(columns="pulse").to_csv("fewer.csv", index=False)
    with pytest.raises(UserError, match="has no column pulse"):
        figures(run, "fewer.csv")


def test_what_differs_is_said():
    assert other_columns(NAMES, NAMES[:2]) == "no column still, weight, pulse"
    assert other_columns(NAMES[:2], NAMES[:3]) == "the new still"
    assert other_columns(NAMES, ORDERS["two exchanged"]) == "'weight' as column 2, not 'height'"


STUDY = {
    "question": "Which learning rate?",
    "data": DATA,
    "model": MODEL,
    "train": {"epochs": 1, "batch_size": 20},
    "evaluation": {"importance_samples": 2, "pictures_every": 100},
    "search": {"learning_rate": {"values": [0.003]}},
    "sampler": "grid",
    "pruner": "none",
    "budget": {"trials": 1},
}


@pytest.mark.slow
def test_a_study_goes_on_with_its_own_header_alone(no_figures):
    table().to_csv("own.csv", index=False)
    how = {"name": "people", "workers": 1, "device": "cpu", "compile": "off"}
    vaeexp.run_study(STUDY, data="own.csv", **how)
    header = "age,weight,still,height,pulse,kind"  # the same numbers under other names
    lines = Path("own.csv").read_text(encoding="utf-8").splitlines()
    Path("own.csv").write_text("\n".join([header, *lines[1:]]) + "\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"other columns: .* 'weight' as column 2, not 'height'"):
        vaeexp.run_study(STUDY, data="own.csv", **how)
    Path("own.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    vaeexp.run_study(STUDY, data="own.csv", **how)
