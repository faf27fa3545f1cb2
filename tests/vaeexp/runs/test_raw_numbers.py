"""Registered models take numbers as they stand in files, and return reconstructions in their
unit.
"""

import json
import re
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from mlflow.models import ModelSignature
from mlflow.types.schema import AnyType, ColSpec, Schema
from prepared_runs import COUNT, FEATURES, KINDS, Case

from sweeps import UserError
from sweeps.tracking.mlflow_store import register
from vaeexp.launch.run import best_model
from vaeexp.run_files import LOADER
from vaeexp.runs.raw_numbers import Reconstructor, raw_example


def model_of(case: Case, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The model that a study would register of the case's run."""
    best = {"name": "small/0", "number": 0, "repeat": False}
    monkeypatch.setattr("vaeexp.launch.run.best_run", lambda results: best)
    return best_model(types.SimpleNamespace(name="small"), case.dataset, case.runs)


@pytest.fixture
def case(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    monkeypatch.setenv("VAEEXP_CACHE", str(tmp_path / "cache"))
    return Case(request.param, tmp_path)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a real store."""
    folder = tmp_path_factory.mktemp("store")
    address = f"sqlite:///{folder / 'mlflow.db'}"
    mlflow.MlflowClient(address).create_experiment("small", (folder / "artifacts").as_uri())
    return address


def registered(model: Any, runs: Path, store: str) -> tuple[Any, list[str]]:
    """The model from the store by its alias, and what was said of it."""
    mlflow.set_tracking_uri(store)
    client = mlflow.MlflowClient(store)
    experiment = client.get_experiment_by_name("small")
    run = client.create_run(experiment.experiment_id)
    if client.search_registered_models(f"name = '{model.name}'"):
        client.delete_registered_model(model.name)
    client.create_registered_model(model.name)
    notices = register(client, run.info.run_id, runs / model.folder, model)
    return mlflow.pyfunc.load_model(f"models:/{model.name}@best"), notices


ARRAYS = [name for name in KINDS if not name.startswith("table")]


@pytest.mark.parametrize("case", [name for name in ARRAYS if name != "masks"], indirect=True)
def test_a_registered_model_takes_numbers_of_files(
    case: Case, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, notices = registered(model_of(case, monkeypatch), case.runs, store)
    assert notices == [], "it is a program"
    [given] = model.metadata.signature.inputs.inputs
    [found] = model.metadata.signature.outputs.inputs
    shape = case.numbers.shape[1:]
    rows = (-1, shape[2]) if shape[:2] == (1, 1) else (-1, *shape)
    assert (given.type, given.shape) == (case.numbers.dtype, rows)
    assert (found.type, found.shape) == (np.float64, rows)
    for some in (case.numbers[:1], case.numbers[:7]):
        made = model.predict(some.reshape(len(some), *rows[1:]))
        wanted = case.wanted(some).reshape(made.shape)
        np.testing.assert_allclose(made, wanted, rtol=1e-5, atol=1e-5 * np.ptp(1.0 * case.numbers))


@pytest.mark.parametrize("likelihood", ["poisson", "negative_binomial"])
def test_counts_are_reconstructed_given_the_sum_of_their_row(
    tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch, likelihood: str
) -> None:
    monkeypatch.setenv("VAEEXP_CACHE", str(tmp_path / "cache"))
    case = Case("counts", tmp_path, likelihood=likelihood, size_factor=True)
    model, notices = registered(model_of(case, monkeypatch), case.runs, store)
    assert notices == []
    some = case.numbers[:5] * 9
    made = model.predict(some[:, 0, 0])
    np.testing.assert_allclose(made, case.wanted(some)[:, 0, 0], rtol=1e-5)


@pytest.mark.parametrize("case", ["masks"], indirect=True)
def test_masks_keep_their_levels(case: Case, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Levels 0 … 3 become 0, 85, 170 and 255."""
    model, _ = registered(model_of(case, monkeypatch), case.runs, store)
    some = case.numbers[:5]
    with torch.no_grad():
        wanted = case.vae.reconstruct(torch.from_numpy(some * np.float32(85) / 255)).numpy() * 3
    np.testing.assert_allclose(model.predict(some), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", ["table", "table of whole numbers"], indirect=True)
def test_a_table_goes_in_and_comes_out_by_the_names_of_its_columns(
    case: Case, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, notices = registered(model_of(case, monkeypatch), case.runs, store)
    assert notices == [], "it is a program"
    still = {"constant"} | ({"a|b"} if case.numbers.dtype.kind == "i" else set())
    features = [*FEATURES]
    signature = model.metadata.signature
    assert signature.inputs.input_names() == signature.outputs.input_names() == features
    assert {str(column.type) for column in signature.inputs.inputs} == {"Any"}
    frame = pd.DataFrame(case.numbers[:, 0, 0], columns=FEATURES).iloc[5:9]
    made = model.predict(frame[["income", *features[:-1]]])
    assert list(made.columns) == features
    assert list(made.index) == [5, 6, 7, 8]
    assert {*made.columns[(made == made.iloc[0]).all()]} == still
    assert (made[[*still]].iloc[0] == frame[[*still]].iloc[0]).all()
    kept = [name for name in features if name not in still]
    wanted = case.wanted(frame.to_numpy()[:, None, None])[:, 0, 0, list(case.dataset.kept)]
    scale = case.dataset.scaling.scale.reshape(-1)
    np.testing.assert_allclose((made[kept].to_numpy() - wanted) / scale, 0, atol=1e-5)
    with pytest.raises(mlflow.exceptions.MlflowException, match="income"):
        model.predict(frame[features[:-1]])


def loaded(case: Case, path: Path) -> Any:
    """What loads where the network can be no program, under the signature of a table."""
    columns = [ColSpec(AnyType(), name) for name in FEATURES]
    mlflow.pyfunc.save_model(
        path,
        loader_module=LOADER,
        data_path=str(case.folder),
        signature=ModelSignature(inputs=Schema(columns)),
    )
    return mlflow.pyfunc.load_model(str(path))


@pytest.mark.parametrize("case", ["table", "table of whole numbers"], indirect=True)
@pytest.mark.parametrize("program", [True, False])
def test_a_table_goes_in_with_the_types_that_a_file_gives_its_columns(
    case: Case, program: bool, store: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if program:
        model, _ = registered(model_of(case, monkeypatch), case.runs, store)
    else:
        model = loaded(case, tmp_path / "loaded")
    frame = pd.DataFrame(case.numbers[:, 0, 0], columns=FEATURES).round().iloc[5:9]
    wanted = model.predict(frame.astype("float64"))
    one = FEATURES[0]
    given = {
        "whole numbers": frame.astype("int64"),
        "one column of whole numbers": frame.astype("float64").astype({one: "int64"}),
        "nullable": frame.astype("Int64"),
        "text": frame.astype(str),
        "objects": frame.astype(object),
    }
    for kind, table in given.items():
        pd.testing.assert_frame_equal(model.predict(table), wanted, obj=kind)
    pd.testing.assert_frame_equal(model.predict(frame + 0.5).round(0) * 0, wanted * 0)
    words = frame.astype({one: object})
    words.loc[6, one] = "n/a"
    said = re.escape(f"column '{one}', row 6: got 'n/a'; must be a number")
    with pytest.raises(ValueError, match=f"^{said}$"):
        model.predict(words)


@pytest.mark.parametrize("case", ["table", "still columns"], indirect=True)
def test_the_examples_are_plain_json(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(case, monkeypatch)
    for example in (model.inputs, model.outputs):
        again = json.loads(json.dumps(example, allow_nan=False))
        assert np.array(again["values"], again["dtype"]).shape[1] == case.numbers.shape[3]
    made = np.array(model.outputs["values"], model.outputs["dtype"])
    assert np.isfinite(made).all()


@pytest.mark.parametrize("case", list(KINDS), indirect=True)
def test_the_example_is_of_the_validation_images(case: Case) -> None:
    example = raw_example(case.dataset)
    found = np.array(example["values"], example["dtype"])
    images = case.dataset.validation.images[:2]
    if case.dataset.binarisation == "static":
        assert set(np.unique(found)) == {0, 255}
        np.testing.assert_array_equal(found, images * 255)
        return
    numbers = case.numbers.astype(np.float64)
    if case.dataset.features is not None:
        assert example["columns"] == list(FEATURES)
    if case.dataset.scaling.per == "channel":
        numbers = case.dataset.scaling.cut(numbers)
    every = numbers.reshape(COUNT, -1)
    for row in found.reshape(2, -1):
        gaps = np.abs(every - row) / np.maximum(np.ptp(every, axis=0), 1)
        # Binarised images are kept as 256 levels.
        assert gaps.max(1).min() < (1e-5 if case.dataset.binarisation == "none" else 1 / 250)


WITHOUT_US = """
import sys
sys.modules["vaeexp"] = sys.modules["sweeps"] = None
import mlflow, pandas
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model("models:/small@best")
made = model.predict(pandas.read_csv(sys.argv[2]))
made.to_csv(sys.argv[3], index=False)
"""


@pytest.mark.parametrize("case", ["table"], indirect=True)
def test_a_model_of_a_table_needs_no_vaeexp(
    case: Case, store: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model, _ = registered(model_of(case, monkeypatch), case.runs, store)
    frame = pd.DataFrame(case.numbers[:, 0, 0], columns=FEATURES)
    frame.to_csv(tmp_path / "in.csv", index=False)
    places = [store, tmp_path / "in.csv", tmp_path / "out.csv"]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WITHOUT_US, *map(str, places)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    again = pd.read_csv(tmp_path / "out.csv")
    np.testing.assert_allclose(again, model.predict(frame), rtol=1e-9)


@pytest.mark.parametrize("case", ["bytes", "decibels", "still columns", "table"], indirect=True)
def test_numbers_that_the_model_cannot_take_are_one_line(
    case: Case, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the registered program and by its loader: of another shape, NaN, beyond the levels."""
    model, _ = registered(model_of(case, monkeypatch), case.runs, store)
    loader = Reconstructor(case.folder)
    some = case.numbers[:4]
    vectors = some.shape[1:3] == (1, 1)
    if vectors:
        some = some[:, 0, 0]
    with pytest.raises(UserError, match=r"got the shape .*; must be \[N, "):
        loader.predict(some[..., :-1])
    with pytest.raises(mlflow.exceptions.MlflowException):
        model.predict(pd.DataFrame(some[:, :-1]) if vectors else some[..., :-1])
    if case.dataset.scaling.bytes:
        for wrong in (some.astype(np.int16) - 1, some + 0.5):
            with pytest.raises(RuntimeError, match="must be whole numbers from 0 to 255"):
                loader.module(torch.from_numpy(wrong))
        return
    bad = some.copy()
    bad[(2, *[0] * (bad.ndim - 1))] = np.nan
    with pytest.raises(UserError, match=r"numbers\[2\]: 1 of its numbers are missing, NaN"):
        loader.predict(bad)
    kind: type[Exception] = RuntimeError
    said = "must be finite numbers"
    given = bad
    if case.dataset.features:
        kind = ValueError
        index = [f"row{row}" for row in range(len(bad))]
        given = pd.DataFrame(bad, columns=FEATURES, index=index)
        given.loc["row2", [case.dataset.features[1], "constant"]] = np.nan, np.nan
        assert "constant" not in case.dataset.features
        first = case.dataset.features[0]
        said = re.escape(
            "row row2: 2 of its numbers are missing, NaN or infinite, the first in column "
            f"'{first}'"
        )
        fine = pd.DataFrame(some, columns=FEATURES)
        made = model.predict(fine.assign(constant=np.nan))
        pd.testing.assert_frame_equal(made, model.predict(fine), obj="a column not taken")
        fine.loc[3, case.dataset.features[1]] = np.inf
        with pytest.raises(ValueError, match=r"^row 3: 1 of its .* '") as caught:
            model.predict(fine)
        assert str(caught.value).endswith(f"in column '{case.dataset.features[1]}'")
    with pytest.raises(kind, match=said) as caught:
        model.predict(given)
    assert len(str(caught.value).splitlines()) == 1


class Branching:
    """A network whose way depends on values, which no program of tensors can hold."""

    def encoder(self, settings: Any, image_shape: Any, outputs: int) -> torch.nn.Module:
        size = torch.Size(image_shape).numel()
        return torch.nn.Sequential(torch.nn.Flatten(1), torch.nn.Linear(size, outputs))

    def decoder(
        self, settings: Any, image_shape: Any, latent_size: int, parameters: int
    ) -> torch.nn.Module:
        size = torch.Size(image_shape).numel()
        inner = torch.nn.Linear(latent_size, parameters * size)

        class Turned(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.inner = inner

            def forward(self, z: torch.Tensor) -> torch.Tensor:
                made = self.inner(z) if z.sum() > 0 else -self.inner(z)
                return made.unflatten(-1, (parameters * image_shape[0], *image_shape[1:]))

        return Turned()


@pytest.mark.parametrize("kind", ["sixteen bits", "table"])
def test_what_is_no_program_loads_with_vaeexp(
    tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("VAEEXP_CACHE", str(tmp_path / "cache"))
    case = Case(kind, tmp_path, network="test_raw_numbers:Branching")
    monkeypatch.setattr("vaeexp.launch.run.check_code", lambda *_, **__: None)
    model, [notice] = registered(model_of(case, monkeypatch), case.runs, store)
    assert "packages are installed" in notice
    some = case.numbers[:4]
    if kind == "table":
        made = model.predict(pd.DataFrame(some[:, 0, 0], columns=FEATURES)).to_numpy()
    else:
        made = model.predict(some)
    np.testing.assert_allclose(made.reshape(some.shape), case.wanted(some), rtol=1e-5)
