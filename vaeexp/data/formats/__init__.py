"""Readers of image files and arrays, one module per format."""
