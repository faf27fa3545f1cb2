"""The words of statements: a template for each.

In a template, `{name}` stands for a value. Words in `[…]` are left out where a value in them is
missing. `**` marks what a statement is about. A statement that is a value stands in its own words.

A form may follow the name, after a colon:

| form | writes |
| --- | --- |
| `±` | a mean with its 95 % interval: `96.32 ± 0.38`, by its ends where it is not symmetric |
| `+±` | a difference with its sign and interval: `+96.32 ± 0.38` |
| `size`, `size ±` | a difference without its sign |
| `to` | the ends of an interval alone |
| `worse|better` | the first word where the number is 0 or more, the second below |
| `share` | a share in per cent |
| `short` | three significant digits, never with an exponent |
| `p`, `least` | a p: `= 0.012` or `< 0.0001`; `least` without the `=` |
| `duration` | seconds |
| `counts` | how many there are of each kind |
| `<` | trials in order |
| `or` | values or statements, joined |
| `quoted` | texts in quotation marks |
| `code` | a command |
| `question` | the question of a check |
| `verb` | what a run of a class of failures did |
| `procedure` | the name of a test |
| `all …` | a noun with its number: `{failed:all trial}` is `the one trial` or `all 6 trials` |
| other words | a noun with its number: `{seeds:new seed}` is `1 new seed` or `3 new seeds` |
"""

from vaeexp.evaluation.metrics import BESIDE, METRICS

_OTHERS = {name: METRICS[name].label for name in BESIDE}
_BESIDE = "".join(
    f"[; {label} {{{name}}} against {{{name}_of_other}}]" for name, label in _OTHERS.items()
)
"""Figures of a baseline and of the setting that it is set against, where both measure one thing."""

_DISAGREES = "[; IW-NLL disagrees: {weighted:±} nats]"
"""The difference in the tighter estimate, where it does not say the same of a baseline as −ELBO
does.
"""
_PAIRS = (
    " on validation[ at trial {trial} ({gap:seed})][ over {over:setting}]"
    "[ (by {by} at trials {at})][, {without} without the runs far outside]"
)
_PAIRS += "".join(
    f"[; {label} {{{name}:+±}}]" for name, label in _OTHERS.items() if METRICS[name].better
)
"""Where two values were compared, and the difference at each setting: of the worse from the
better.
"""
_COSTS = (
    "[; at epoch {epoch}, {behind:±} nats behind at {at}][; at epoch {epoch} open ({unsure:to} "
    "nats at {at})][, at the end not known ({complete:complete trial})]"
    "[; the winner is at the {end} end]"
)
"""What a parameter costs elsewhere, at equal epochs."""

_HOLE = "have {shared:or}, so they say nothing of {parameter}"
_RACE = "The race of {configurations:configuration} over {seeds} seeds"
_TOOK = "It took {runs} of {planned:run}"
_COUNTED = "in no ranking, mean or importance, but counted in the tables by parameter"
_P = "p {p:p}, and {p_holm:least} after Holm's correction for all comparisons of the study"

TEMPLATES: dict[str, str] = {
    # ---- what to use ----
    "use.trial": "{configuration} (trial {trial})",
    "use.so_far": "so far {configuration} (trial {trial})",
    "use.only_trial": "trial {trial}, which has the settings of the study file",
    "use.front": "choose from the front of {first} and {second}: {count} of "
    "{complete:complete trial}, from trial {low_trial} ({first} {low_first}, {second} "
    "{low_second})[ to trial {high_trial} ({first} {high_first}, {second} {high_second})]",
    "use.nothing": "nothing yet: no trial is complete with a value[ ({states:counts})]",
    "nothing.failed": "Nothing was learned: {failed:all trial} failed ({kinds:counts})[. The "
    "first {most}: {message}]",
    "nothing.complete": "No trial was trained to its end ({states:counts})",
    "nothing.collapsed": "Nothing was learned: the posterior collapsed in "
    "{complete:all complete trial}. The rate is {rate} nats per image at most, below {limit}, so "
    "the latent variables say nothing about the image, and no setting of them matters",
    "nothing.hardly_trained": "Hardly trained: −ELBO still fell fast in the last epochs of "
    "{complete:all complete trial}, and the rate is {rate} nats per image at most[; "
    "{failed:counts}]",
    "use.as_good": "As good as the winner: {settings}[; and {more} more][; choose among the "
    "winner and {confirmed:confirmed setting} by cost or size]",
    "use.unclear": "Not told apart from the winner, where two seeds of one setting differ by up to "
    "{limit}: {settings}[; and {more} more]",
    "good.confirmed": "trial {trial}[ with {differs}] (confirmed)",
    "good.one_run": "trial {trial}[ with {differs}] (one run)",
    # ---- what one gets ----
    "get.confirmed": "[{failed}; ]test −ELBO {neg_elbo:±} nats per image[, IW-NLL {iw_nll:±}[ (k "
    "= {samples})]][, FID {fid:±}]; {neg_elbo:new seed}[ of {planned}]",
    "get.distortion": "[{failed}; ]test distortion {distortion:±} nats per image[, FID {fid:±}]; "
    "{distortion:new seed}[ of {planned}]",
    "get.validation": "[{failed}; ]validation −ELBO {again:±} nats per image; {again:new seed}[ "
    "of {planned}], no test figure",
    "get.searched": "[{failed}; ]validation −ELBO {value} nats per image in the search (n = 1, "
    "number {rank} of {ranked}, and optimistic); not confirmed",
    "get.apart": "Trial {trial} is {gap:size ±} nats worse on test ({gap:shared seed})",
    "get.turned": "Trial {trial} is {gap:size ±} nats better on test ({gap:shared seed}); the "
    "choice rests on validation",
    "get.tie": "Trial {trial} is just as good: {gap:±} nats on test ({gap:shared seed})",
    "get.perhaps": "Trial {trial} is perhaps {gap:size ±} nats {gap:worse|better} on test "
    "({gap:shared seed})",
    "get.unclear": "Trial {trial} may be as good: {gap:±} nats on test ({gap:shared seed})",
    "get.too_few": "Trial {trial} is {gap:size} nats {gap:worse|better} on test; "
    "{gap:shared seed} cannot tell more",
    "get.differs": "Best in the search was trial {best}; on fresh seeds the winner, trial {trial}, "
    "reached {value} on validation and trial {best} {other}",
    "get.spared": "{broken} of {runs:confirming run} ended {by} nats or more behind, none of "
    "the winner's; more seeds of it may be worse",
    "get.unequal": "Seeds vary differently by {parameter} (p {p:p}): {values}",
    "seeds.of_value": "by {spread} nats under {value} (mean {mean}, best {best})",
    "get.further": "Trial {trial}, {state} after {epochs:epoch}, had reached {value} nats, below "
    "the {best} of the best in the search",
    # ---- what the study compares ----
    "compare.apart": f"**{{parameter}}**: {{worse}} is {{gap:size ±}} nats worse than "
    f"{{better}}{_PAIRS}",
    "compare.perhaps": f"**{{parameter}}**: {{worse}} is perhaps {{gap:size ±}} nats worse than "
    f"{{better}}{_PAIRS}",
    "compare.tie": f"**{{parameter}}**: {{worse}} is as good as {{better}}, {{gap:±}} nats{_PAIRS}",
    "compare.unclear": f"**{{parameter}}**: {{better}} or {{worse}} is open, {{gap:±}} "
    f"nats{_PAIRS}",
    "compare.too_few": "**{parameter}**: {worse} is {gap} nats worse than {better} at trial "
    "{trial}; {gap:seed} cannot tell more",
    "compare.interaction": "**{parameter}** depends on the setting: {below_better} is better by "
    "{below:size} nats where {by} is below {at}, {above_better} by {above:size} above "
    "({pairs:pair} over {settings:setting})",
    "compare.interaction_of_value": "**{parameter}** depends on the setting: {below_better} is "
    "better by {below:size} nats where {by} is {rest:or}, {above_better} by {above:size} where "
    "it is {at} ({pairs:pair} over {settings:setting})",
    "compare.interaction_open": "**{parameter}** depends on the setting: {below_better} is better "
    "by {below:size} nats in {some:setting}, {above_better} by {above:size} in {rest}; {others} "
    "part these alike, so which of them decides is open",
    "caveat.tuned": "**{parameter}**: every compared setting was found with {value}, so that its "
    "learning rate was tuned for this side alone",
    "caveat.interactions": "Interactions with every other parameter were looked for in "
    "{able:comparison}[ of {comparisons}]; chance names one in at most {rate:share} of studies "
    "without any",
    "caveat.no_interactions": "Interactions cannot be named: with so few matched pairs, chance "
    "would name one in more than {level:share} of studies without any",
    "curve.rises": "**Validation** rises after epoch {epoch} in {rising} of {runs:complete run}, "
    "by {rise} nats to the last epoch[, more at {way} {parameter}]",
    # ---- baselines ----
    "baseline.apart": f"**{{title}}**: {{gap:size ±}} nats {{gap:worse|better}} than {{against}} "
    f"on test ({{gap:seed}}){_DISAGREES}{_BESIDE}",
    "baseline.perhaps": f"**{{title}}**: perhaps {{gap:size ±}} nats {{gap:worse|better}} than "
    f"{{against}} on test ({{gap:seed}}){_DISAGREES}{_BESIDE}",
    "baseline.tie": f"**{{title}}**: just as good as {{against}}, {{gap:±}} nats on test "
    f"({{gap:seed}}){_DISAGREES}{_BESIDE}",
    "baseline.unclear": f"**{{title}}**: may be as good as {{against}}, {{gap:±}} nats on test "
    f"({{gap:seed}}){_DISAGREES}{_BESIDE}",
    "baseline.too_few": f"**{{title}}**: {{gap:size}} nats {{gap:worse|better}} than {{against}} "
    f"on test, too few seeds to tell more{_BESIDE}",
    "baseline.other": f"**{{title}}**: its −ELBO cannot be compared with {{against}} "
    f"({{why}}){_BESIDE}",
    "baseline.same": "**{title}** has the same training as {against}[; IW-NLL {iw_nll:±}[ (k = "
    "{samples})]]",
    "baseline.alone": "**{title}**[: test −ELBO {neg_elbo:±} ({neg_elbo:seed})][, FID {fid:±}]; "
    "nothing was confirmed, to set it beside",
    "against.best": "the winner",
    "against.trial": "trial {trial}",
    # ---- searched parameters ----
    "parameter.tried": f"**{{parameter}}**: tried from {{low}} to {{high}}; best at {{best_low}}"
    f"[ to {{best_high}}]{_COSTS}",
    "parameter.choice": f"**{{parameter}}**: tried {{tried}}; best with {{best}}{_COSTS}",
    "search.failed": "{failed} of {trials:trial} {kind:verb}",
    "search.failed_above": "**{parameter}** from {threshold} on: {inside} of {beyond:trial} "
    "{kind:verb}[; the winner has {winner}]",
    "search.failed_below": "**{parameter}** up to {threshold}: {inside} of {beyond:trial} "
    "{kind:verb}[; the winner has {winner}]",
    "search.failed_at": "**{parameter} = {threshold}**: {inside} of {beyond:trial} {kind:verb}[; "
    "the winner has {winner}]",
    "parameter.few": "Which parameters matter cannot be said: {judged} of {trials:trial} came far "
    "enough, and it takes {least}",
    "parameter.not_covered": "**{parameter} = {value}** was tried in {trials:trial}, and never "
    "with settings at which other values do well",
    # ---- the block ----
    "more": "And {count} more: all findings below",
    "doubt.warning": "✗ {check:question} {found}",
    "doubt.unknown": "? {check:question} {found}",
    "doubt.more": "And {count} more: the table of checks",
    "next.command": "{command:code}",
    "next.nothing": "nothing: no check asks for more",
    # ---- cost ----
    "cost.pruned": "Pruning ended {pruned} of {ended:trial} early[ and saved up to "
    "{saved:trial-epoch}, "
    "{share:share} of the search without it]",
    "cost.search": "The search took [{seconds:duration} of wall time and ]{epochs:trial-epoch}[; "
    "{repeats:run} to confirm and compare took {repeat_epochs} more][; {baselines:run} of "
    "baselines took {baseline_epochs} more]",
    "cost.learned": "The sampler also learned from {trials:trial} of {study}",
    # ---- tables ----
    "race.goes_on": f"{_RACE} goes on with {{left}} of them after {{looked:seed}}. {_TOOK}",
    "race.ended": f"{_RACE} ended after {{looked:seed}} with {{left}} left[, because none can "
    f"still be expected "
    f"to be better than the first by more than seeds vary ({{spread}} nats)]. {_TOOK}",
    "race.rule": "The table has the order of the race: those in it by their mean, then those "
    "that were dropped, the latest first. A configuration is dropped where it can hardly win "
    "over all seeds on validation: its p is corrected for {pairs:pair} and {looks:look}, so that "
    "at most {rate:share} of races drop the one that would have won. That says nothing of test",
    "race.dropped": "Trial {trial} was dropped after {seeds:seed}, {behind} nats behind trial "
    "{leader} on validation (p {p:p})",
    "race.dropped_failed": "Trial {trial} was dropped after {seeds:seed}, because a run of it "
    "failed",
    "left.failed": f"{{count:failed trial}} of the search: {_COUNTED}; in plots with the epochs "
    "before the failure",
    "left.pruned": f"{{count:pruned trial}} of the search: {_COUNTED}; in plots of −ELBO at the "
    "best of the epochs before, in those of rate, distortion and active units at the last of "
    "them",
    "left.going": f"{{count:trial}} of the search not ended yet: {_COUNTED}; in plots as far as "
    "reported",
    "left.worthless": "{count:complete trial} without a finite value: in no ranking, mean, "
    "importance or plot of values",
    "left.runs_failed": "{count:run} to confirm, to compare or of a baseline failed: one seed "
    "fewer in its mean",
    "left.runs_going": "{count:run} to confirm, to compare or of a baseline not ended yet: in no "
    "mean",
    "left.late": "{count:paused trial} not trained to the end, as was asked for: set against no "
    "winner",
    "left.untested": "{count:confirming run} without a finite test −ELBO: in no mean of test "
    "figures",
    "left.pairs": "{count:matched pair} without both runs complete: in no difference",
    "pairs.incomplete": "{count:pair} without both runs complete, left out",
    "pairs.mean": f"Mean difference {{mean:±}} nats per image over [{{seeds:seed}}]"
    f"[{{settings:configuration}}, the seeds of each averaged first]. {{second}} is lower in "
    f"{{lower}} of {{pairs:pair}}[. {{test:procedure}}: {_P}]",
    # ---- values of parameters ----
    "value.below": "{parameter} < {below}",
    "value.above": "{parameter} > {above}",
    "value.among": "{parameter} = {values}",
    "hole": f"All {{trials:trial}} with {{beyond:or}} {_HOLE}",
    # ---- above the answer, and beside its table ----
    "notice.subset": "Every figure here is of {title}: a small part of the data set. None of "
    "them can be compared with published figures for the whole of it",
    "notice.confirming": "Interim report: the search is over, its confirmation is not; figures "
    "will change",
    "notice.interim": "Interim report: {ended:trial}[ of {planned}] ended so far; figures will "
    "change",
    "notice.grey": "The targets are grey levels under a Bernoulli likelihood, which is no "
    "density there: its −ELBO ranks these trials among themselves and means nothing in absolute "
    "terms",
    "notice.deterministic": "The code is deterministic, without rate and ELBO: what is called "
    "−ELBO here is the distortion alone",
    "note.differs": "{title}: {why}",
    "note.itself": "{title} is {of} itself: the two rows show the same runs",
    "note.printed": "{title}, as its source printed it: {published}. Another run, of which no "
    "seeds are known",
    "note.failed": "{title}: every run failed",
    "note.published": "Published: {model} ({source}); one figure, no interval. Only an IW-NLL of "
    "the same "
    "k may be set against it",
    "differs.deterministic": "a deterministic code has no rate and no ELBO",
    "differs.protocol": "{part} {here}, not {there}",
    "differs.samples": "its IW-NLL has k = {here} samples, not {there}; a larger k alone lowers it",
    "differs.no_figure": "no run of it has one",
    # ---- tables ----
    "table.estimator": "importance-weighted NLL (IW-NLL) with k = {samples} samples per image",
    "table.confirmed_pairs": "p (Holm): of the same t, [times the {looks} numbers of seeds that "
    "the race could end with, ]after Holm's correction for {pairs:pair} of confirmed "
    "configurations, because the winner was chosen among them; two can be told apart where it is "
    "at most {rate}",
    "table.classifier": "Reconstructions of test images (MSE, SSIM) and samples of the prior (FID, "
    "IS), by a classifier of these targets that is right on {accuracy} % of the test images",
    "left_out": "Left out, because no trial that counts has it with settings at which other values "
    "do well: {left}",
    "table.failed": "{count} more failed",
    # ---- below plots ----
    "plot.missing": "{count:plot} not drawn, and why",
    "plot.by_trial": "Drawn by trial {trial}",
    "plot.by_run": "Drawn by a confirmation run of trial {trial}[, the median of {runs} on "
    "validation]",
    "plot.same_training": "{others:quoted}: the same training as “{first}”, not drawn a second "
    "time",
    "plot.importance": "Importance, below each panel: how far the values of a parameter among the "
    "best {best} differ from those among all {trials} complete and pruned trials (PED-ANOVA, "
    "Watanabe et al. 2023), as a share of the sum, with a 95 % interval over resamples. It is no "
    "cost in nats: matched pairs (`compare`) measure that",
    "plot.epoch": "Every trial at epoch {epoch}, the last that all of them reached, so that "
    "stopped and complete trials are compared alike",
    "plot.failed": "Not drawn: {failed:failed trial}",
    "plot.short": "Not drawn: {short:trial} that stopped before that epoch",
    "plot.threshold": "What is at most {threshold} nats carries next to nothing",
    "plot.neighbours": "A model that copies has samples much nearer than test images are, whose "
    "median distance to the training images is {usual}",
    # ---- how it was made ----
    "method.samples": "with k = {samples} samples per image. Figures with another k are not "
    "comparable",
    "method.active": "A latent unit is **active** when the variance of its posterior mean over "
    "images exceeds {threshold}",
    "method.beta": "**β** weighs the rate in nats per image against the distortion summed over "
    "all D = {height} × {width} × {channels} = {size} sub-pixels of an image. In a loss that "
    "averages −log p(x|z) over sub-pixels the same model has the weight β/D: β = 1 here is "
    "{weight:short} there[, and the β = {best} of the winner is {best_weight:short}]",
    "method.scale": "With {name} = {scale}, β = 1 here is {weight:short} in a loss of mean {error} "
    "error per "
    "sub-pixel + β·KL[, and β = {best} is {best_weight:short}]",
    "sheet": "{shown} of the {training} training images as the models are given them"
    "[ (binarisation {binarisation})]",
    # ---- checks ----
    "check.planned": "{warning}",
    "check.no_range": "no range and no list of numbers was searched",
    "check.pile": "{count} of the best {top} trials, and {near} of all {ranked}, have "
    "{parameter} within 5 % of its {bound} bound[. Search beyond: {option}]",
    "check.pile_at_upper": "{count} of the best {top} trials, and {near} of all {ranked}, have "
    "{parameter} = {end}, the largest that it may have[. Search beyond: {option}]",
    "check.pile_at_lower": "{count} of the best {top} trials, and {near} of all {ranked}, have "
    "{parameter} = {end}, the smallest that it may have[. Search beyond: {option}]",
    "check.winner_at_end": "the winner has {parameter} = {value}, at the {bound} end[, {end}]",
    "check.winner_beyond": "the winner has {parameter} = {value}, beyond the {bound} end of the "
    "range as narrowed, {end}",
    "check.settled": "whether beyond is better cannot be told, because the search has settled "
    "there",
    "check.beyond_unknown": "whether beyond is better cannot be told",
    "check.grown": "the search widened {parameter} {way} to {end} from trial {trial} on",
    "check.few_ranked": "{trials:trial} that can be ranked, too few to tell",
    "check.few_have": "too few trials have {parameters}",
    "check.inside": "the best {best} trials pile up at no end, and the winner lies at none",
    "check.few_together": "fewer than {least} trials reached an epoch together, too few to tell",
    "check.gain": "the last third of {trials:complete trial} lowered the best value by {gain} nats",
    "check.gain_at_epoch": "the last third of {trials:trial} at epoch {epoch} lowered the best "
    "value by {gain} nats",
    "check.spread_unknown": "the spread over seeds is not known",
    "check.seeds_vary": "seeds vary by {spread} there",
    "check.seeds_hide": "seeds vary by {spread} and all trials by {among} (standard deviations), "
    "too little more to tell",
    "check.none_confirmed": "no configuration was confirmed with two seeds or more",
    "check.variation": "seeds vary by {spread} nats[, {complete:complete trial} by {at_end}]"
    "[, {trials:trial} at epoch {epoch} by {among} (seeds there by {early})] (standard deviations)",
    "check.sure_cost": "{parameter} makes a sure difference at epoch {epoch}",
    "check.close": "a rate of {rate} nats is close to no code at all",
    "check.no_pruner": "the study prunes nothing",
    "check.no_rung": "no trial has reached a rung",
    "check.not_paused": "only the ranks of paused trials are checked",
    "check.rung_ranks": "at epoch {epoch}, where {stopped} of {reached:trial} stopped, ranks "
    "correlate with those at the end by {correlation:±} over {complete:complete trial}",
    "check.rung_unranked": "at epoch {epoch}, where {stopped} of {reached:trial} stopped, ranks "
    "cannot be compared with those at the end over {complete:complete trial}",
    "check.late": "trial {trial}, {rank} of {reached} at epoch {rung} and trained to its end, "
    "came {ahead:size} nats {ahead:before|behind} the winner",
    "check.late_within": "trial {trial}, {rank} of {reached} at epoch {rung} and trained to its "
    "end, came {ahead:size} nats {ahead:before|behind} the winner, which is within what seeds "
    "vary",
    "check.none_stopped": "none stopped there",
    "check.none_late": "none of the paused was trained to its end",
    "check.no_seeds": "no run with a fresh seed was trained",
    "check.seeds_so_far": "{complete} of {planned} are complete, and none failed",
    "check.seeds_trained": "all {runs} did",
    "check.seeds_of": "{title}: {failed} of {planned}",
    "seeds.broken": "{broken} of {runs:run} ended far outside the others of their setting: {worst}",
    "seeds.far": "{run}[ (of trial {trial})][ (compared with trial {beside})], {value} nats[ and a "
    "rate of {rate}] beside {siblings}",
    "seeds.failed": "{failed} of {planned:new seed} {kind:verb} at [epoch {epoch}][epochs "
    "{first} to {last}]",
    "check.few_tested": "fewer than two configurations were tested",
    "check.orders": "on validation trials {validation:<}, on test trials {test:<}",
    "check.better_on_test": "trial {trial} is better on test by more than seeds vary",
    "check.no_interval": "fewer than three seeds give no interval",
    "check.no_order": "seeds do not tell the confirmed trials apart on validation, so no order "
    "is to hold",
    "check.open_on_test": "trial {trial} is behind the best by more than seeds vary on "
    "validation, and not on test",
    "check.behind_on_both": "{trials:trial} behind the best by more than seeds vary on both",
    "check.no_late_gain": "no confirmed run has enough epochs",
    "check.late_gain": "the last tenth of their epochs lowered the best value by {gain} nats on "
    "average over {runs:run}",
    "check.longer": "with more epochs the best is {gap:size ±} nats {gap:above|below} itself on "
    "test",
    "check.rate_falls": "the learning rate falls to 0 at the end, so that every run ends flat, "
    "converged or not",
    "doubt.stages": "{counting} of {trials:trial} count[: the others had {had:or}][. The best that "
    "does not is {best}, {value}]",
    # ---- what to do ----
    "advice.search_on": "Search on: {command:code}",
    "advice.no_wider": "No value lies beyond, so there is nothing to widen",
    "advice.diverges": "Do not widen {parameters}: runs with settings on that side diverged",
    "advice.widen": "Widen the range and search on: {command:code}",
    "advice.cannot_train": "First do what the answer says: no trial can be trained as it is",
    "advice.grid_done": "The grid has no other setting: search more values, with `--extend`",
    "advice.nothing_to_confirm": "First do what the answer says: there is nothing to confirm",
    "advice.confirm": "Confirm {top} configurations with {seeds} fresh seeds each: {command:code}",
    "advice.finish": "Let the study finish: {command:code}",
    "advice.finish_confirming": "Let the study finish, which confirms them: {command:code}",
    "advice.mend_seeds": "First correct what made new seeds fail",
    "advice.pause_later": "Pause later, and search on: {command:code}",
    "advice.train_late": "Train the paused ones that fell most to their end[, or pause later "
    "({option})]: {command:code}",
    "advice.train_beside": "Train the best for twice as long beside it: {command:code}",
    "advice.train_longer": "Train longer: {command:code}",
    "remedy.diverged": "Search a lower `learning_rate`, or limit the gradient with `clip_norm`; "
    "with bf16, try `--precision float32`",
    "remedy.out_of_memory": "Search smaller networks or a smaller `batch_size`, or give fewer "
    "`--lanes`",
    "remedy.crashed": "The study's log has what the workers said last; fewer `--workers` take "
    "less memory. `--retry-failed` trains the failed runs again",
    "remedy.timed_out": "Give a longer `--trial-timeout` with `--retry-failed`, which trains the "
    "failed runs again, or search smaller networks",
    "remedy.error": "Correct the cause that the message names, then train the failed runs again: "
    "the same command with `--retry-failed`, and with `--extend` where your own code changed",
    "remedy.hardly_trained": "Train for more `epochs`, under another `--name`",
    "remedy.collapsed": "Search a smaller `beta`, raise it slowly (`warmup_epochs`), or leave "
    "some rate free (`free_nats`)",
    "remedy.unfinished": "Give a larger budget, such as more `--trials`, or `--set "
    "pruner.name=none --extend`[. A trial that ends within its warm-up, up to {warmup:epoch}, "
    "has no value: keep `warmup_epochs` below `epochs`]",
}
"""Id of a statement → its template."""

QUESTIONS: dict[str, str] = {
    "plan": "Are data and settings what they are meant to be?",
    "bounds": "Are the best configurations inside the searched ranges?",
    "levelled_off": "Has the search levelled off?",
    "seeds": "Do configurations differ by more than seeds?",
    "pruner": "Would the pruner have stopped the winners?",
    "new_seeds": "Did every new seed train?",
    "on_test": "Does the validation optimum hold on test?",
    "learned_out": "Have the confirmed runs converged?",
    "code_used": "Does the winner use its code?",
}
"""Id of a check → what it asks."""

VERBS = {
    "diverged": "diverged",
    "crashed": "crashed",
    "timed_out": "timed out",
    "out_of_memory": "ran out of memory",
}
"""Class of a failure → what a run did; of any other class it failed."""

PROCEDURES = {"t": "Student's t for pairs", "wilcoxon": "Wilcoxon's signed-rank test"}
"""Id of a test of matched pairs → its name."""
