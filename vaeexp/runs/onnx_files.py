"""Write programs of a model as ONNX files, and check them with ONNX Runtime.

The packages come with `vaeexp[onnx]` and are imported when a file is asked for.
"""

import contextlib
import importlib.util
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from sweeps import UserError, write_whole

_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
TOLERANCE = 1e-5
"""Relative and absolute tolerance of a file's outputs: kernels round in their own order."""


def check_installed() -> None:
    """Raise UserError where a package that ONNX files need is missing."""
    for package in _PACKAGES:
        if importlib.util.find_spec(package) is None:
            problem = f"needs the package {package}, which is not installed"
            raise UserError("--onnx", f"{problem}. Try pip install 'vaeexp[onnx]'")


def write_onnx(
    program: torch.export.ExportedProgram,
    module: nn.Module,
    names: tuple[str, Sequence[str]],
    batches: Sequence[Tensor],
    path: Path,
) -> None:
    """Write a program as an ONNX file that computes what its module does, within `TOLERANCE`.

    Args:
        names: of the input, and of the outputs.
        batches: inputs to check the file with.

    Raises:
        ValueError: the file would compute other numbers.
        Exception: the program has an operation that ONNX lacks.
    """
    given, found = names
    with quiet():
        made = torch.onnx.export(
            program, dynamo=True, input_names=[given], output_names=[*found], verbose=False
        )
    if made is None:
        raise ValueError("PyTorch made no ONNX model")

    def write_and_check(unfinished: Path) -> None:
        made.save(unfinished, external_data=False)
        worst = largest_difference(unfinished, module, batches)
        if not worst <= TOLERANCE:
            raise ValueError(f"{path.name} would differ by {worst:.1e}. It is not kept")

    write_whole(path, write_and_check)


@torch.no_grad()
def largest_difference(path: Path, module: nn.Module, batches: Sequence[Tensor]) -> float:
    """Return the largest |a − b| / (1 + |b|) of outputs a of a file and b of a module, for all
    batches; NaN where one is NaN and the other is not.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    [given] = session.get_inputs()
    worst = 0.0
    for batch in batches:
        wanted = module(batch)
        outputs = wanted if isinstance(wanted, tuple) else (wanted,)
        found = session.run(None, {given.name: batch.numpy()})
        for mine, its in zip(found, outputs, strict=True):
            numbers = its.numpy()
            differences = np.abs(mine - numbers) / (1 + np.abs(numbers))
            worst = float(np.maximum(worst, differences.max()))
    return worst


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep back what an exporter prints and logs, which is pages."""
    logging.disable()
    try:
        with (
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
            warnings.catch_warnings(action="ignore"),
        ):
            yield
    finally:
        logging.disable(logging.NOTSET)
