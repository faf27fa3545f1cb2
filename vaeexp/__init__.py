"""vaeexp: hyperparameter sweeps and experiment tracking for variational autoencoders."""

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vaeexp.api import load_model, load_study, run_study

__all__ = ["__version__", "load_model", "load_study", "run_study"]


def _check_sweeps() -> None:
    """Raise ImportError where `sweeps` is the package of another project (PyPI `sweeps`, of Weights & Biases)."""
    spec = importlib.util.find_spec("sweeps")
    path = None if spec is None or spec.origin is None else Path(spec.origin)
    if path is None or '__project__ = "vaeexp"' not in path.read_text(encoding="utf-8"):
        raise ImportError(
            f"sweeps: got {path}, the package of another project (PyPI 'sweeps', of Weights & Biases?); vaeexp needs "
            "its own package of this name. Try: pip uninstall sweeps, then install vaeexp again."
        )


_check_sweeps()

from sweeps.schema import VERSION as __version__  # noqa: E402


def __getattr__(name: str) -> Any:
    """Import a public name at its first use, so that `import vaeexp` and `vaeexp --help` load nothing heavy."""
    if name in __all__:
        from vaeexp import api

        return getattr(api, name)
    raise AttributeError(f"module 'vaeexp' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
