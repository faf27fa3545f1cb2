"""A run as files that need no vaeexp: weights and settings as they are, encoder and decoder as PyTorch programs (.pt2)."""

import contextlib
import io
import logging
import shutil
import textwrap
from pathlib import Path

import torch
from torch import Tensor, nn

from sweeps.errors import UserError
from sweeps.files import write_whole
from vaeexp.models.posteriors import DiagonalGaussian
from vaeexp.models.vae import VAE
from vaeexp.runs.run import Run
from vaeexp.training.checkpoint import SETTINGS, WEIGHTS
from vaeexp.version import __version__

README = "README.txt"
FILES = ("encoder.pt2", "decoder.pt2", WEIGHTS, SETTINGS, README)
_TOLERANCE = 1e-4
"""Of outputs against those of the model, relative: the same arithmetic, in kernels that may round in another order."""


class Encoder(nn.Module):
    """Images float32 [N, C, H, W] in [0, 1] → mean [N, L], and log-variance [N, L] where the posterior has one."""

    def __init__(self, vae: VAE) -> None:
        super().__init__()
        self.network, self.posterior = vae.encoder, vae.posterior
        self.mask: Tensor
        self.register_buffer("mask", vae.latent_mask)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        q = self.posterior.from_head(self.network(x), self.mask)
        return (q.mean, q.log_var) if isinstance(q, DiagonalGaussian) else (q.mean,)


class Decoder(nn.Module):
    """Codes float32 [N, L] → means of p(x|z) [N, C, H, W], in [0, 1]."""

    def __init__(self, vae: VAE) -> None:
        super().__init__()
        self.network, self.likelihood = vae.decoder, vae.likelihood

    def forward(self, z: Tensor) -> Tensor:
        return self.likelihood(self.network(z)).mean


def export_run(run: Run, folder: Path) -> tuple[Path, ...]:
    """Write `FILES` into `folder`; their paths. N may be any number of at least 1.

    Raises UserError when the folder holds another run, or the network cannot be traced (one whose `forward` branches on
    the values of a tensor), or the program does not compute what the model does.
    """
    _check_folder(run, folder)
    vae, size = run.vae, len(run.vae.latent_mask)
    programs = {
        "encoder.pt2": (Encoder(vae), torch.rand(3, *run.image_shape, generator=torch.Generator().manual_seed(0))),
        "decoder.pt2": (Decoder(vae), torch.randn(3, size, generator=torch.Generator().manual_seed(0))),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, (module, example) in programs.items():
        _export(run, name, module.eval(), example, folder / name)
    for name in (WEIGHTS, SETTINGS):
        shutil.copyfile(run.folder / name, folder / name)
    (folder / README).write_text(_readme(run), encoding="utf-8")
    return tuple(folder / name for name in FILES)


def _check_folder(run: Run, folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise UserError("--output", f"'{folder}' is a file; give a folder.")
    if folder.exists() and folder.samefile(run.folder):
        raise UserError("--output", f"'{folder}' is the run itself; give another folder.")
    there = folder / SETTINGS
    if there.exists() and there.read_bytes() != (run.folder / SETTINGS).read_bytes():
        raise UserError("--output", f"'{folder}' holds another run; give another folder.")


@torch.no_grad()
def _export(run: Run, name: str, module: nn.Module, example: Tensor, path: Path) -> None:
    network = run.settings.model.network
    logging.disable()  # the tracer logs and prints pages about what it then raises
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            program = torch.export.export(module, (example,), dynamic_shapes=({0: torch.export.Dim("n", min=1)},))
    except Exception as error:  # whatever a user's network makes the tracer raise
        problem = f"{type(error).__name__}: {(str(error).strip() or 'no reason given').splitlines()[0]}"
        raise UserError(run.name, f"its network '{network}' cannot be exported as {name}: {problem}") from error
    finally:
        logging.disable(logging.NOTSET)

    def write_and_check(unfinished: Path) -> None:
        torch.export.save(program, unfinished)
        loaded = torch.export.load(unfinished).module()
        for inputs in (example, example[:1]):
            for found, wanted in zip(_as_tuple(loaded(inputs)), _as_tuple(module(inputs)), strict=True):
                if not torch.allclose(found, wanted, rtol=_TOLERANCE, atol=_TOLERANCE):
                    difference = (found - wanted).abs().max().item()
                    problem = f"{name} would differ from '{network}' by {difference:.3g}; it is not kept."
                    raise UserError(run.name, problem)

    write_whole(path, write_and_check)


def _as_tuple(output: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (output,) if isinstance(output, Tensor) else tuple(output)


def _readme(run: Run) -> str:
    channels, height, width = run.image_shape
    size, settings = len(run.vae.latent_mask), run.settings
    outputs = "mean, log_variance" if run.vae.posterior.stochastic else "mean"
    returned = f"{outputs} = encoder(x)" if run.vae.posterior.stochastic else "(mean,) = encoder(x)"
    kind = "zeros and ones" if settings.data.binarisation != "none" else "levels from 0 to 1"
    lines = [
        f"{run.name}, exported by vaeexp {__version__} with PyTorch {torch.__version__}.",
        "",
        f"encoder.pt2  x [N, {channels}, {height}, {width}] float32, {kind} -> {outputs}: [N, {size}] each",
        f"decoder.pt2  z [N, {size}] float32 -> mean of p(x|z) [N, {channels}, {height}, {width}] in [0, 1]",
        f"Likelihood p(x|z): {settings.model.likelihood}. Prior p(z): {settings.model.prior}.",
        f"{WEIGHTS}, {SETTINGS}  the run itself, for `vaeexp ... FOLDER`",
        "",
        "N is any number from 1. Without vaeexp, with PyTorch alone:",
        "",
        "    import torch",
        '    encoder, decoder = (torch.export.load(name + ".pt2").module() for name in ("encoder", "decoder"))',
        f"    {returned}; picture = decoder(mean)",
    ]
    return textwrap.dedent("\n".join(lines)) + "\n"
