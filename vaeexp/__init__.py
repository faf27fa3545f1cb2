"""vaeexp: hyperparameter sweeps and experiment tracking for variational autoencoders."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vaeexp.api import load_study

__all__ = ["__version__", "load_study"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`load_study`, imported when it is first asked for: `import vaeexp` and `vaeexp --help` load nothing heavy."""
    if name == "load_study":
        from vaeexp.api import load_study

        return load_study
    raise AttributeError(f"module 'vaeexp' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
