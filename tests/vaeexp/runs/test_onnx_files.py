"""ONNX files: they compute what the model computes, for any number of rows."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from saved_runs import finished_run
from torch import nn

from sweeps import UserError
from vaeexp.models.likelihoods import LIKELIHOODS
from vaeexp.models.posteriors import POSTERIORS
from vaeexp.runs.export import FILES, ONNX_FILES, export_run
from vaeexp.runs.onnx_files import TOLERANCE, largest_difference
from vaeexp.runs.run import open_run

TINY = {"hidden": (6,), "channels": (4, 6), "latent_size": 3, "binarisation": "none"}
SLOW = ("discretised_logistic", "discretised_logistic_mixture")
"""Their means are programs of 1,000 steps."""


def cases() -> Iterator[tuple[str, tuple[int, int, int], dict[str, Any]]]:
    yield "mlp", (1, 28, 28), {"network": "mlp"}
    yield "conv", (3, 28, 28), {"network": "conv", "likelihood": "gaussian"}
    yield "conv with a head", (1, 8, 8), {"network": "conv", "normalisation": "group", "head": 5}
    yield "conv in one dimension", (2, 1, 50), {"network": "conv", "likelihood": "student_t"}
    yield "published", (1, 28, 28), {"network": "test_onnx_files:Published"}
    for name in POSTERIORS:
        yield f"posterior {name}", (1, 4, 3), {"posterior": name}
    for name in LIKELIHOODS:
        if name not in SLOW:
            yield f"likelihood {name}", (1, 4, 3), {"likelihood": name}


CASES = {name: (shape, TINY | params) for name, shape, params in cases()}


class Published:
    """A network of the kind that papers publish: convolutions with BatchNorm, upsampling."""

    def encoder(self, settings, image_shape, outputs):
        return nn.Sequential(
            nn.Conv2d(image_shape[0], 8, 4, 2, 1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 16, 4, 2, 1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Flatten(1),
            nn.Linear(16 * 7 * 7, outputs),
        )

    def decoder(self, settings, image_shape, latent_size, parameters):
        return nn.Sequential(
            nn.Linear(latent_size, 16 * 7 * 7),
            nn.Unflatten(1, (16, 7, 7)),
            nn.ConvTranspose2d(16, 8, 4, 2, 1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(8, parameters * image_shape[0], 3, 1, 1),
        )


class Fourier(Published):
    """One with an operation that ONNX lacks."""

    def decoder(self, settings, image_shape, latent_size, parameters):
        inner = super().decoder(settings, image_shape, latent_size, parameters)

        class Gammas(nn.Module):
            def __init__(self):
                super().__init__()
                self.inner = inner

            def forward(self, z):
                return self.inner(torch.special.i1e(z))

        return Gammas()


def exported(root: Path, shape: tuple[int, int, int], params: dict[str, Any]) -> tuple[Any, Path]:
    vae = finished_run(root / "run", shape, **params)
    run = open_run(str(root / "run"), root, allow_code=True)
    written = export_run(run, root / "out", onnx=True)
    assert [path.name for path in written] == [*ONNX_FILES, *FILES]
    return vae, root / "out"


def check(vae: Any, folder: Path, shape: tuple[int, int, int]) -> None:
    """The files compute what the model does, for 1, 2 and 9 rows that the export did not see."""
    encoder, decoder = (onnxruntime.InferenceSession(folder / name) for name in ONNX_FILES)
    generator = torch.Generator().manual_seed(7)
    for count in (1, 2, 9):
        x = torch.rand(count, *shape, generator=generator)
        z = torch.randn(count, 3, generator=generator)
        with torch.no_grad():
            q, wanted = vae.encode(x), vae.decode(z).mean
        found = encoder.run(None, {"x": x.numpy()})
        np.testing.assert_allclose(found[0], q.mean, rtol=TOLERANCE, atol=TOLERANCE)
        assert len(found) == vae.posterior.parameters
        if vae.posterior.stochastic:
            np.testing.assert_allclose(found[1], q.log_var, rtol=TOLERANCE, atol=TOLERANCE)
        [picture] = decoder.run(["picture"], {"z": z.numpy()})
        np.testing.assert_allclose(picture, wanted, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("name", CASES)
def test_files_compute_what_the_model_does(tmp_path: Path, name: str) -> None:
    shape, params = CASES[name]
    check(*exported(tmp_path, shape, params), shape)


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_files_of_a_thousand_steps_compute_what_the_model_does(tmp_path: Path, name: str) -> None:
    params = TINY | {"likelihood": name, "likelihood_components": 2}
    check(*exported(tmp_path, (1, 3, 2), params), (1, 3, 2))


def test_a_difference_is_found(tmp_path: Path) -> None:
    shape, params = CASES["mlp"]
    _, folder = exported(tmp_path, shape, params)
    other = finished_run(tmp_path / "other", shape, seed=1, **params)
    decode = nn.Module()
    decode.forward = lambda z: other.decode(z).mean  # type: ignore[method-assign]
    assert largest_difference(folder / "decoder.onnx", decode, [torch.randn(2, 3)]) > 0.01


def test_an_operation_that_onnx_lacks_is_named_in_a_line(tmp_path: Path) -> None:
    params = TINY | {"network": "test_onnx_files:Fourier"}
    with pytest.raises(UserError, match=r"test_onnx_files:Fourier.*decoder\.onnx") as caught:
        exported(tmp_path, (1, 28, 28), params)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out" / "decoder.onnx").exists()
    assert (tmp_path / "out" / "decoder.pt2").exists()


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_a_line_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=r"pip install 'vaeexp\[onnx\]'"):
        exported(tmp_path, (1, 4, 4), TINY)
    assert not (tmp_path / "out").exists()


def test_an_export_without_them_leaves_none_of_an_earlier_one(tmp_path: Path) -> None:
    _, folder = exported(tmp_path, (1, 4, 4), TINY)
    export_run(open_run(str(tmp_path / "run"), tmp_path), folder)
    assert {path.name for path in folder.iterdir()} == set(FILES)
