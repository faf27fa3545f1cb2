"""Where the studies lie that come with vaeexp."""

from pathlib import Path

__all__ = ["shipped_studies"]


def shipped_studies() -> Path:
    """The folder of studies that come with vaeexp: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent
    inside, beside = package / "studies", package.parent / "studies"
    return inside if inside.is_dir() else beside
