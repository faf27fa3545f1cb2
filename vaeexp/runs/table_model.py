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


@torch.no_grad()
def predict(program: Any, given: Any) -> Any:
    """Return what a program makes of an array, or of a table: then with its columns and index."""
    if not isinstance(given, pd.DataFrame):
        return program(torch.tensor(given)).numpy()
    made = program(torch.tensor(given.to_numpy(dtype="float64"))).numpy()
    return pd.DataFrame(made, columns=given.columns, index=given.index)


_load_pyfunc = TableModel
