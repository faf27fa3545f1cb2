"""vaeexp init: what it writes loads, and nothing is ever replaced."""

import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from sweeps.errors import UserError
from sweeps.study.study import Study
from vaeexp.commands import cli
from vaeexp.data import DATASETS
from vaeexp.study import open_study_file


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*arguments: str) -> str:
    return CliRunner().invoke(cli, ["init", *arguments], catch_exceptions=False).output


@pytest.mark.parametrize("dataset", DATASETS)
def test_a_new_study_loads_and_says_what_each_part_is(dataset):
    assert "studies/mine.yaml is written" in run("mine", "--dataset", dataset)
    study = open_study_file("mine")
    assert study.fixed["data"].model_dump()["dataset"] == dataset
    assert {"beta", "latent_size", "learning_rate"} == {*study.space.names}
    text = Path("studies/mine.yaml").read_text(encoding="utf-8")
    assert Path(text.splitlines()[0].removeprefix("# yaml-language-server: $schema=")).is_file()
    assert text.count("#") > 20
    assert study.confirm.seeds == 3  # from three seeds on there are intervals


@pytest.mark.parametrize(
    ("dataset", "size"),
    [("usps", 729), ("omniglot", 1_928), ("mnist", 10_000), ("bloodmnist", 10_000)],
)
@pytest.mark.parametrize("parent", [[], ["--extends", "beta_mnist"]])
def test_a_study_of_few_images_holds_out_a_tenth(dataset, size, parent):
    run("mine", *parent, "--dataset", dataset)
    assert open_study_file("mine").fixed["data"].model_dump()["validation_size"] == size


@pytest.mark.parametrize("dataset", [None, *DATASETS])
def test_a_study_that_extends_another_loads(dataset):
    run("mine", "--extends", "smoke", *(["--dataset", dataset] if dataset else []))
    study, smoke = open_study_file("mine"), open_study_file("smoke")
    assert study.space == smoke.space
    assert study.fixed["data"].model_dump()["dataset"] == (dataset or "mnist")


def with_all_lines(*arguments: str, drop: str = "(?!)") -> Study:
    """A new study with every line taken in that holds an entry of YAML, `# beta: …`, and what
    stands below it; `drop` leaves lines out.
    """
    run("mine", *arguments)
    path = Path("studies/mine.yaml")
    text = re.sub(rf"(?m)^{drop}.*\n", "", path.read_text(encoding="utf-8"))
    path.write_text(
        re.sub(r"(?m)^( *)# (( *)(?!mine)[a-z_]+:( |$))", r"\1\2", text), encoding="utf-8"
    )
    return open_study_file("mine")


def test_every_line_of_a_study_that_extends_another_can_be_taken_in():
    study, parent = with_all_lines("--extends", "beta_mnist"), open_study_file("beta_mnist")
    assert {*parent.space.names} - {*study.space.names} == {"learning_rate"}
    assert (study.space["beta"].low, study.fixed["train"].model_dump()["epochs"]) == (0.5, 5)
    assert (study.budget.trials, study.compare) == (10, None)


def test_every_line_of_a_new_study_can_be_taken_in():
    study = with_all_lines(drop="  prior: ")
    assert {"prior", "components"} < {*study.space.names}
    assert [row.name for row in study.baselines] == ["plain"]


def test_a_study_can_extend_a_file_and_what_exists_is_not_replaced():
    Path("other.yaml").write_text("extends: smoke\nepochs: 2\n", encoding="utf-8")
    run("mine", "--extends", "other.yaml")
    assert open_study_file("mine").fixed["train"].model_dump()["epochs"] == 2
    before = Path("studies/mine.yaml").read_text(encoding="utf-8")
    with pytest.raises(UserError, match=r"studies/mine.yaml: exists already"):
        run("mine", "--extends", "smoke")
    assert Path("studies/mine.yaml").read_text(encoding="utf-8") == before


@pytest.mark.parametrize("folder", ["my studies", "a: b", "mine #2"])
def test_a_study_can_extend_a_file_in_any_folder(folder):
    Path(folder).mkdir()
    path = Path(folder) / "other.yaml"
    path.write_text("extends: smoke\nepochs: 2\n", encoding="utf-8")
    run("mine", "--extends", str(path))
    assert open_study_file("mine").fixed["train"].model_dump()["epochs"] == 2


@pytest.mark.parametrize(
    ("shape", "likelihood"), [((20, 16, 16), "discretised_logistic"), ((20, 4), "gaussian_learned")]
)
def test_a_study_that_fits_a_file_names_what_it_chose(shape, likelihood):
    values = np.random.default_rng(0).integers(0, 4096, shape)
    np.save("values.npy", values.astype(np.uint16 if len(shape) > 2 else np.float32))
    assert likelihood in run("mine", "--data", "values.npy")
    study = open_study_file("mine")
    assert study.fixed["model"].model_dump()["likelihood"] == likelihood
    assert study.confirm.seeds == 3
    assert "image files" not in Path("studies/mine.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("rows", "draws"), [(400, 20), (2_000, 10), (3_010, 7), (9_900, 3), (10_000, 1)]
)
def test_few_validation_rows_get_several_draws_each(rows, draws):
    np.save("values.npy", np.random.default_rng(0).normal(size=(rows, 3)))
    run("mine", "--data", "values.npy")
    fixed = open_study_file("mine").fixed["evaluation"].model_dump()
    assert fixed["validation_draws"] == draws
    text = Path("studies/mine.yaml").read_text(encoding="utf-8")
    assert ("# draws of z per validation row, because these are few" in text) == (draws > 1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["../x"], "NAME: got '../x' as name; must be letters"),
        (["x", "--extends", "smoek"], "--extends: unknown study 'smoek'.*Did you mean 'smoke'"),
        (
            ["smoke", "--extends", "smoke"],
            "NAME: got 'smoke', the name of the study that it extends",
        ),
        (["x", "--data", "none.csv"], "none.csv: there is no such file or folder"),
    ],
)
def test_what_cannot_be_written_is_refused(arguments, words):
    with pytest.raises(UserError, match=words):
        run(*arguments)
    assert not Path("studies").exists()
