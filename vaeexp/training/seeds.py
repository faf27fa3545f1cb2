"""Counter-like randomness: every draw is named by what it is for, so an epoch can be replayed on its own."""

import torch

from sweeps.seeds import seed_of

__all__ = ["derive_seed", "generator"]


def derive_seed(*parts: int | str) -> int:
    """A 63-bit seed that depends on all parts and on nothing else (SHA-256 of their text)."""
    return seed_of("/".join(str(part) for part in parts))


def generator(device: torch.device, *parts: int | str) -> torch.Generator:
    """A fresh generator on `device`, seeded with `derive_seed(*parts)`."""
    return torch.Generator(device=device).manual_seed(derive_seed(*parts))
