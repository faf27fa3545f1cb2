"""Figures and pictures of a trained model: always float32, summed in float64.

Models are given in evaluation mode, at their own size, on any device; images are on any device too.
"""
