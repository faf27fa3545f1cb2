"""The map of any number of codes, into which new codes are placed: t-SNE by openTSNE (Poličar et
al. 2024), the extra `vaeexp[map]`.
"""

from importlib.util import find_spec

import numpy as np

from sweeps import UserError

_PERPLEXITY = 30.0


def is_installed() -> bool:
    """Return whether openTSNE can be imported."""
    return find_spec("openTSNE") is not None


def check_installed(what: str) -> None:
    """Raise UserError, which names `what` is asked for, where openTSNE is missing."""
    if not is_installed():
        raise UserError(what, "needs openTSNE. Try pip install 'vaeexp[map]'.")


def map_codes(codes: np.ndarray, new: np.ndarray, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the points float32 [N, 2] of codes [N, L], N ≥ 2, and those of new codes [M, L] in the
    same map, [M, 2].

    The map is made of the codes alone, from their first principal components; a new code is placed
    by its neighbours among them, and moves none. The same codes and seed give the same map on one
    machine.
    """
    from openTSNE import TSNE

    perplexity = min(_PERPLEXITY, max(1.0, (len(codes) - 1) / 3))
    # One job, because the order of sums over several threads changes from run to run.
    made = TSNE(perplexity=perplexity, n_jobs=1, random_state=seed % 2**32).fit(
        np.asarray(codes, np.float64)
    )
    points = np.array(made, np.float64)
    placed = np.zeros((0, 2))
    if len(new):
        placed = np.array(made.transform(np.asarray(new, np.float64)))
        # `transform` has moved the whole map to its middle.
        placed += (points - np.asarray(made)).mean(axis=0)
    return points.astype(np.float32), placed.astype(np.float32)
