"""Exported models: they load where neither vaeexp nor its dependencies are, and compute what the
model computes.
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from saved_runs import finished_run
from torch import nn

from sweeps.errors import UserError
from vaeexp.models.likelihoods import LIKELIHOODS
from vaeexp.models.networks import NETWORKS
from vaeexp.models.posteriors import POSTERIORS
from vaeexp.models.vae import VAE
from vaeexp.runs.export import FILES, ONNX_FILES, export_run
from vaeexp.runs.run import open_run

TINY = {"hidden": (6,), "channels": (4, 6), "latent_size": 3}
GREY = {"binarisation": "none"}
MIXTURE = "discretised_logistic_mixture"
# A discretised logistic is the same code as a mixture of one, and its mean a program of 1,000
# steps: ten seconds to trace.
LIKELIHOODS_OF_FEW_STEPS = [
    name for name in LIKELIHOODS if name not in ("discretised_logistic", MIXTURE)
]


def cases() -> Iterator[tuple[str, tuple[int, int, int], dict[str, Any]]]:
    """A name, the shape of the images and settings. A program is a network and then a likelihood or
    a posterior, so each of those is exported in one case; the cases take them in turn.
    """
    parts = [list(NETWORKS), LIKELIHOODS_OF_FEW_STEPS, list(POSTERIORS)]
    for turn in range(max(map(len, parts))):
        network, likelihood, posterior = (part[turn % len(part)] for part in parts)
        shape = (3, 3, 2) if network.startswith("mlp") else (3, 28, 28)
        params = {"network": network, "likelihood": likelihood, "posterior": posterior}
        yield f"{network}, {likelihood}, {posterior}", shape, GREY | params
    yield (
        "group norm",
        (1, 8, 8),
        {"network": "conv", "normalisation": "group", "head": 5, "activation": "gelu"},
    )
    yield "own", (1, 4, 4), {"network": "test_export:Own", "prior": "vampprior", "components": 2}


CASES = {name: (shape, TINY | params) for name, shape, params in cases()}


class Own:
    """A user's network, with a running mean of its own."""

    def encoder(self, settings, image_shape, outputs):
        size = torch.Size(image_shape).numel()
        return nn.Sequential(nn.Flatten(1), nn.BatchNorm1d(size), nn.Linear(size, outputs))

    def decoder(self, settings, image_shape, latent_size, parameters):
        channels, height, width = image_shape
        layer = nn.Linear(latent_size, parameters * channels * height * width)
        return nn.Sequential(layer, nn.Unflatten(1, (parameters * channels, height, width)))


class Branching(Own):
    """One whose way depends on values, which no program of tensors can hold."""

    def decoder(self, settings, image_shape, latent_size, parameters):
        inner = super().decoder(settings, image_shape, latent_size, parameters)

        class Turned(nn.Module):
            def __init__(self):
                super().__init__()
                self.inner = inner

            def forward(self, z):
                return self.inner(z) if z.sum() > 0 else -self.inner(z)

        return Turned()


ALONE = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("vaeexp", "sweeps", "pydantic", "safetensors", "click"):
            raise ImportError(name + " is not here")

sys.meta_path.insert(0, Block())
import os
import torch
for folder in sys.argv[1:]:
    os.chdir(folder)
    given = torch.load("given.pt")
    halves = ("encoder", "decoder")
    encoder, decoder = (torch.export.load(f"{half}.pt2").module() for half in halves)
    torch.save([(list(encoder(x)), decoder(z)) for x, z in given], "found.pt")
    with open("README.md", encoding="utf-8") as readme:
        code = readme.read().split("```python\\n")[1].split("```")[0]
    names = {}
    exec(code, names)
    shown = {name: torch.as_tensor(names[name]) for name in ("numbers", "mean", "reconstructions")}
    torch.save(shown, "shown.pt")
assert "vaeexp" not in sys.modules
"""


def export_and_run(root: Path, cases: dict[str, tuple]) -> dict[str, tuple[VAE, Path]]:
    """Cases exported by this process, and run by another that has PyTorch alone, with the example
    of their model card. Every second one has ONNX files.
    """
    made = {}
    for place, (name, (shape, params)) in enumerate(cases.items()):
        run, folder = root / "runs" / name, root / name
        made[name] = finished_run(run, shape, **params), folder
        written = export_run(open_run(str(run), root, allow_code=True), folder, onnx=place % 2 == 0)
        assert [path.name for path in written] == [*(ONNX_FILES if place % 2 == 0 else ()), *FILES]
        batches = [(torch.rand(n, *shape), torch.randn(n, 3)) for n in (1, 2, 7)]
        torch.save(batches, folder / "given.pt")
    command = [sys.executable, "-I", "-c", ALONE, *(str(folder) for _, folder in made.values())]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return made


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[VAE, Path]]:
    return export_and_run(tmp_path_factory.mktemp("exported"), CASES)


def check_numbers(vae: VAE, folder: Path) -> None:
    """The programs computed what the model computes."""
    given, found = torch.load(folder / "given.pt"), torch.load(folder / "found.pt")
    for (x, z), (encoded, decoded) in zip(given, found, strict=True):
        with torch.no_grad():
            posterior, wanted = vae.encode(x), vae.decode(z).mean
        torch.testing.assert_close(encoded[0], posterior.mean, rtol=1e-5, atol=1e-5)
        assert len(encoded) == vae.posterior.parameters
        if vae.posterior.stochastic:
            torch.testing.assert_close(encoded[1], posterior.log_var, rtol=1e-5, atol=1e-5)
        assert decoded.shape == x.shape
        torch.testing.assert_close(decoded, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_programs_compute_what_the_model_does_without_vaeexp(exported: dict, name: str) -> None:
    check_numbers(*exported[name])


@pytest.mark.parametrize("name", CASES)
def test_the_example_of_the_card_computes_what_the_model_does(exported: dict, name: str) -> None:
    vae, folder = exported[name]
    shown = torch.load(folder / "shown.pt")
    x = shown["numbers"].float()
    with torch.no_grad():
        mean = vae.encode(x).mean
        wanted = vae.decode(mean).mean.double()
    torch.testing.assert_close(shown["mean"], mean, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(shown["reconstructions"], wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_a_program_of_a_thousand_steps_computes_what_the_model_does(tmp_path: Path) -> None:
    params = TINY | GREY | {"likelihood": MIXTURE, "likelihood_components": 2}
    check_numbers(*export_and_run(tmp_path, {"mixture": ((1, 3, 2), params)})["mixture"])


def test_weights_and_settings_are_the_runs_own_and_open_again(exported: dict) -> None:
    vae, folder = exported["own"]
    run = open_run(str(folder), folder, allow_code=True)
    assert run.name == "own"
    for (name, mine), (other, its) in zip(
        run.vae.state_dict().items(), vae.state_dict().items(), strict=True
    ):
        assert name == other
        assert torch.equal(mine, its)


def test_a_network_that_cannot_be_traced_is_refused(tmp_path: Path) -> None:
    finished_run(tmp_path / "run", (1, 4, 4), network="test_export:Branching", latent_size=3)
    with pytest.raises(UserError, match=r"test_export:Branching.*decoder\.pt2"):
        export_run(open_run(str(tmp_path / "run"), tmp_path, allow_code=True), tmp_path / "out")


def test_a_folder_of_another_run_is_left_alone(tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("two", 2)):
        finished_run(tmp_path / name, (1, 4, 4), seed=seed, hidden=(4,), latent_size=2)
    one = open_run(str(tmp_path / "one"), tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match="another run"):
        export_run(one, tmp_path / "two")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
