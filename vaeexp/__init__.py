"""vaeexp: hyperparameter sweeps and experiment tracking for variational autoencoders."""

from typing import TYPE_CHECKING, Any

from vaeexp.version import __version__

if TYPE_CHECKING:
    from vaeexp.api import load_model, load_study, run_study

__all__ = ["__version__", "load_model", "load_study", "run_study"]


def __getattr__(name: str) -> Any:
    """Import a public name at its first use, so that `import vaeexp` and `vaeexp --help` load nothing heavy."""
    if name in __all__:
        from vaeexp import api

        return getattr(api, name)
    raise AttributeError(f"module 'vaeexp' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
