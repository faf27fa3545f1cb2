"""vaeexp: hyperparameter sweeps and experiment tracking for variational autoencoders."""

import importlib.util
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vaeexp.api import VAE, Run, Study, load_model, load_run, load_study, run_study

__all__ = [
    "VAE",
    "Run",
    "Study",
    "__version__",
    "load_model",
    "load_run",
    "load_study",
    "run_study",
]


def _check_sweeps() -> None:
    """Raise ImportError where `sweeps` is the package of another project (PyPI `sweeps`, of Weights
    & Biases).
    """
    spec = importlib.util.find_spec("sweeps")
    path = None if spec is None or spec.origin is None else Path(spec.origin)
    if path is None or '__purpose__ = "studies of iterative workloads"' not in path.read_text(
        encoding="utf-8"
    ):
        raise ImportError(
            f"sweeps: got {path}, the package of another project (PyPI 'sweeps', of Weights & "
            "Biases?); vaeexp needs its own package of this name. Try: pip uninstall sweeps, "
            "then install vaeexp again."
        )


_check_sweeps()

from sweeps import VERSION as __version__  # noqa: E402
from sweeps import Program, use_program  # noqa: E402

use_program(
    Program(
        name="vaeexp",
        install="pip install 'vaeexp[{extra}]'",
        run="`vaeexp sweep{study}`",
        take_over="`vaeexp sweep{study} --take-over`",
        sync="`vaeexp sync{study}`",
        repair="`vaeexp doctor{study} --repair`",
    )
)


def _imported(name: str) -> Any:
    """Import a public name at its first use, so that `import vaeexp` and `vaeexp --help` load
    nothing heavy.
    """
    if name not in __all__:
        raise AttributeError(f"module 'vaeexp' has no attribute '{name}'")
    with warnings.catch_warnings():
        # tqdm warns where ipywidgets is missing. Optuna imports tqdm, too.
        warnings.filterwarnings("ignore", message="IProgress not found")
        from vaeexp import api
    return getattr(api, name)


if not TYPE_CHECKING:  # to a type checker, any name would be an attribute
    __getattr__ = _imported


def __dir__() -> list[str]:
    return sorted(__all__)
