"""The model of a run for numbers as they stand in files: its preparation and its way back to
numbers are parts of the module, so that a program of it needs no vaeexp.

MLflow makes programs of registered models through this module (`make_program`, `write_program`),
and loads what cannot be a program (`_load_pyfunc`). Numbers are [N, C, H, W]; rows of a table and
vectors are [N, F].
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from sweeps import UserError
from vaeexp.data.formats.levels import to_bytes
from vaeexp.data.scaling import scaling_from
from vaeexp.import_paths import flat_settings
from vaeexp.models.vae import VAE
from vaeexp.own_code import check_code
from vaeexp.run_files import SETTINGS, load_json
from vaeexp.runs import table_model
from vaeexp.runs.export import Encoder
from vaeexp.runs.model_card import white_in
from vaeexp.training.checkpoint import load_model

if TYPE_CHECKING:
    import pandas as pd

    from vaeexp.data import Dataset

WHITE = 255


class RawReconstruction(nn.Module):
    """Numbers of files, [N, C, H, W] or [N, F] → reconstructions as `VAE.reconstruct` makes them,
    in the unit of the files, float64 of the same shape.
    """

    def __init__(self, vae: VAE, preparation: Mapping[str, Any]) -> None:
        super().__init__()
        scaling = scaling_from(preparation["scaling"])
        self.shape = vae.values.shape
        self.encoder = Encoder(vae)
        self.network = vae.decoder
        self.likelihood = vae.likelihood
        self.bytes = scaling.bytes
        white = white_in(preparation)
        levels = to_bytes(np.arange(WHITE + 1), white)
        self.register_buffer("levels", torch.from_numpy(levels).float().div_(WHITE))
        scale = np.full_like(scaling.scale, white) if scaling.bytes else scaling.scale
        arrays = {"offset": scaling.offset, "scale": scale}
        for name, array in {**arrays, "low": scaling.low, "high": scaling.high}.items():
            self.register_buffer(name, torch.from_numpy(array.copy()))
        self.levels: Tensor
        self.offset: Tensor
        self.scale: Tensor
        self.low: Tensor
        self.high: Tensor

    def forward(self, numbers: Tensor) -> Tensor:
        rows = numbers.reshape(numbers.shape[0], *self.shape)
        if self.bytes:
            x = self.levels[rows.long()]
        else:
            cut = rows.double().clamp(self.low, self.high)
            x = ((cut - self.offset) / self.scale).float()
        decoded: Any = self.likelihood(self.network(self.encoder(x)[0]))
        means = decoded.mean_given(x) if hasattr(decoded, "mean_given") else decoded.mean
        return (means.double() * self.scale + self.offset).reshape(numbers.shape)


def open_raw(folder: Path, *, allow_code: bool) -> RawReconstruction:
    """Return the module of the run in a folder, in evaluation mode.

    Raises:
        UserError: a file is damaged, or the network is foreign code that is not allowed.
    """
    settings = load_json(folder / SETTINGS)
    check_code(folder.name, flat_settings(settings), folder, allow=allow_code)
    if "preparation" not in settings:
        raise UserError(str(folder), "has no record of how its data were prepared.")
    return RawReconstruction(load_model(folder, allow_code=True), settings["preparation"]).eval()


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
    example = torch.zeros(2, module.shape[2], dtype=torch.float64)
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
        return table_model.predict(self.module, model_input)


_load_pyfunc = Reconstructor


def raw_example(dataset: "Dataset", count: int = 2) -> dict[str, Any]:
    """Return numbers of the first validation images as they stood in files: dtype, values (nested
    lists) and, of a table, columns.

    Binarised images are black or white. Whole numbers of a table are int64, others float64, as
    pandas reads them.
    """
    images = np.asarray(dataset.validation.images[:count])
    scaling = dataset.scaling
    kind = np.dtype(dataset.kind)
    if scaling.bytes:
        levels = images * (WHITE if dataset.binarisation == "static" else 1)
        numbers = np.rint(levels * (white_in(dataset.preparation) / WHITE))
    else:
        numbers = scaling.numbers(images)
    if kind.kind in "iu":
        limits = np.iinfo(kind)
        numbers = np.clip(np.rint(numbers), limits.min, limits.max)
    if dataset.features is not None:
        kind = np.dtype(np.int64 if kind.kind in "biu" else np.float64)
    if dataset.image_shape[:2] == (1, 1):
        numbers = numbers.reshape(len(numbers), -1)
    columns = {} if dataset.features is None else {"columns": list(dataset.features)}
    array = numbers.astype(kind)
    return {"dtype": array.dtype.name, "values": array.tolist(), **columns}
