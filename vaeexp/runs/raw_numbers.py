"""The model of a run for numbers as they stand in files: its preparation and its way back to
numbers are parts of the module, so that a program of it needs no vaeexp.

MLflow makes programs of registered models through this module (`make_program`, `write_program`),
and loads what cannot be a program (`_load_pyfunc`). Numbers are [N, C, H, W]; rows of a table and
vectors are [N, F].
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from sweeps import UserError
from vaeexp.data.dataset import white_in
from vaeexp.data.formats.levels import WHITE, Stored, to_bytes
from vaeexp.data.values import is_vector
from vaeexp.models.vae import VAE
from vaeexp.runs import table_model
from vaeexp.runs.export import Encoder
from vaeexp.runs.preparation import Preparation, columns_in, table_in
from vaeexp.runs.run import open_run, preparation_of

if TYPE_CHECKING:
    import pandas as pd

    from vaeexp.data import Dataset


class RawReconstruction(nn.Module):
    """Numbers of files, [N, C, H, W] or [N, F] with all columns of the files → reconstructions as
    `VAE.reconstruct` makes them, in the unit of the files, float64 of the same shape. Columns that
    the model does not take are as they were in training.

    Raises UserError for another shape, RuntimeError for numbers that no file of the run's kind may
    hold, such as NaN; of a program, both are errors of PyTorch.
    """

    def __init__(self, vae: VAE, preparation: Preparation) -> None:
        super().__init__()
        scaling = preparation.scaling
        self.preparation = preparation
        self.shape: tuple[int, ...] = vae.values.shape
        columns = preparation.columns
        kept = usual = None
        if columns is not None:
            self.shape = (1, 1, len(columns.names))
            kept = torch.tensor(columns.kept)
            usual = torch.from_numpy(columns.put_back(np.zeros((1, 1, 1, len(columns.kept)))))
        self.register_buffer("kept", kept)
        self.register_buffer("usual", usual)
        self.encoder = Encoder(vae)
        self.network = vae.decoder
        self.likelihood = vae.likelihood
        white = white_in(preparation.record)
        self.floats = preparation.stored is Stored.FLOATS
        most = int(preparation.range[1]) if scaling.bytes else WHITE
        levels = to_bytes(np.arange(most + 1), white)
        self.register_buffer("levels", torch.from_numpy(levels).float().div_(WHITE))
        scale = np.full_like(scaling.scale, white) if scaling.bytes else scaling.scale
        arrays = {"offset": scaling.offset, "scale": scale}
        for name, array in {**arrays, "low": scaling.low, "high": scaling.high}.items():
            self.register_buffer(name, torch.from_numpy(array.copy()))
        self.kept: Tensor | None
        self.usual: Tensor | None
        self.levels: Tensor
        self.offset: Tensor
        self.scale: Tensor
        self.low: Tensor
        self.high: Tensor

    def forward(self, numbers: Tensor) -> Tensor:
        self.check_shape(tuple(numbers.shape))
        every = numbers.reshape(numbers.shape[0], *self.shape)
        rows = every if self.kept is None else every[..., self.kept]
        x = self._targets(rows.double())
        decoded: Any = self.likelihood(self.network(self.encoder(x)[0]))
        means = decoded.mean_given(x) if hasattr(decoded, "mean_given") else decoded.mean
        made = means.double() * self.scale + self.offset
        if self.kept is not None and self.usual is not None:
            made = self.usual.expand(every.shape).index_copy(3, self.kept, made)
        return made.reshape(numbers.shape)

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Raise UserError for the shape of other numbers."""
        shapes = [self.shape, self.shape[2:]] if is_vector(self.shape) else [self.shape]
        if tuple(shape[1:]) not in shapes:
            wanted = ", ".join(map(str, ("N", *shapes[-1])))
            raise UserError("numbers", f"got the shape {[*shape]}; must be [{wanted}]")

    def _targets(self, rows: Tensor) -> Tensor:
        """Return the targets float32 of numbers float64 [N, C, H, W]."""
        least, most, wanted = self.preparation.range
        fine = torch.isfinite(rows) & (rows >= least) & (rows <= most)
        whole = self.preparation.scaling.bytes and not self.floats
        if whole:
            fine = fine & (rows == rows.round())
        # A check that stands in a program, too.
        torch._assert_async(fine.all(), f"got other numbers than the model takes; must be {wanted}")
        if whole:
            return self.levels[rows.long()]
        if self.preparation.scaling.bytes:
            return rows.clamp(0, 1).mul(WHITE).round().float().div(WHITE)
        return ((rows.clamp(self.low, self.high) - self.offset) / self.scale).float()


def open_raw(folder: Path, *, allow_code: bool) -> RawReconstruction:
    """Return the module of the run in a folder, in evaluation mode.

    Raises:
        UserError: a file is damaged, its preparation is not on record, or the network is foreign
            code that is not allowed.
    """
    run = open_run(str(folder), folder, allow_code=allow_code)
    return RawReconstruction(run.vae, preparation_of(run)).eval()


def make_program(folder: Path) -> tuple[RawReconstruction, list[str]]:
    """Return the module of the run in a folder, which can be exported, and the packages that its
    program needs. Raises as `open_raw`.
    """
    # A program can be read by the version that wrote it and by later ones.
    needs = [f"torch>={torch.__version__.partition('+')[0]}", "numpy"]
    return open_raw(folder, allow_code=False), needs


@torch.no_grad()
def write_program(folder: Path, target: Path) -> tuple[Path, list[str]]:
    """Write the program for rows of a table into the folder `target`; return the file of Python
    that loads it there, and the packages that both need. Raises as `make_program`.
    """
    module, needs = make_program(folder)
    example = torch.full((2, module.shape[2]), max(0.0, module.preparation.range[0]))
    example = example.double()
    rows = torch.export.Dim("n", min=1)
    program = torch.export.export(module, (example,), dynamic_shapes=({0: rows},))
    target.mkdir(parents=True, exist_ok=True)
    torch.export.save(program, target / table_model.PROGRAM)
    return Path(table_model.__file__), [*needs, "pandas"]


class Reconstructor:
    """The same for arrays and tables, as MLflow asks for it."""

    def __init__(self, folder: str | Path) -> None:
        # MLflow has run the loader that the model names, and this is it: who opens a model there
        # trusts its code.
        self.module = open_raw(Path(folder), allow_code=True)

    def predict(self, model_input: "np.ndarray | pd.DataFrame", params: Any = None) -> Any:
        preparation = self.module.preparation
        array = np.asarray(table_model.numbers_of(model_input))
        self.module.check_shape(array.shape)
        rows = array.reshape(len(array), *self.module.shape)
        columns = preparation.columns
        made = preparation.numbers(rows if columns is None else columns.take(rows))
        for row, problem in enumerate(made.problems):
            if problem:
                raise UserError(f"numbers[{row}]", problem)
        return table_model.predict(self.module, model_input)


_load_pyfunc = Reconstructor


def raw_example(dataset: "Dataset", count: int = 2) -> dict[str, Any]:
    """Return numbers of the first validation images as they stood in files: dtype, values (nested
    lists) and, of a table, columns.

    Binarised images are black or white. Whole numbers of a table are int64, others float64, as
    pandas reads them.
    """
    record = dataset.preparation
    images = np.asarray(dataset.validation.images[:count])
    scaling = dataset.scaling
    kind = np.dtype(dataset.kind)
    if scaling.bytes:
        levels = images * (WHITE if dataset.binarisation == "static" else 1)
        numbers = levels * (white_in(record) / WHITE)
    else:
        numbers = scaling.numbers(images)
    if kind.kind in "biu":
        numbers = np.rint(numbers)
    if (columns := columns_in(record)) is not None:
        numbers = columns.put_back(numbers)
    named = dict[str, Any]()
    if names := table_in(record):
        named["columns"] = [*names]
        kind = np.dtype(np.int64 if kind.kind in "biu" else np.float64)
    if is_vector(dataset.image_shape):
        numbers = numbers.reshape(len(numbers), -1)
    array = numbers.astype(kind)
    return {"dtype": array.dtype.name, "values": array.tolist(), **named}
