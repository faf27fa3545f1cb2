"""Checks of what a study has stored, and their repairs."""
