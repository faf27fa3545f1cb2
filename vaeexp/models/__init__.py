"""The mathematics: p(z), q(z|x), p(x|z) and the ELBO that joins them."""
