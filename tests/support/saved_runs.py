"""Folders of finished runs, as a sweep leaves them, for the tests of the commands on them."""

from pathlib import Path
from typing import Any

import torch
from suited_values import suited

from vaeexp.data import Dataset
from vaeexp.models.vae import VAE, build_vae
from vaeexp.run_files import SETTINGS, WEIGHTS, save_json
from vaeexp.settings import SECTIONS, Settings
from vaeexp.training.checkpoint import save_tensors


def finished_run(
    folder: Path,
    image_shape: tuple[int, int, int],
    seed: int = 0,
    fingerprint: str = "",
    dataset: Dataset | None = None,
    **params: Any,
) -> VAE:
    """Write weights and settings of a model with these settings into `folder`; the model, in
    evaluation mode. `fingerprint` is that of the images it claims to be trained on; of `dataset` it
    has the values and the preparation, too.

    What is learned is moved away from where it starts, running statistics too.
    """
    settings = Settings().with_params(params)
    values = suited(settings.model.likelihood, image_shape) if dataset is None else dataset.values
    vae = build_vae(settings.model, values, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    vae.train().encoder(torch.rand(8, *image_shape, generator=generator))
    vae.decoder(torch.randn(8, settings.model.latent_size, generator=generator))
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    folder.mkdir(parents=True)
    tensors = dict(vae.named_parameters()) | dict(vae.named_buffers())
    save_tensors(folder / WEIGHTS, tensors, {"epoch": "1"})
    sections = {section: getattr(settings, section).model_dump(mode="json") for section in SECTIONS}
    known = {"values": values.record(), "seed": seed, "number": 0, "params": params}
    known |= {"study": "made", "study_seed": 0, "fingerprint": fingerprint, "arithmetic": {}}
    if dataset is not None:
        known |= {"fingerprint": dataset.fingerprint, "preparation": dataset.preparation}
    save_json(folder / SETTINGS, sections | known)
    return vae.eval()
