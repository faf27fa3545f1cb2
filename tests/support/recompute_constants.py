"""Sentences whose numbers are none of the study's figures, each group with the reason. Every other sentence needs a rule."""

from recompute_rules import constant

constant(
    "the interval's level and the number of seeds that it needs",
    r"Mean ± 95 % interval over seeds, in nats per image, sorted by validation −ELBO within a protocol",
    r"Trained again with fresh seeds: mean ± 95 % interval over n = seeds \(Student's t\), in nats per image",
)

constant(
    "the protocol: sizes of the data, seed of the split",
    r"Data: .*?(?=; estimator|\.$|\. A deterministic)",
    r"Protocol: .+?(?=\.$)",
    r"estimator: −ELBO at β = 1 with one posterior sample per image",
)

constant(
    "published figures and their conditions",
    r"No published figure stands beside (?:them|these): .+?(?=\. FID|\.$)",
    r"Reported elsewhere.*",
    r"\([a-z]\) Published: VAE, one stochastic layer of 50 units, two hidden layers of 200, trained on all 60,000 training images .+",
    r"\([a-z]\) .+?, as its source printed it: .+",
    r"[^:;.]+: (?:validation|test) −ELBO \S+ at epoch \d+; .+?(?=$)",
)

constant(
    "the images that a distance of features needs", r"There is no FID, because it needs 129 test images, .+?(?=\.$)"
)
constant(
    "the score of a search over β",
    r"Models are scored by the −ELBO at β = 1, which is what training at β = 1 minimises",
    r"So a best β near 1 follows from the score, and says nothing of samples or reconstructions",
)
constant(
    "the rule of the margin",
    r"Before the winner: its validation −ELBO minus that of the run, above 0 where the paused trial is better",
    r"In brackets, by how much two runs of one configuration differ at most, at 5 % for all these rows together \(Student's t with the spread of the confirmed seeds\)",
)
constant("the most names in a plot", r"up to 8 complete trials have names at their ends")
constant("the least span of a strip", r"From low to high β: It takes trials with pictures, .+?(?=\.$)")
constant("a study that is interrupted", r"\*\*Interim report: the search is over, .+?\*\*")
constant("the data set's name", r"\*\*Every figure here is of .+?: a small part of the data set\. None of them .+?\*\*")
constant("the driver's reason to stop, in its words", r"(?:All|The budget of) \d+ (?!trials with ).*", r"Stopped .*")
constant("each row of the table is one run", r"Every row is one run with one seed \(n = 1\)")
constant("each row of the table is one run", r"Each is a single run \(n = 1\), which gives no interval: .*")
constant(
    "the interval's level and the number of seeds that it needs",
    r"On test images, mean over n training seeds ± 95 % interval \(none from fewer than three seeds\)",
    r"Above the first: the mean difference in test −ELBO over shared seeds with its 95 % interval \(Student's t of the paired differences, from 3 seeds on\)",
    r"two can be told apart where it is at most 0\.05",
    r"The words “better” and “worse” follow a test whose p is corrected by Holm's method \(1979\)",
    r"Within each of the three, at most 5 % of studies without a difference name one",
    r"Each dot is a run with a fresh seed, the diamond below the mean with its 95 % interval by Student's t",
    r"Each point is a pair of runs with the same configuration and seed, a row per configuration; the diamond is the mean with its 95 % interval",
    r"Bands are 95 % intervals of the shape, its mean height held fixed",
    r"Whiskers are 95 % intervals: ± 1\.96 standard deviations over 200 resamples of the trials",
    r"\*\*Intervals\*\* of test figures are 95 % intervals over training seeds",
)

constant(
    "sources, and how a figure is defined",
    r"\(PED-ANOVA, Watanabe et al\. 2023\), as shares of the sum",
    r"Latent units whose posterior mean varies over validation images \(Burda et al\. 2016\), of each trial at its last epoch",
    r"\*\*Validation −ELBO\*\* \(nats per image; lower is better\) (?:ranks the search: |ranks nothing here, because the search is for .+? at once; it is )distortion \+ rate at β = 1, whatever β a trial trained with",
    r"\*\*Importance-weighted NLL\*\* is the tighter bound on −log p\(x\) of Burda et al\. \(2016\)(?= on the test images)",
    r"A latent unit is \*\*active\*\* when the(?= variance)",
    r"The importance-weighted bound on test images with k samples for each, (?:of the best run of each configuration|the mean over the runs of each configuration, and a band from the least to the largest of them); k = 1 is the −ELBO",
    r"a plain autoencoder has rate 0 and no ELBO",
    r"A column sums to 100",
    r"Samples of the model of the best epoch, and the training image nearest to each: Euclidean distance over sub-pixels, where black to white is 1",
    r"Of more than 100 trials of one outcome, 100 are drawn",
    r"up to 8 complete trials have names at their ends",
    r"(?:[^.:]+: )?It takes 10 complete trials of different value.*",
)

constant(
    "arrays of one run or a randomised model, which no table has",
    r"It explains little of trials that its trees have not seen \(out-of-bag R² \S+\): read tendencies from it, not numbers",
    r"A model that copies has samples much nearer than test images are, whose median distance to the training images is \S+(?=\.)",
    r"(?:Components stand (?:in the order of the model, because all have the same weight|the heaviest first)\. )?\d+ further components?, all (?:lighter|of equal weight), not shown",
    r"If each component stood for the class that it serves most, \S+ % of the images would be put into their class \(all classes weighted alike\)",
    r"\d+ trained models? without pictures in the runs folder.*",
)

constant(
    "the error rate that the pairs are too few for",
    r"with so few matched pairs, chance would name an interaction in more than 5 % of studies without any",
    r"Whether a compared parameter acts otherwise at other values of the rest cannot be said: with so few matched pairs, .+?(?=\.$)",
)

constant("a number in a title", r"\([a-z]\) .+? is the best configuration itself: the two rows show the same runs")
constant(
    "a trial that the title names, too",
    r"\([a-z]\) .+? \(trial (\d+)\) is trial \1 itself: the two rows show the same runs",
)
constant("the trial of the row, compared by the rule of its title", r"is trial \d+ itself: these are the same runs")
constant("trials of another study, which no table has", r"The sampler also learned from \d+ trials? of .+?(?=\.$|\. )")
constant("the commit of the code", r"Commit `?[0-9a-f]+`?.*")

constant(
    "the message of a trial that failed, and what to do",
    r"The first (?:diverged|error|out of memory|crashed|timed out): .+?(?=\. )",
    r"Search a lower `?learning_rate`?, or limit the gradient with `?clip_norm`?; with bf16, try `?--precision float32`?",
)
