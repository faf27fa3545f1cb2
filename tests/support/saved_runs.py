"""Folders of finished runs, as a sweep leaves them, for the tests of the commands on them."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from vaeexp.models.vae import VAE, build_vae
from vaeexp.settings import SECTIONS, Settings


def finished_run(
    folder: Path, image_shape: tuple[int, int, int], seed: int = 0, fingerprint: str = "", **params: Any
) -> VAE:
    """Write weights and settings of a model with these settings into `folder`; the model, in evaluation mode.
    `fingerprint` is that of the images it claims to be trained on.

    What is learned is moved away from where it starts, running statistics too.
    """
    settings = Settings().with_params(params)
    vae = build_vae(settings.model, image_shape, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    vae.train().encoder(torch.rand(8, *image_shape, generator=generator))
    vae.decoder(torch.randn(8, settings.model.latent_size, generator=generator))
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    folder.mkdir(parents=True)
    tensors = dict(vae.named_parameters()) | dict(vae.named_buffers())
    save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, folder / "weights.safetensors")
    sections = {section: getattr(settings, section).model_dump(mode="json") for section in SECTIONS}
    known = {"image_shape": image_shape, "seed": seed, "number": 0, "params": params}
    known |= {"study": "made", "study_seed": 0, "fingerprint": fingerprint, "arithmetic": {}}
    (folder / "settings.json").write_text(json.dumps(sections | known))
    return vae.eval()
