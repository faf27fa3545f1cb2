"""Figures and pictures of a trained model: always float32, summed in float64.

Models are given in evaluation mode, at their own size, on any device; images are on any device too.
"""

FEATURES = 128
"""Features of the classifier that judges generated images."""
FID_IMAGES = FEATURES + 1
"""The fewest images of a Fréchet distance: the covariance of d features of d images or fewer is
singular, and the distance of images to themselves far from 0."""

__all__ = ["FEATURES", "FID_IMAGES"]
