"""One training step: functional, eager, compiled, as a CUDA graph."""
