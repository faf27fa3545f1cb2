"""What can be done with a finished run from its folder alone: figures, pictures, programs for other software."""

__all__: list[str] = []
