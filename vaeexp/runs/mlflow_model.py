"""The registered model as MLflow loads it: images in, reconstructions out."""

from pathlib import Path

import numpy as np
import torch

from vaeexp.training.checkpoint import load_model


class Reconstructor:
    """float32 [N, C, H, W] in [0, 1] → means of p(x|z) at z = the posterior mean, of the same shape."""

    def __init__(self, folder: Path) -> None:
        self.vae = load_model(folder)

    @torch.no_grad()
    def predict(self, model_input: np.ndarray, params: dict | None = None) -> np.ndarray:
        images = torch.as_tensor(np.asarray(model_input, dtype=np.float32))
        return self.vae.decode(self.vae.encode(images).mean).mean.numpy()


def _load_pyfunc(path: str) -> Reconstructor:
    return Reconstructor(Path(path))
