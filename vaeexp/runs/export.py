"""Write a run as files that need no vaeexp: encoder and decoder as PyTorch programs (.pt2) and,
where asked for, as ONNX files; the preparation of their inputs; weights and settings as they are;
and a model card.
"""

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sweeps import UserError, write_whole
from vaeexp.models.posteriors import DiagonalGaussian
from vaeexp.models.vae import VAE
from vaeexp.run_files import SETTINGS, WEIGHTS
from vaeexp.runs.model_card import PREPARATION, README, write_card
from vaeexp.runs.onnx_files import check_installed, quiet, write_onnx
from vaeexp.runs.output_files import Outputs
from vaeexp.runs.run import Run

FILES = ("encoder.pt2", "decoder.pt2", WEIGHTS, SETTINGS, PREPARATION, README)
ONNX_FILES = ("encoder.onnx", "decoder.onnx")
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


def export_run(
    run: Run,
    folder: Path,
    *,
    onnx: bool = False,
    storage: str | None = None,
    overwrite: bool = False,
) -> tuple[Path, ...]:
    """Write `FILES` into `folder` and return their paths. The programs take any number N ≥ 1 of
    images or codes.

    Args:
        onnx: whether to write `ONNX_FILES`, too.
        storage: that of the study, for the model card; a run without its study is exported as well.
        overwrite: whether to replace files of these names that vaeexp did not write.

    Raises:
        UserError: the folder holds another run, or files of others; or the network cannot be
            traced, because its `forward` branches on the values of a tensor; or a program computes
            other numbers than the model; or it cannot be an ONNX file.
    """
    written = (*ONNX_FILES, *FILES) if onnx else FILES
    Outputs(run, overwrite=overwrite).check_folder(folder, (*ONNX_FILES, *FILES))
    if onnx:
        check_installed()
    vae = run.vae  # before the folder is made, because its files may be damaged
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(7, *run.values.shape, generator=generator)
    codes = torch.randn(7, len(vae.latent_mask), generator=generator)
    moments = ("mean", "log_variance") if vae.posterior.stochastic else ("mean",)
    halves: list[tuple[str, nn.Module, Tensor, Any]] = [
        ("encoder", Encoder(vae), images, ("x", moments)),
        ("decoder", Decoder(vae), codes, ("z", ("picture",))),
    ]
    for half, module, examples, names in halves:
        batches = (examples[:3], examples[:1], examples)
        program = _trace(run, f"{half}.pt2", module.eval(), batches[0])
        _write_program(run, program, module, batches, folder / f"{half}.pt2")
        path = folder / f"{half}.onnx"
        if onnx:
            with _refusing(run, path.name):
                write_onnx(program, module, names, batches, path)
        elif path.exists():  # of an earlier export, which the card would not mention
            path.unlink()
    for name in (WEIGHTS, SETTINGS):
        shutil.copyfile(run.folder / name, folder / name)
    write_card(run, folder, onnx=onnx, storage=storage)
    return tuple(folder / name for name in written)


@contextlib.contextmanager
def _refusing(run: Run, name: str) -> Iterator[None]:
    """Turn any error of an exporter, which a user's network can cause, into one of a line."""
    try:
        yield
    except Exception as error:
        problem = (str(error).strip() or "no reason given").splitlines()[0]
        network = run.settings.model.network
        raise UserError(
            run.name,
            f"its network '{network}' cannot be exported as {name}: {type(error).__name__}: "
            f"{problem}",
        ) from error


@torch.no_grad()
def _trace(run: Run, name: str, module: nn.Module, example: Tensor) -> torch.export.ExportedProgram:
    """Return the program of a module for any number N of rows like those of the example."""
    with _refusing(run, name), quiet():
        return torch.export.export(
            module, (example,), dynamic_shapes=({0: torch.export.Dim("n", min=1)},)
        )


@torch.no_grad()
def _write_program(
    run: Run,
    program: torch.export.ExportedProgram,
    module: nn.Module,
    batches: Sequence[Tensor],
    path: Path,
) -> None:
    """Write a program, and check that it computes what its module does."""

    def write_and_check(unfinished: Path) -> None:
        torch.export.save(program, unfinished)
        loaded = torch.export.load(unfinished).module()
        for inputs in batches:
            try:
                torch.testing.assert_close(
                    loaded(inputs), module(inputs), rtol=_TOLERANCE, atol=_TOLERANCE
                )
            except AssertionError as error:
                problem = (
                    f"{path.name} would differ from '{run.settings.model.network}': "
                    f"{' '.join(str(error).split())} It is not kept."
                )
                raise UserError(run.name, problem) from error

    write_whole(path, write_and_check)
