"""What has a number and is the same in every report: none of it is a figure of the study."""

CONSTANTS = (
    # levels of intervals and tests, and how many values they take
    *(
        "95 %",
        "at 5 %",
        "at most 5 % of studies",
        "± 1.96 standard deviations",
        "200 resamples",
        "from 3 seeds on",
        "(n = 1)",
    ),
    # definitions, and their sources
    *(
        "β = 1",
        "k = 1 is the −ELBO",
        "above 0 where",
        "rate 0 and no ELBO",
        "black to white is 1",
        "sums to 100",
    ),
    *("(Burda et al. 2016)", "Burda et al. (2016)", "Watanabe et al. 2023", "Holm's method (1979)"),
    # the published figures
    *(
        "50 units",
        "hidden layers of 200",
        "60,000 training images",
        "ICLR 2016, table 1",
        "ICLR 2016, appendix D",
        "Murray 2011",
    ),
    # what plots draw at most, and what they need
    *(
        "Up to 7 complete trials",
        "Of more than 100 trials",
        "100 are drawn",
        "takes 10 complete trials",
        "10 complete or promoted",
    ),
    *("best β near 1 follows", "posterior (2)", "autoencoder (2)"),
)
"""Pieces of sentences."""
