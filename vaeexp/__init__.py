"""vaeexp: hyperparameter sweeps and experiment tracking for variational autoencoders."""

__all__ = ["__version__"]
__version__ = "0.1.0"
