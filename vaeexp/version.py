"""The version of vaeexp, in a module of its own so that every level may import it."""

__version__ = "0.1.0"
