"""A program of PyTorch for tables of pandas. This file goes with a registered model and needs torch
and pandas alone.
"""

from pathlib import Path
from typing import Any

import pandas as pd
import torch

PROGRAM = "program.pt2"


class TableModel:
    """Predicts with the program in a folder, which takes and returns float64 [N, F]."""

    def __init__(self, folder: str) -> None:
        self.program = torch.export.load(Path(folder) / PROGRAM).module()

    def predict(self, model_input: pd.DataFrame, params: Any = None) -> Any:
        return predict(self.program, model_input)


def numbers_of(given: Any) -> Any:
    """Return the numbers of a table as float64, whatever the types of its columns; an array as it
    is.

    Raises:
        ValueError: a cell holds no number. The message names its column and row.
    """
    if not isinstance(given, pd.DataFrame):
        return given
    numbers = given.apply(pd.to_numeric, errors="coerce")
    for row, column in zip(*(numbers.isna() & given.notna()).to_numpy().nonzero(), strict=True):
        raise ValueError(
            f"column '{given.columns[column]}', row {given.index[row]}: got "
            f"'{given.iat[row, column]!s}'; must be a number"
        )
    return numbers.to_numpy("float64")


@torch.no_grad()
def predict(program: Any, given: Any) -> Any:
    """Return what a program makes of an array, or of a table: then with its columns and index.
    Raises as `numbers_of`.
    """
    numbers = torch.tensor(numbers_of(given))
    if not isinstance(given, pd.DataFrame):
        return program(numbers).numpy()
    lost = ~numbers[:, program.kept].isfinite()
    for row, place in lost.nonzero():
        raise ValueError(
            f"row {given.index[int(row)]}: {lost[row].sum():,} of its numbers are missing, NaN or "
            f"infinite, the first in column '{given.columns[int(program.kept[place])]}'"
        )
    return pd.DataFrame(program(numbers).numpy(), columns=given.columns, index=given.index)


_load_pyfunc = TableModel
