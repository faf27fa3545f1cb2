"""Each template with a form or with words that may be left out: a statement of its id, and the
words that it must give.
"""

import html
import math
import re

import pytest

from sweeps.results.statistics import Interval
from vaeexp.report.markup import escape
from vaeexp.report.sentences import words
from vaeexp.report.templates import TEMPLATES
from vaeexp.results.statements import Figure, Statement, plain


def mean(value, half=0.5, n=3, digits=2):
    return Figure.of(Interval(mean=value, low=value - half, high=value + half, n=n), digits=digits)


BEST, OTHER = (Statement(id=f"against.{kind}", values={"trial": 39}) for kind in ("best", "trial"))
ONE = Figure(value=97.5, n=1)
SINGLE = Figure.of(Interval(mean=-1.25, low=math.nan, high=math.nan, n=1))
PAIR = {
    "parameter": "optimizer",
    "trial": 45,
    "over": None,
    "fid": mean(51, 3),
    "better": "adam",
    "worse": "adamax",
    "pairs": 9,
    "settings": 3,
}
OVER = {
    "trial": None,
    "over": 3,
    "by": (Figure(value=4.0), Figure(value=2.0), Figure(value=-1.0)),
    "at": (45, 3, 9),
}
SIDES = {
    "parameter": "optimizer",
    "by": "learning rate",
    "below_better": "adam",
    "above_better": "adamax",
    "pairs": 8,
    "settings": 4,
}
SIDES |= {
    "below": Figure(value=2.0),
    "above": Figure(value=-3.5),
    "at": "0.001",
    "rest": (),
}
BESIDE = {
    "against": BEST,
    "rate": mean(24.5),
    "rate_of_other": mean(27.1),
    "fid": mean(65.8),
    "fid_of_other": mean(14.9),
}
FRONT = {
    "first": "rate",
    "second": "distortion",
    "count": 4,
    "complete": 12,
    "trial": 3,
    "low_trial": 3,
    "high_trial": 9,
    "low_first": Figure(value=2.1),
    "low_second": Figure(value=180.2),
    "high_first": Figure(value=25.0),
    "high_second": Figure(value=70.0),
}
RANGE = {
    "parameter": "β",
    "top": 5,
    "low": Figure(value=0.01, digits=None),
    "high": Figure(value=10.0, digits=None),
}
RANGE |= {
    "best_low": Figure(value=0.535, digits=None),
    "best_high": Figure(value=0.698, digits=None),
}
COSTS = {"epoch": 3, "at": "10", "behind": Figure(value=13.2, low=9.1, high=17.5, n=48)}
ENDS = {
    side: Statement(
        id=f"value.{side}", values={"parameter": "β", side: Figure(value=end, digits=None)}
    )
    for side, end in {"below": 0.36, "above": 1.03}.items()
}
HOLE = {"parameter": "β", "trials": 8, "beyond": tuple(ENDS.values())}
HOLE |= {
    "shared": (
        Statement(id="value.among", values={"parameter": "optimizer", "values": ("adamax",)}),
        Statement(
            id="value.above",
            values={"parameter": "learning rate", "above": Figure(value=0.0017, digits=None)},
        ),
    )
}
LEFT = {
    "left": (
        Statement(
            id="value.among", values={"parameter": "prior", "values": ("normal", "vampprior")}
        ),
        Statement(id="value.among", values={"parameter": "components", "values": ("3",)}),
    )
}
WEIGHT = {
    "weight": Figure(value=0.00000128),
    "best": Figure(value=0.535, digits=None),
    "best_weight": Figure(value=1234.56, digits=None),
}
FAILED = {
    "failed": 9,
    "trials": 48,
    "kind": "diverged",
    "parameter": "learning rate",
    "threshold": "0.0101",
}
FAILED |= {"beyond": 10, "inside": 9, "exceptions": 1, "winner": "0.00587"}
FEW = Statement(id="check.few_together", values={"least": 10})
CHECK = {"check": "levelled_off", "found": (FEW, Statement(id="check.spread_unknown"))}
LOST = {"failed": 9, "planned": 12, "kind": "diverged"}
DIVERGED = (
    Statement(id="seeds.failed", values=LOST | {"epoch": 5}),
    Statement(id="seeds.failed", values=LOST | {"failed": 1, "kind": "crashed", "epoch": 3}),
)
SPREADS = {"spread": ONE, "complete": 7, "at_end": Figure(value=2.0), "trials": 48}
SPREADS |= {"among": Figure(value=7.0), "early": Figure(value=1.5)}
CONFIRMED = Statement(id="good.confirmed", values={"trial": 7, "differs": {"optimizer": "adamax"}})
ONE_RUN = Statement(id="good.one_run", values={"trial": 9, "differs": None})
OF_ADAM = Statement(
    id="seeds.of_value",
    values={"value": "adam"}
    | {
        name: Figure(value=value)
        for name, value in {"spread": 0.3, "mean": 100.4, "best": 100.2}.items()
    },
)
FAR = Statement(
    id="seeds.far",
    values={
        "run": "r6",
        "trial": 7,
        "value": Figure(value=207.0),
        "rate": Figure(value=1.1),
        "siblings": (Figure(value=91.0), Figure(value=93.0)),
    },
)
FAR_SAID = "r6 (of trial 7), 207.00 nats and a rate of 1.10 beside 91.00 and 93.00"
RUNG = {
    "epoch": 3,
    "stopped": 28,
    "reached": 48,
    "complete": 7,
    "correlation": Figure(value=0.36, low=-0.56, high=0.88, n=7),
}
LATE = {"trial": 8, "rank": 3, "reached": 48, "rung": 3, "winner": 1, "ahead": mean(-1.5)}
PILE = {
    "count": 10,
    "top": 10,
    "near": 14,
    "ranked": 24,
    "parameter": "β",
    "bound": "upper",
    "end": Figure(value=64.0, digits=None),
    "option": None,
}
RACE = {
    "configurations": 5,
    "seeds": 8,
    "left": 2,
    "looked": 4,
    "runs": 23,
    "planned": 40,
    "spread": Figure(value=0.4),
}
MATCHED = {
    "mean": mean(2.0),
    "seeds": None,
    "settings": 3,
    "second": "adamax",
    "lower": 2,
    "pairs": 9,
    "test": "t",
    "p": 1e-6,
    "p_holm": 0.05,
}
DO = {"command": "vaeexp sweep x"}

SAID: dict[str, tuple[dict, str]] = {
    "use.trial": (
        {"trial": 45, "configuration": {"beta": 0.535, "optimizer": "adam"}},
        "β = 0.535, optimizer = adam (trial 45)",
    ),
    "use.so_far": (
        {"trial": 1, "configuration": {"latent_size": 18}},
        "so far latent size = 18 (trial 1)",
    ),
    "use.front": (
        FRONT,
        "choose from the front of rate and distortion: 4 of 12 complete trials, from trial 3 (rate "
        "2.10, distortion 180.20) to trial 9 (rate 25.00, distortion 70.00)",
    ),
    "use.nothing": (
        {"states": {"pruned": 1200, "failed": 2}},
        "nothing yet: no trial is complete with a value (1,200 pruned and 2 failed)",
    ),
    "nothing.failed": (
        {
            "failed": 6,
            "kinds": {"diverged": 5, "out of memory": 1},
            "most": "diverged",
            "message": "The loss became inf",
        },
        "Nothing was learned: all 6 trials failed (5 diverged and 1 out of memory). The first "
        "diverged: The loss became inf",
    ),
    "nothing.complete": (
        {"states": {"pruned": 1200}},
        "No trial was trained to its end (1,200 pruned)",
    ),
    "nothing.collapsed": (
        {"complete": 1, "rate": Figure(value=0.03), "limit": Figure(value=0.1, digits=1)},
        "Nothing was learned: the posterior collapsed in the one complete trial. The rate is "
        "0.03 nats per image at most, below 0.1, so the latent variables say nothing about the "
        "image, and no setting of them matters",
    ),
    "nothing.hardly_trained": (
        {"complete": 2, "rate": Figure(value=0.07), "failed": {"diverged": 2}},
        "Hardly trained: −ELBO still fell fast in the last epochs of all 2 complete trials, and "
        "the rate is 0.07 nats per image at most; 2 diverged",
    ),
    "use.as_good": (
        {"settings": (CONFIRMED, ONE_RUN), "more": 3, "confirmed": 1},
        "As good as the winner: trial 7 with optimizer = adamax (confirmed); trial 9 (one run); "
        "and 3 more; choose among the winner and 1 confirmed setting by cost or size",
    ),
    "use.unclear": (
        {"settings": (ONE_RUN,), "more": None, "limit": Figure(value=6.0)},
        "Not told apart from the winner, where two seeds of one setting differ by up to 6.00: "
        "trial 9 (one run)",
    ),
    "good.confirmed": (CONFIRMED.values, "trial 7 with optimizer = adamax (confirmed)"),
    "good.one_run": (ONE_RUN.values, "trial 9 (one run)"),
    "get.spared": (
        {"broken": 2, "runs": 9, "by": Figure(value=29.0, digits=0)},
        "2 of 9 confirming runs ended 29 nats or more behind, none of the winner's; more seeds of "
        "it may be worse",
    ),
    "get.unequal": (
        {"parameter": "optimizer", "p": 0.0017, "values": (OF_ADAM,)},
        "Seeds vary differently by optimizer (p = 0.0017): by 0.30 nats under adam (mean 100.40, "
        "best 100.20)",
    ),
    "seeds.far": (FAR.values, FAR_SAID),
    "seeds.broken": (
        {"broken": 1, "runs": 9, "worst": FAR},
        f"1 of 9 runs ended far outside the others of their setting: {FAR_SAID}",
    ),
    "check.sure_cost": (
        {"parameter": "optimizer", "epoch": 3},
        "optimizer makes a sure difference at epoch 3",
    ),
    "get.confirmed": (
        {
            "neg_elbo": mean(96.32, 0.38),
            "iw_nll": mean(92.23, 0.59),
            "samples": 5000,
            "fid": mean(14.89, 1.63),
            "planned": 4,
        },
        "test −ELBO 96.32 ± 0.38 nats per image, IW-NLL 92.23 ± 0.59 (k = 5,000), FID 14.89 ± "
        "1.63; 3 new seeds of 4",
    ),
    "get.distortion": (
        {"distortion": mean(71.0), "fid": None, "planned": 4, "failed": DIVERGED[:1]},
        "9 of 12 new seeds diverged at epoch 5; test distortion 71.00 ± 0.50 nats per image; 3 "
        "new seeds of 4",
    ),
    "search.failed": (FAILED, "9 of 48 trials diverged"),
    "search.failed_above": (
        FAILED,
        "**learning rate** from 0.0101 on: 9 of 10 trials diverged; the winner has 0.00587",
    ),
    "search.failed_below": (
        FAILED,
        "**learning rate** up to 0.0101: 9 of 10 trials diverged; the winner has 0.00587",
    ),
    "search.failed_at": (
        FAILED | {"parameter": "optimizer", "threshold": "sgd", "winner": None},
        "**optimizer = sgd**: 9 of 10 trials diverged",
    ),
    "get.validation": (
        {"again": SINGLE, "planned": 3, "failed": DIVERGED},
        "9 of 12 new seeds diverged at epoch 5; 1 of 12 new seeds crashed at epoch 3; validation "
        "−ELBO −1.25 nats per image; 1 new seed of 3, no test figure",
    ),
    "get.searched": (
        {"value": ONE, "rank": 2, "ranked": 15, "failed": DIVERGED[:1]},
        "9 of 12 new seeds diverged at epoch 5; validation −ELBO 97.50 nats per image in the "
        "search (n = 1, number 2 of 15, and optimistic); not confirmed",
    ),
    "get.apart": (
        {"trial": 6, "gap": mean(2.0)},
        "Trial 6 is 2.00 ± 0.50 nats worse on test (3 shared seeds)",
    ),
    "get.turned": (
        {"trial": 6, "gap": mean(-2.0)},
        "Trial 6 is 2.00 ± 0.50 nats better on test (3 shared seeds); the choice rests on "
        "validation",
    ),
    "get.tie": (
        {"trial": 39, "gap": mean(-0.05, 0.62)},
        "Trial 39 is just as good: −0.05 ± 0.62 nats on test (3 shared seeds)",
    ),
    "get.perhaps": (
        {"trial": 39, "gap": mean(-1.4, 1)},
        "Trial 39 is perhaps 1.40 ± 1.00 nats better on test (3 shared seeds)",
    ),
    "get.unclear": (
        {"trial": 39, "gap": mean(-0.05, 6.2)},
        "Trial 39 may be as good: −0.05 ± 6.20 nats on test (3 shared seeds)",
    ),
    "get.too_few": (
        {"trial": 39, "gap": SINGLE},
        "Trial 39 is 1.25 nats better on test; 1 shared seed cannot tell more",
    ),
    "get.differs": (
        {"trial": 26, "best": 32, "value": Figure(value=129.4), "other": Figure(value=132.3)},
        "Best in the search was trial 32; on fresh seeds the winner, trial 26, reached 129.40 on "
        "validation and trial 32 132.30",
    ),
    "sheet": (
        {"shown": 9, "training": 480, "binarisation": None},
        "9 of the 480 training images as the models are given them",
    ),
    "plot.by_run": (
        {"trial": 26, "runs": 3},
        "Drawn by a confirmation run of trial 26, the median of 3 on validation",
    ),
    "get.further": (
        {
            "trial": 7,
            "state": "paused",
            "epochs": 5,
            "value": Figure(value=91.4),
            "best": Figure(value=96.9),
        },
        "Trial 7, paused after 5 epochs, had reached 91.40 nats, below the 96.90 of the best in "
        "the search",
    ),
    "compare.apart": (
        PAIR | {"gap": mean(2.75, 0.9)} | OVER,
        "**optimizer**: adamax is 2.75 ± 0.90 nats worse than adam on validation over 3 settings "
        "(by 4.00, 2.00 and −1.00 at trials 45, 3 and 9); FID +51.00 ± 3.00",
    ),
    "compare.perhaps": (
        PAIR | {"gap": mean(2.4), "fid": None} | OVER | {"by": None, "at": None},
        "**optimizer**: adamax is perhaps 2.40 ± 0.50 nats worse than adam on validation over 3 "
        "settings",
    ),
    "compare.tie": (
        PAIR | {"gap": mean(0.1), "fid": None},
        "**optimizer**: adamax is as good as adam, 0.10 ± 0.50 nats on validation at trial 45 (3 "
        "seeds)",
    ),
    "compare.unclear": (
        PAIR | {"gap": mean(2.0, 3), "fid": None},
        "**optimizer**: adam or adamax is open, 2.00 ± 3.00 nats on validation at trial 45 (3 "
        "seeds)",
    ),
    "compare.too_few": (
        PAIR | {"gap": SINGLE.turned},
        "**optimizer**: adamax is 1.25 nats worse than adam at trial 45; 1 seed cannot tell more",
    ),
    "compare.interaction": (
        SIDES,
        "**optimizer** depends on the setting: adam is better by 2.00 nats where learning "
        "rate is below 0.001, adamax by 3.50 above (8 pairs over 4 settings)",
    ),
    "compare.interaction_of_value": (
        SIDES | {"by": "prior", "rest": ("normal", "vampprior"), "at": "mixture"},
        "**optimizer** depends on the setting: adam is better by 2.00 nats where prior is normal "
        "or vampprior, adamax by 3.50 where it is mixture (8 pairs over 4 settings)",
    ),
    "compare.interaction_open": (
        SIDES | {"some": 3, "rest": 1, "others": ("β", "latent size")},
        "**optimizer** depends on the setting: adam is better by 2.00 nats in 3 settings, adamax "
        "by 3.50 in 1; β and latent size part these alike, so which of them decides is open",
    ),
    "curve.rises": (
        {
            "epoch": 6,
            "rising": 7,
            "runs": 9,
            "rise": Figure(value=3.3),
            "way": "large",
            "parameter": "latent size",
        },
        "**Validation** rises after epoch 6 in 7 of 9 complete runs, by 3.30 nats to the last "
        "epoch, more at large latent size",
    ),
    "caveat.interactions": (
        {"able": 2, "comparisons": None, "rate": 0.02},
        "Interactions with every other parameter were looked for in 2 comparisons; chance names "
        "one in at most 2 % of studies without any",
    ),
    "caveat.no_interactions": (
        {"level": 0.05},
        "Interactions cannot be named: with so few matched pairs, chance would name one in more "
        "than 5 % of studies without any",
    ),
    "against.trial": ({"trial": 39}, "trial 39"),
    "baseline.apart": (
        {"title": "β = 10", "gap": mean(2.18), **BESIDE},
        "**β = 10**: 2.18 ± 0.50 nats worse than the winner on test (3 seeds); rate 24.50 against "
        "27.10; FID 65.80 against 14.90",
    ),
    "baseline.perhaps": (
        {"title": "again", "gap": mean(5.3, 4), "against": BEST},
        "**again**: perhaps 5.30 ± 4.00 nats worse than the winner on test (3 seeds)",
    ),
    "baseline.tie": (
        {"title": "again", "gap": mean(0.1), "against": OTHER, "weighted": mean(-0.7)},
        "**again**: just as good as trial 39, 0.10 ± 0.50 nats on test (3 seeds); IW-NLL "
        "disagrees: −0.70 ± 0.50 nats",
    ),
    "baseline.unclear": (
        {"title": "again", "gap": mean(0.1, 9), "against": BEST},
        "**again**: may be as good as the winner, 0.10 ± 9.00 nats on test (3 seeds)",
    ),
    "baseline.too_few": (
        {"title": "again", "gap": SINGLE, "against": BEST},
        "**again**: 1.25 nats better than the winner on test, too few seeds to tell more",
    ),
    "baseline.other": (
        BESIDE | {"title": "grey", "why": "binarisation none, not static", "rate": None},
        "**grey**: its −ELBO cannot be compared with the winner (binarisation none, not static); "
        "FID 65.80 against 14.90",
    ),
    "baseline.same": (
        {"title": "k", "against": OTHER, "iw_nll": mean(87.58, 0.07), "samples": 5000},
        "**k** has the same training as trial 39; IW-NLL 87.58 ± 0.07 (k = 5,000)",
    ),
    "baseline.alone": (
        {"title": "β = 10", "neg_elbo": mean(137), "fid": None},
        "**β = 10**: test −ELBO 137.00 ± 0.50 (3 seeds); nothing was confirmed, to set it beside",
    ),
    "parameter.tried": (
        RANGE | COSTS,
        "**β**: tried from 0.01 to 10; best at 0.535 to 0.698; at epoch 3, 13.20 (9.10 to 17.50) "
        "nats behind at 10",
    ),
    "parameter.choice": (
        {
            "parameter": "prior",
            "tried": ("normal", "mixture"),
            "best": ("mixture",),
            "epoch": 3,
            "at": "normal",
            "unsure": Figure(value=0.5, low=-0.4, high=1.2, n=48),
            "complete": 3,
        },
        "**prior**: tried normal and mixture; best with mixture; at epoch 3 open (−0.40 to 1.20 "
        "nats at normal), at the end not known (3 complete trials)",
    ),
    "parameter.few": (
        {"judged": 7, "trials": 12, "least": 10},
        "Which parameters matter cannot be said: 7 of 12 trials came far enough, and it takes 10",
    ),
    "parameter.not_covered": (
        {"parameter": "prior", "value": "normal", "trials": 6},
        "**prior = normal** was tried in 6 trials, and never with settings at which other values "
        "do well",
    ),
    "doubt.warning": (
        CHECK,
        "✗ Has the search levelled off? fewer than 10 trials reached an epoch together, too few "
        "to tell; the spread over seeds is not known",
    ),
    "doubt.unknown": (
        CHECK,
        "? Has the search levelled off? fewer than 10 trials reached an epoch together, too few "
        "to tell; the spread over seeds is not known",
    ),
    "next.command": (
        {"command": "vaeexp sweep --study x --trials 96"},
        "`vaeexp sweep --study x --trials 96`",
    ),
    "cost.pruned": (
        {"pruned": 41, "ended": 48, "saved": 427, "share": 0.59},
        "Pruning ended 41 of 48 trials early and saved up to 427 trial-epochs, 59 % of the search "
        "without it",
    ),
    "cost.search": (
        {
            "seconds": 660.0,
            "epochs": 293,
            "repeats": 30,
            "repeat_epochs": 450,
            "baselines": None,
            "baseline_epochs": 0,
        },
        "The search took 11 min of wall time and 293 trial-epochs; 30 runs to confirm and "
        "compare took 450 more",
    ),
    "cost.learned": (
        {"trials": 1, "study": "other"},
        "The sampler also learned from 1 trial of other",
    ),
    "race.goes_on": (
        RACE,
        "The race of 5 configurations over 8 seeds goes on with 2 of them after 4 seeds. It took "
        "23 of 40 runs",
    ),
    "race.ended": (
        RACE,
        "The race of 5 configurations over 8 seeds ended after 4 seeds with 2 left, because none "
        "can still be expected to be better than the first by more than seeds vary (0.40 nats). It "
        "took 23 of 40 runs",
    ),
    "race.rule": (
        {"pairs": 10, "looks": 5, "rate": 0.05},
        "The table has the order of the race: those in it by their mean, then those that were "
        "dropped, the latest first. A configuration is dropped where it can hardly win over all "
        "seeds on validation: its p is corrected for 10 pairs and 5 looks, so that at most 5 % "
        "of races drop the one that would have won. That says nothing of test",
    ),
    "race.dropped": (
        {"trial": 7, "seeds": 3, "behind": Figure(value=1.5), "leader": 2, "p": 0.012},
        "Trial 7 was dropped after 3 seeds, 1.50 nats behind trial 2 on validation (p = 0.012)",
    ),
    "race.dropped_failed": (
        {"trial": 7, "seeds": 3},
        "Trial 7 was dropped after 3 seeds, because a run of it failed",
    ),
    **{
        kind: ({"count": 2}, template.replace("{count:", "2 ").replace("}", "s", 1))
        for kind, template in TEMPLATES.items()
        if kind.startswith("left.")
    },
    "doubt.stages": (
        {
            "counting": 8,
            "trials": 14,
            "had": ("batch size 50",),
            "best": "live/5",
            "value": Figure(value=213.63),
        },
        "8 of 14 trials count: the others had batch size 50. The best that does not is live/5, "
        "213.63",
    ),
    "pairs.incomplete": ({"count": 2}, "2 pairs without both runs complete, left out"),
    "pairs.mean": (
        MATCHED,
        "Mean difference 2.00 ± 0.50 nats per image over 3 configurations, the seeds of each "
        "averaged first. adamax is lower in 2 of 9 pairs. Student's t for pairs: p < 0.0001, and "
        "0.05 after Holm's correction for all comparisons of the study",
    ),
    "value.below": (ENDS["below"].values, "β < 0.36"),
    "value.among": (
        {"parameter": "prior", "values": ("normal", "vampprior")},
        "prior = normal and vampprior",
    ),
    "hole": (
        HOLE,
        "All 8 trials with β < 0.36 or β > 1.03 have optimizer = adamax or learning rate > 0.0017, "
        "so they say nothing of β",
    ),
    "notice.interim": (
        {"ended": 1, "planned": 1200},
        "Interim report: 1 trial of 1,200 ended so far; figures will change",
    ),
    "note.differs": (
        {
            "title": "AE",
            "why": (Statement(id="differs.deterministic"), Statement(id="differs.no_figure")),
        },
        "AE: a deterministic code has no rate and no ELBO; no run of it has one",
    ),
    "differs.protocol": (
        {"part": "binarisation", "here": "none", "there": "static"},
        "binarisation none, not static",
    ),
    "table.confirmed_pairs": (
        {"looks": 4, "pairs": 1, "rate": 0.05},
        "p (Holm): of the same t, times the 4 numbers of seeds that the race could end with, "
        "after Holm's correction for 1 pair of confirmed configurations, because the winner was "
        "chosen among them; two can be told apart where it is at most 0.05",
    ),
    "left_out": (
        LEFT,
        "Left out, because no trial that counts has it with settings at which other values do "
        "well: prior = normal and vampprior; components = 3",
    ),
    "plot.missing": ({"count": 1, "plots": ("history",)}, "1 plot not drawn, and why"),
    "plot.same_training": (
        {"others": ("k", "l"), "first": "Trial 4"},
        "“k” and “l”: the same training as “Trial 4”, not drawn a second time",
    ),
    "plot.failed": ({"failed": 2}, "Not drawn: 2 failed trials"),
    "plot.short": ({"short": 1}, "Not drawn: 1 trial that stopped before that epoch"),
    "method.beta": (
        WEIGHT | {"height": 28, "width": 28, "channels": 1, "size": 784},
        "**β** weighs the rate in nats per image against the distortion summed over all D = 28 × "
        "28 × 1 = 784 sub-pixels of an image. In a loss that averages −log p(x|z) over "
        "sub-pixels the same model has the weight β/D: β = 1 here is 0.00000128 there, and the β "
        "= 0.535 of the winner is 1,230",
    ),
    "method.scale": (
        WEIGHT | {"scale": Figure(value=0.5, digits=None), "name": "σ²", "error": "squared"},
        "With σ² = 0.5, β = 1 here is 0.00000128 in a loss of mean squared error per sub-pixel + "
        "β·KL, and β = 0.535 is 1,230",
    ),
    "check.pile": (
        PILE,
        "10 of the best 10 trials, and 14 of all 24, have β within 5 % of its upper bound",
    ),
    "check.pile_at_upper": (
        PILE | {"option": "--set a=1"},
        "10 of the best 10 trials, and 14 of all 24, have β = 64, the largest that it may have. "
        "Search beyond: --set a=1",
    ),
    "check.pile_at_lower": (
        PILE,
        "10 of the best 10 trials, and 14 of all 24, have β = 64, the smallest that it may have",
    ),
    "check.winner_at_end": (
        {"parameter": "latent size", "value": "60", "bound": "upper", "end": "64"},
        "the winner has latent size = 60, at the upper end, 64",
    ),
    "check.winner_beyond": (
        {"parameter": "β", "value": "9", "bound": "upper", "end": "5"},
        "the winner has β = 9, beyond the upper end of the range as narrowed, 5",
    ),
    "check.few_ranked": ({"trials": 1}, "1 trial that can be ranked, too few to tell"),
    "check.gain": (
        {"trials": 15, "gain": ONE},
        "the last third of 15 complete trials lowered the best value by 97.50 nats",
    ),
    "check.gain_at_epoch": (
        {"trials": 15, "epoch": 3, "gain": ONE},
        "the last third of 15 trials at epoch 3 lowered the best value by 97.50 nats",
    ),
    "check.variation": (
        SPREADS | {"epoch": 3},
        "seeds vary by 97.50 nats, 7 complete trials by 2.00, 48 trials at epoch 3 by 7.00 (seeds "
        "there by 1.50) (standard deviations)",
    ),
    "check.rung_ranks": (
        RUNG,
        "at epoch 3, where 28 of 48 trials stopped, ranks correlate with those at the end by "
        "0.36 (−0.56 to 0.88) over 7 complete trials",
    ),
    "check.rung_unranked": (
        RUNG,
        "at epoch 3, where 28 of 48 trials stopped, ranks cannot be compared with those at the "
        "end over 7 complete trials",
    ),
    "check.late": (
        LATE,
        "trial 8, 3 of 48 at epoch 3 and trained to its end, came 1.50 nats behind the winner",
    ),
    "check.late_within": (
        LATE | {"ahead": mean(1.5)},
        "trial 8, 3 of 48 at epoch 3 and trained to its end, came 1.50 nats before the winner, "
        "which is within what seeds vary",
    ),
    "seeds.failed": (LOST | {"first": 3, "last": 7}, "9 of 12 new seeds diverged at epochs 3 to 7"),
    "check.orders": (
        {"validation": (1, 2, 3, 4, 5, 6), "test": (2, 1)},
        "on validation trials 1 < 2 < 3 < 4 < 5 < …, on test trials 2 < 1",
    ),
    "check.behind_on_both": (
        {"trials": 2},
        "2 trials behind the best by more than seeds vary on both",
    ),
    "check.late_gain": (
        {"gain": Figure(value=0.03), "runs": 9},
        "the last tenth of their epochs lowered the best value by 0.03 nats on average over 9 runs",
    ),
    "check.longer": (
        {"gap": mean(-3.01), "p_holm": 0.01},
        "with more epochs the best is 3.01 ± 0.50 nats below itself on test",
    ),
    "advice.search_on": (DO, "Search on: `vaeexp sweep x`"),
    "advice.widen": (DO, "Widen the range and search on: `vaeexp sweep x`"),
    "advice.confirm": (
        DO | {"top": 3, "seeds": 5},
        "Confirm 3 configurations with 5 fresh seeds each: `vaeexp sweep x`",
    ),
    "advice.finish": (DO, "Let the study finish: `vaeexp sweep x`"),
    "advice.finish_confirming": (DO, "Let the study finish, which confirms them: `vaeexp sweep x`"),
    "advice.pause_later": (DO, "Pause later, and search on: `vaeexp sweep x`"),
    "advice.train_late": (
        DO | {"option": "pruner.rungs=[6]"},
        "Train the paused ones that fell most to their end, or pause later (pruner.rungs=[6]): "
        "`vaeexp sweep x`",
    ),
    "advice.train_beside": (DO, "Train the best for twice as long beside it: `vaeexp sweep x`"),
    "advice.train_longer": (DO, "Train longer: `vaeexp sweep x`"),
    "remedy.unfinished": (
        {"warmup": 3},
        "Give a larger budget, such as more `--trials`, or `--set pruner.name=none --extend`. A "
        "trial that ends within its warm-up, up to 3 epochs, has no value: keep `warmup_epochs` "
        "below `epochs`",
    ),
}
"""Id → values, and the words in markdown."""


@pytest.mark.parametrize("kind", SAID)
def test_a_template_says_its_values(kind):
    values, said = SAID[kind]
    statement = Statement(id=kind, values=values)
    assert html.unescape(words(statement, str)) == said
    assert words(statement) == (said.replace("`", "") if "command" in values else said).replace(
        "**", ""
    )
    assert plain(statement)["values"].keys() == values.keys()


def test_templates_with_forms_have_their_words_here():
    with_forms = {kind for kind, text in TEMPLATES.items() if re.search(r"\[|\{\w+:", text)}
    assert with_forms <= SAID.keys() <= TEMPLATES.keys()


@pytest.mark.parametrize(
    "title", ["a | b", "*x*", "<b>", "[l](http://x)", "{gap}", "**", "a [k] `z`"]
)
def test_a_title_of_the_user_breaks_neither_template_nor_markdown(title):
    statement = Statement(id="baseline.same", values={"title": title, "against": BEST})
    assert words(statement) == f"{title} has the same training as the winner"
    assert words(statement, escape) == f"**{escape(title)}** has the same training as the winner"


def test_an_interval_that_is_not_symmetric_is_given_by_its_ends():
    gap = Figure(value=-1.0, low=-3.0, high=-0.5, n=25)
    assert "2 shared" not in (
        said := words(Statement(id="get.turned", values={"trial": 1, "gap": gap}))
    )
    assert "1.00 (0.50 to 3.00) nats better" in said


def test_numbers_that_are_not_finite_are_null_for_programs():
    figure = plain(Statement(id="get.tie", values={"gap": SINGLE, "trial": math.nan}))["values"]
    assert figure == {
        "gap": {"value": -1.25, "unit": "nats per image", "n": 1, "low": None, "high": None},
        "trial": None,
    }
