"""Commands on finished runs: what they print and draw is what the run's folder and its images say,
and nothing else is needed.
"""

import csv
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from image_files import noise
from mnist_files import write_files
from PIL import Image
from refusals import refused
from saved_runs import finished_run
from sealed import change_settings, change_tensors

from vaeexp.commands import cli, main
from vaeexp.runs.drawing import (
    draw_interpolations,
    draw_manifold,
    draw_map,
    draw_reconstructions,
    draw_samples,
    draw_traversals,
)
from vaeexp.runs.run import open_images, open_run
from vaeexp.words import plural


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, empty_folder: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAEEXP_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def of_study(tiny_study: Path) -> list[object]:
    """The options that name the runs and the images of the study."""
    return ["--runs", tiny_study / "mlruns", "--data", tiny_study / "data"]


@pytest.fixture
def classifier(tiny_study: Path, tmp_path: Path) -> None:
    """The classifier that judges samples, which would be trained for half a second."""
    shutil.copytree(tiny_study / "cache", tmp_path / "cache")


def run(*arguments: object) -> str:
    result = CliRunner().invoke(cli, list(map(str, arguments)), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def picture(path: Path) -> np.ndarray:
    """Pixels [H, W, 3] of a PNG that says that vaeexp made it."""
    with Image.open(path) as image:
        assert image.info["Software"].startswith("vaeexp")
        assert image.info["Description"]
        return np.asarray(image.convert("RGB"))


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A run that was never trained, of two latent dimensions and a mixture of three components."""
    finished_run(
        tmp_path / "made", (1, 28, 28), hidden=(8,), latent_size=2, prior="mixture", components=3
    )
    return tmp_path / "made"


# ---- evaluate ----


def test_evaluate_gives_the_very_figures_of_the_study(tiny_study: Path, tmp_path: Path) -> None:
    """From a copy of the folder alone: without the study's storage, MLflow, or the cache."""
    recorded = json.loads(
        (tiny_study / "mlruns/trials/beta_mnist/repeat-0000/result.json").read_text()
    )["test"]
    some = ("neg_elbo", "iw_nll", "active_units", "inception_score", "reconstruction_mse")
    assert recorded.keys() >= {f"test/{name}" for name in some}
    shutil.copytree(tiny_study / "mlruns/trials/beta_mnist/repeat-0000", tmp_path / "copied")
    given = ["--data", tiny_study / "data", "--device", "cpu", "--output", "figures.json"]
    said = run("evaluate", tmp_path / "copied", *given)
    written = json.loads(Path("figures.json").read_text())
    # The worker had one thread, this process has as many as there are cores: a different order of
    # addition.
    of_best = {name: value for name, value in recorded.items() if name.startswith("test/")}
    assert written["figures"] == pytest.approx(of_best, rel=1e-5)
    assert written["protocol"]["binarisation"].startswith("dynamic")
    assert "k = 7" in written["protocol"]["estimator"]
    line = next(
        line for line in said.splitlines() if line.startswith("importance-weighted NLL, k = 7")
    )
    value, error = (float(word) for word in line.split("k = 7")[1].replace("±", "").split()[:2])
    assert value == pytest.approx(recorded["test/iw_nll"], abs=0.5 * recorded["test/iw_nll_se"])
    assert error == pytest.approx(recorded["test/iw_nll_se"], rel=0.06)
    assert list(Path().iterdir()) == [Path("figures.json")]


@pytest.mark.usefixtures("classifier")
def test_a_repeat_is_evaluated_at_its_last_epoch_too(
    tiny_study: Path, tmp_path: Path, capsys
) -> None:
    """The last weights are made worse here, because those of the study are its best ones."""
    shutil.copytree(tiny_study / "mlruns/trials/beta_mnist/repeat-0000", tmp_path / "copied")
    last = tmp_path / "copied" / "last.safetensors"
    change_tensors(last, lambda tensors: [tensor.mul_(1.5) for tensor in tensors.values()])
    shared = ["--data", tiny_study / "data", "--device", "cpu", "--output", "figures.json"]
    figures = []
    for epoch in ("best", "last"):
        arguments = ["evaluate", tmp_path / "copied", "--epoch", epoch, *shared]
        done = CliRunner().invoke(cli, list(map(str, arguments)))
        assert done.exit_code == (epoch == "last"), "worse weights differ from the record"
        written = json.loads(Path("figures.json").read_text())
        assert (written["epoch"], written["protocol"]["weights"]) == (
            epoch,
            f"of the {epoch} epoch",
        )
        figures.append(written["figures"]["test/neg_elbo"])
    assert figures[1] > figures[0]
    said = refused(
        capsys, "evaluate", "beta_mnist/1", "--runs", tiny_study / "mlruns", "--epoch", "last"
    )
    assert "beta_mnist/1: has no last.safetensors: only repeats" in said


@pytest.mark.usefixtures("classifier")
def test_more_importance_samples_and_the_other_split(tiny_study: Path, of_study: list) -> None:
    shared = [*of_study, "--device", "cpu", "--output", "figures.json"]
    run("evaluate", "beta_mnist/repeat-0", *shared, "--importance-samples", "200")
    few = json.loads((tiny_study / "mlruns/trials/beta_mnist/repeat-0000/result.json").read_text())[
        "test"
    ]
    many = json.loads(Path("figures.json").read_text())["figures"]
    assert many["test/importance_samples"] == 200
    assert many["test/neg_elbo"] == pytest.approx(few["test/neg_elbo"], rel=1e-6)
    assert many["test/iw_nll"] < few["test/iw_nll"] < few["test/neg_elbo"]
    run("evaluate", "beta_mnist/repeat-0", *shared, "--split", "validation")
    validation = json.loads(Path("figures.json").read_text())
    assert validation["split"] == "validation"
    assert validation["figures"]["validation/images"] == 40
    assert not any(name.startswith("test/") for name in validation["figures"])


def test_figures_on_other_images_are_refused(
    tiny_study: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    write_files(tmp_path / "data" / "MNIST" / "raw", training=160, test=30, seed=1)
    shared = ["--runs", tiny_study / "mlruns", "--data", tmp_path / "data"]
    said = refused(capsys, "evaluate", "beta_mnist/trial-0001", *shared)
    assert "beta_mnist/1" in said
    assert "other images" in said
    run("reconstruct", "beta_mnist/trial-0001", *shared)


@pytest.mark.usefixtures("classifier")
def test_a_plain_autoencoder_has_no_bound_on_the_likelihood(
    tiny_study: Path, tmp_path: Path
) -> None:
    images = json.loads(
        (tiny_study / "mlruns/trials/beta_mnist/trial-0001/settings.json").read_text()
    )["fingerprint"]
    settings = {
        "hidden": (8,),
        "posterior": "deterministic",
        "validation_size": 40,
        "binarisation": "dynamic",
    }
    finished_run(tmp_path / "plain", (1, 28, 28), fingerprint=images, **settings)
    said = run(
        "evaluate", tmp_path / "plain", "--data", tiny_study / "data", "--output", "figures.json"
    )
    figures = json.loads(Path("figures.json").read_text())["figures"]
    assert "test/distortion" in figures
    assert not {"test/neg_elbo", "test/iw_nll"} & figures.keys()
    assert "ELBO" not in said
    assert "NLL" not in said


# ---- which run ----


def test_a_run_is_named_in_several_ways(tiny_study: Path) -> None:
    for best in ("beta_mnist/best", "beta_mnist", "beta_mnist/r0", "beta_mnist/repeat-0000"):
        assert open_run(best, tiny_study / "mlruns").name == "beta_mnist/r0"
    for trial in ("beta_mnist/1", "beta_mnist/trial-1", "beta_mnist/trial-0001"):
        assert (
            open_run(trial, tiny_study / "mlruns").folder
            == tiny_study / "mlruns/trials/beta_mnist/trial-0001"
        )
    run = open_run(str(tiny_study / "mlruns/trials/beta_mnist/trial-0001"), Path("nowhere"))
    assert (run.name, run.study_seed, run.values.shape) == ("beta_mnist/1", 3, (1, 28, 28))
    assert run.settings.data.binarisation == "dynamic"
    assert len(run.fingerprint) == 64


def test_runs_that_are_not_there(
    tiny_study: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    runs = ["--runs", tiny_study / "mlruns"]
    said = refused(capsys, "sample", "beta_mnist/trial-0009", *runs)
    assert "no beta_mnist/9. It has beta_mnist/0 to beta_mnist/3." in said
    for name in ("beta_mnits", "beta_mnits/trial-0000"):
        assert "Did you mean 'beta_mnist'?" in refused(capsys, "sample", name, *runs)
    assert "STUDY/7" in refused(capsys, "sample", "some/folder", *runs)
    assert "mlruns" in refused(capsys, "sample", "beta_mnist")
    unfinished = tmp_path / "runs/trials/beta_mnist/trial-0000"
    unfinished.mkdir(parents=True)
    (unfinished / "checkpoint.safetensors").write_bytes(b"")
    said = refused(capsys, "sample", "beta_mnist/trial-0000", "--runs", tmp_path / "runs")
    assert "beta_mnist/0: has no weights.safetensors. A pruned trial leaves weights only" in said
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda made: os.truncate(made / "weights.safetensors", 100), "made"),
        (
            lambda made: change_settings(made, lambda own: own["model"].update(unheard_of=1)),
            "unheard_of",
        ),
        (
            lambda made: change_settings(
                made, lambda own: own["model"].update(network="no_such:Net")
            ),
            "no_such",
        ),
    ],
)
def test_folders_that_hold_no_model(
    made: Path, damage: Callable, named: str, capsys: pytest.CaptureFixture
) -> None:
    damage(made)
    assert named in refused(capsys, "sample", made)


# ---- pictures ----


def test_samples_need_the_folder_alone(made: Path) -> None:
    said = run("sample", made, "-n", "5", "--seed", "1")
    assert said.startswith("samples.png")
    first = picture(Path("samples.png"))
    run("sample", made, "-n", "5", "--seed", "1", "--output", "again.png")
    assert np.array_equal(picture(Path("again.png")), first)
    run("sample", made, "-n", "5", "--seed", "2")
    assert not np.array_equal(picture(Path("samples.png")), first)


def test_samples_of_a_component(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    prior = open_run(str(made), made).vae.prior
    weights, order = torch.softmax(prior.logits, 0).sort(descending=True)
    for number in (1, 2, 3):
        assert f"component {number} of the prior (weight {weights[number - 1]:.3g})" in run(
            "sample", made, "--component", number, "-n", "4", "-o", f"{number}.png"
        )
    settled = {name: tensor.clone() for name, tensor in prior.state_dict().items()}
    # So narrow that all of its samples are one picture, that of its mean.
    settled["log_vars"][:] = -20
    narrow = tmp_path / "narrow"
    shutil.copytree(made, narrow)
    narrowed = {f"prior.{name}": tensor for name, tensor in settled.items()}
    change_tensors(narrow / "weights.safetensors", lambda tensors: tensors.update(narrowed))
    vae = open_run(str(narrow), made).vae
    with torch.no_grad():
        wanted = (vae.decode(prior.means[order[1]]).mean.squeeze() * 255).round()
    drawing = draw_samples(open_run(str(narrow), made), 1, component=2, seed=0)
    shown = drawing.figure.axes[0].images[0].get_array()
    assert np.abs(np.asarray(shown, dtype=float)[..., 0] - wanted.numpy()).max() <= 1
    assert titles(drawing.figure) == ["".join(drawing.words.split())]
    assert "1 to 3" in refused(capsys, "sample", made, "--component", "4")
    finished_run(tmp_path / "normal", (1, 4, 4), hidden=(4,))
    assert "no components" in refused(capsys, "sample", tmp_path / "normal", "--component", "1")


def titles(figure) -> list[str]:
    return ["".join(text.get_text().split()) for text in figure.texts if text.get_gid() == "title"]


def test_every_drawing_has_a_title_that_fits(tiny_study: Path) -> None:
    run = replace(open_run("beta_mnist/1", tiny_study / "mlruns"), name=f"beta_mnist_{'x' * 60}/1")
    images = open_images(run, tiny_study / "data", count=8, say=lambda text: None)
    drawings = [
        draw_samples(run, 4, component=None, seed=0),
        draw_reconstructions(run, images),
        draw_interpolations(run, images, steps=4),
        draw_traversals(run, images, dimensions=2, steps=3),
        draw_map(run, images, seed=0)[0],
        draw_manifold(run, images.x),
    ]
    for drawing in drawings:
        assert titles(drawing.figure) == ["".join(drawing.words.split())]
        drawing.figure.draw_without_rendering()
        box = drawing.figure.texts[-1].get_window_extent()
        assert box.x1 < drawing.figure.bbox.x1, drawing.words
        assert (
            box.y0
            > max(axes.get_position().y1 for axes in drawing.figure.axes) * drawing.figure.bbox.y1
            - 1
        )


def test_reconstructions_show_as_many_images_as_asked_or_as_there_are(of_study: list) -> None:
    reconstruct = ["reconstruct", "beta_mnist", *of_study, "-n"]
    assert "20 validation images" in run(*reconstruct, "20", "--split", "validation")
    picture(Path("reconstructions.png"))
    assert "30 test images" in run(*reconstruct, "31")


@pytest.mark.parametrize(
    ("there", "pairs"),
    [
        (1, "the only test image and itself"),
        (2, "1 pair of test images"),
        (5, "2 pairs of test images"),
    ],
)
def test_what_draws_images_takes_as_many_as_there_are(
    tiny_study: Path, tmp_path: Path, there: int, pairs: str
) -> None:
    write_files(tmp_path / "few" / "MNIST" / "raw", training=160, test=there)
    shared = ["beta_mnist/1", "--runs", tiny_study / "mlruns", "--data", tmp_path / "few"]
    assert f"{plural(there, 'test image')} of " in run("reconstruct", *shared)
    assert f"between {pairs} of " in run("interpolate", *shared, "--steps", "2")
    shown = plural(there, "test image")
    assert f"of {shown} of " in run("traverse", *shared, "--steps", "2")
    assert f"t-SNE map of {shown} of " in run("embed", *shared, "-n", "9")


def test_traversals_of_two_dimensions_have_a_plane_too(of_study: list) -> None:
    said = run("traverse", "beta_mnist", *of_study, "--dimensions", "1", "--steps", "3")
    assert "the most active dimension over the aggregate posterior of 30 test images" in said
    assert picture(Path("traversals.png")).size
    assert picture(Path("manifold.png")).size


def test_a_map_and_its_table(
    tiny_study: Path, of_study: list, capsys: pytest.CaptureFixture
) -> None:
    run("embed", "beta_mnist/trial-0000", *of_study, "-o", "sub/map.png")
    picture(Path("sub/map.png"))
    with Path("sub/map.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert sorted(int(row["image"]) for row in rows) == list(range(30))
    [prepared] = (tiny_study / "cache/prepared").glob("*/test_labels.npy")
    labels = np.load(prepared)
    for row in rows:
        assert row["label"] == row["class"] == str(labels[int(row["image"])])
    assert {"x", "y", "z1", "z2"} <= rows[0].keys()
    Path("embedding.csv").write_text("mine")
    assert "is not from vaeexp" in refused(capsys, "embed", "beta_mnist/trial-0000", *of_study)
    assert Path("embedding.csv").read_text() == "mine"


def test_a_file_that_is_not_ours_is_replaced_only_by_overwrite(
    made: Path, capsys: pytest.CaptureFixture
) -> None:
    letters, image = Path("letters.png"), Path("image.png")
    letters.write_bytes(b"letters")
    Image.new("L", (2, 2)).save(image)
    for other in (letters, image):
        shutil.copy(other, "samples.png")
        assert "--output" in refused(capsys, "sample", made)
        assert Path("samples.png").read_bytes() == other.read_bytes()
        assert "--overwrite" in refused(capsys, "sample", made, "--output", "samples.png")
    run("sample", made, "--overwrite")
    run("sample", made)
    assert ".png" in refused(capsys, "sample", made, "--output", "samples.gif")


def test_images_that_the_model_does_not_fit(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    np.save(tmp_path / "small.npy", noise(40, 6, 6))
    change_settings(
        made, lambda settings: settings["data"].update(dataset="arrays", binarisation="none")
    )
    assert "1 × 28 × 28" in refused(capsys, "reconstruct", made, "--data", tmp_path / "small.npy")
    assert "--data" in refused(capsys, "reconstruct", made)


# ---- export, completion ----


def test_export_is_a_command(made: Path) -> None:
    assert run("export", made, "-o", "out").split() == [
        f"out/{name}"
        for name in (
            "encoder.pt2",
            "decoder.pt2",
            "weights.safetensors",
            "settings.json",
            "preparation.json",
            "README.md",
        )
    ]
    run("sample", "out", "-n", "1")


def test_runs_are_completed(
    tiny_study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("VAEEXP_RUNS", str(tiny_study / "mlruns"))
    monkeypatch.setenv("_VAEEXP_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "vaeexp sample beta_mnist/")
    monkeypatch.setenv("COMP_CWORD", "2")
    with pytest.raises(SystemExit):
        main([])
    completed = [line.split(",")[-1] for line in capsys.readouterr().out.split()]
    assert completed == [f"beta_mnist/{run}" for run in ("0", "1", "2", "best", "r0")]
