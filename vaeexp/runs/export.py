"""Write a run as files that need no vaeexp: encoder and decoder as PyTorch programs (.pt2), weights
and settings as they are.

MLflow makes a program of a registered model through this module, too (`make_program`), and loads
what cannot be a program (`_load_pyfunc`).
"""

import contextlib
import io
import logging
import shutil
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from sweeps import VERSION, UserError, write_whole
from vaeexp.import_paths import flat_settings
from vaeexp.models.posteriors import DiagonalGaussian
from vaeexp.models.vae import VAE
from vaeexp.own_code import check_code
from vaeexp.run_files import SETTINGS, WEIGHTS, load_json
from vaeexp.runs.run import Run
from vaeexp.training.checkpoint import load_model

README = "README.txt"
FILES = ("encoder.pt2", "decoder.pt2", WEIGHTS, SETTINGS, README)
_TOLERANCE = 1e-4
"""Relative tolerance of a program's outputs, because its kernels may round in another order than
the model.
"""


class Encoder(nn.Module):
    """Images float32 [N, C, H, W] in [0, 1] → mean [N, L], and log-variance [N, L] where the
    posterior has one.
    """

    def __init__(self, vae: VAE) -> None:
        super().__init__()
        self.network = vae.encoder
        self.posterior = vae.posterior
        self.mask: Tensor
        self.register_buffer("mask", vae.latent_mask)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        q = self.posterior.from_head(self.network(x), self.mask)
        return (q.mean, q.log_var) if isinstance(q, DiagonalGaussian) else (q.mean,)


class Decoder(nn.Module):
    """Codes float32 [N, L] → means of p(x|z) [N, C, H, W], in [0, 1]."""

    def __init__(self, vae: VAE) -> None:
        super().__init__()
        self.network = vae.decoder
        self.likelihood = vae.likelihood

    def forward(self, z: Tensor) -> Tensor:
        return self.likelihood(self.network(z)).mean


def export_run(run: Run, folder: Path) -> tuple[Path, ...]:
    """Write `FILES` into `folder` and return their paths. The programs take any number N ≥ 1 of
    images or codes.

    Raises:
        UserError: the folder holds another run; or the network cannot be traced, because its
            `forward` branches on the values of a tensor; or a program computes other numbers than
            the model.
    """
    there = folder / SETTINGS
    if there.exists() and there.read_bytes() != (run.folder / SETTINGS).read_bytes():
        raise UserError("--output", f"'{folder}' holds another run; give another folder.")
    vae, size = run.vae, len(run.vae.latent_mask)
    programs = {
        "encoder.pt2": (
            Encoder(vae),
            torch.rand(3, *run.values.shape, generator=torch.Generator().manual_seed(0)),
        ),
        "decoder.pt2": (
            Decoder(vae),
            torch.randn(3, size, generator=torch.Generator().manual_seed(0)),
        ),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, (module, example) in programs.items():
        _export(run, name, module.eval(), example, folder / name)
    for name in (WEIGHTS, SETTINGS):
        shutil.copyfile(run.folder / name, folder / name)
    (folder / README).write_text(_readme(run), encoding="utf-8")
    return tuple(folder / name for name in FILES)


@torch.no_grad()
def _export(run: Run, name: str, module: nn.Module, example: Tensor, path: Path) -> None:
    network = run.settings.model.network
    logging.disable()  # the tracer logs and prints pages before it raises
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            program = torch.export.export(
                module, (example,), dynamic_shapes=({0: torch.export.Dim("n", min=1)},)
            )
    except Exception as error:  # a user's network can make the tracer raise any error
        problem = (
            f"{type(error).__name__}: {(str(error).strip() or 'no reason given').splitlines()[0]}"
        )
        raise UserError(
            run.name, f"its network '{network}' cannot be exported as {name}: {problem}"
        ) from error
    finally:
        logging.disable(logging.NOTSET)

    def write_and_check(unfinished: Path) -> None:
        torch.export.save(program, unfinished)
        loaded = torch.export.load(unfinished).module()
        for inputs in (example, example[:1]):
            try:
                torch.testing.assert_close(
                    loaded(inputs), module(inputs), rtol=_TOLERANCE, atol=_TOLERANCE
                )
            except AssertionError as error:
                problem = (
                    f"{name} would differ from '{network}': {' '.join(str(error).split())} It is "
                    "not kept."
                )
                raise UserError(run.name, problem) from error

    write_whole(path, write_and_check)


def _readme(run: Run) -> str:
    channels, height, width = run.values.shape
    size = len(run.vae.latent_mask)
    settings = run.settings
    outputs = "mean, log_variance" if run.vae.posterior.stochastic else "mean"
    returned = f"{outputs} = encoder(x)" if run.vae.posterior.stochastic else "(mean,) = encoder(x)"
    kind = "zeros and ones" if settings.data.binarisation != "none" else "levels from 0 to 1"
    return f"""\
{run.name}, exported by vaeexp {VERSION} with PyTorch {torch.__version__}.

encoder.pt2  x [N, {channels}, {height}, {width}] float32, {kind} -> {outputs}: [N, {size}] each
decoder.pt2  z [N, {size}] float32 -> mean of p(x|z) [N, {channels}, {height}, {width}] in [0, 1]
Likelihood p(x|z): {settings.model.likelihood}. Prior p(z): {settings.model.prior}.
{WEIGHTS}, {SETTINGS}  the run itself, for `vaeexp ... FOLDER`

N is any number from 1. Without vaeexp, with PyTorch alone:

    import torch
    encoder, decoder = (torch.export.load(name + ".pt2").module() for name in ("encoder", "decoder"))
    {returned}; picture = decoder(mean)
"""  # noqa: E501


class Reconstruction(nn.Module):
    """float32 [N, C, H, W] in [0, 1] → means of p(x|z) at z = the posterior mean, of the same
    shape.
    """

    def __init__(self, vae: VAE) -> None:
        super().__init__()
        self.encoder = Encoder(vae)
        self.decoder = Decoder(vae)

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x)[0])


def make_program(folder: Path) -> tuple[nn.Module, list[str]]:
    """Return the reconstruction of the run in a folder as a module that can be exported, and the
    packages that its program needs.

    Raises:
        UserError: a file is damaged, or the network is foreign code that the user has not allowed.
    """
    settings = load_json(folder / SETTINGS)
    check_code(folder.name, flat_settings(settings), folder, allow=False)
    model = Reconstruction(load_model(folder, allow_code=True)).eval()
    # A program can be read by the version that wrote it and by later ones.
    return model, [f"torch>={torch.__version__.partition('+')[0]}", "numpy"]


class Reconstructor:
    """The same for arrays, as MLflow asks for it."""

    def __init__(self, folder: str | Path) -> None:
        # MLflow has run the loader that the model names, and this is it: who opens a model there
        # trusts its code.
        self.module = Reconstruction(load_model(Path(folder), allow_code=True)).eval()

    @torch.no_grad()
    def predict(self, model_input: np.ndarray, params: dict | None = None) -> np.ndarray:
        return self.module(torch.as_tensor(np.asarray(model_input, dtype=np.float32))).numpy()


_load_pyfunc = Reconstructor
