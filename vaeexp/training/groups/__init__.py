"""Lanes of equal shapes that train together, and the lanes of one process."""
