"""Search by predicted learning curves: the sampler `curves`."""
