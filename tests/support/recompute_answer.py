"""Rules for the answer: the best configuration, the clauses, pruning and cost; and for the headline table."""

import math
import re

import pandas as pd
from recompute_bounds import bound_of
from recompute_figures import Study
from recompute_files import number_of, value_text
from recompute_rules import EVIDENCE, MEAN, NUM, REACH, SHARE, Expected, State, says
from recompute_statistics import Gap, evidence, interval, listed, number, plural, reach, share

# ---- the best configuration ----


@says(r"The best configuration( so far)? is (.+?) \(trial (\d+)\)", r"The best trial( so far)?( )is (\d+)")
def best(state: State, *_: str) -> list[Expected]:
    study = state.study
    words = study.configuration(study.best_trial)
    return [" so far" if study.report.interim else "", words or None, str(study.best)]


@says(
    rf"Trained afresh with (\d+) new seeds?, it reaches a test −ELBO of ({MEAN}) nats per image(?: and an importance-weighted NLL"
    rf"(?: \(k = ({NUM})\))? of ({MEAN}))?(?: \(95 % intervals over seeds\)|; one seed gives no interval|; two seeds give no interval)"
)
def confirmed(state: State, *_: str) -> list[Expected]:
    study, runs = state.study, state.study.best_runs
    total, weighted = study.test(runs, "neg_elbo"), study.test(runs, "iw_nll")
    counts = samples(runs)
    k = f"{counts[0]:,}" if len(counts) == 1 and weighted.n else ""
    return [str(total.n), interval(total), k, interval(weighted) if weighted.n else ""]


def samples(runs: pd.DataFrame) -> list[int]:
    name = "result.test/importance_samples"
    return sorted({int(k) for k in runs[name].dropna()}) if name in runs else []


@says(
    rf"Its validation −ELBO is ({NUM}) nats per image, (?:that of the only complete trial|(?:the lowest|number ({NUM})) of ({NUM}) "
    r"complete trials and optimistic for that reason)(?:; it has not been confirmed on test)?"
)
def unconfirmed(state: State, _: str, place: str | None, __: str | None) -> list[Expected]:
    ranked = state.study.ranked
    at = list(ranked["number"]).index(state.study.best) + 1
    return [
        number(state.study.best_trial["objective"]),
        f"{at:,}" if at > 1 else "",
        f"{len(ranked):,}" if len(ranked) > 1 else "",
    ]


@says(rf"trained afresh with (\d+) new seeds? it reaches ({NUM}) there")
def again(state: State, *_: str) -> list[Expected]:
    runs = state.study.best_runs
    return [str(len(runs)), number(runs["objective"].mean())]


@says(
    rf"It is ({NUM}) nats (better|worse) on test than trial (\d+), the runner-up on validation, and (\d+) shared seeds? cannot tell "
    r"whether that is more than chance"
)
def runner_up_open(state: State, *_: str) -> list[Expected]:
    trial, margin = runner_up(state.study)[0], runner_up(state.study)[1].mean
    side = "better" if margin.mean >= 0 else "worse"
    return [number(abs(margin.mean)), side, trial, str(margin.n)]


@says(
    rf"It is ({NUM}) nats (better|worse) on test than trial (\d+), the runner-up on validation, more than the seeds vary "
    rf"\(({EVIDENCE})\)",
    rf"On test it is ({NUM}) nats (better|worse) than trial (\d+), the runner-up on validation, more than the seeds vary "
    rf"\(({EVIDENCE})\)",
)
def runner_up_apart(state: State, *_: str) -> list[Expected]:
    trial, margin = runner_up(state.study)
    assert_that(margin.settled)
    mean = margin.mean.mean
    return [
        number(abs(mean)),
        "better" if mean > 0 else "worse",
        trial,
        evidence(margin.mean, margin.p_holm, margin.tests),
    ]


@says(
    rf"It cannot be told from trial (\d+), the runner-up on validation: (\d+) shared seeds leave their difference of ({NUM}) nats open "
    rf"\(({EVIDENCE})\)"
)
def runner_up_tied(state: State, *_: str) -> list[Expected]:
    trial, margin = runner_up(state.study)
    assert_that(not margin.settled)
    words = evidence(margin.mean, margin.p_holm, margin.tests)
    return [trial, str(margin.mean.n), number(margin.mean.mean), words]


def runner_up(study: Study) -> tuple[str, Gap]:
    trial, margin = next(iter(study.margins.items()))
    return str(trial), margin


def assert_that(holds: bool) -> None:
    if not holds:
        raise ValueError("the words say otherwise than the figures")


@says(
    rf"None of the ({NUM}) others can be told from it",
    rf"The ({NUM}) others are worse by more than the seeds vary",
    rf"Of the ({NUM}) others (?:({NUM}) cannot be told from it)?(?: and )?(?:({NUM}) (?:is|are) better on test by more than the seeds vary)?",
)
def others(state: State, *groups: str) -> list[Expected]:
    margins = list(state.study.margins.values())[1:]
    unclear = sum(not margin.settled for margin in margins)
    ahead = sum(margin.settled and margin.mean.mean < 0 for margin in margins)
    return [f"{len(margins):,}", f"{unclear:,}" if unclear else "", f"{ahead:,}" if ahead else ""][: len(groups)]


# ---- nothing learned ----


@says(rf"Nothing was learned: (?:all ({NUM}) trials|the one trial) failed \(([^()]+)\)")
def all_failed(state: State, *_: str) -> list[Expected]:
    ended = ended_trials(state)
    assert_that(set(ended["state"]) == {"failed"})
    kinds = ended["failure"].value_counts()
    counts = {f"{count:,} {kind.replace('_', ' ')}" for kind, count in kinds.items()}
    assert_that(set(re.split(r", | and ", _[1])) == counts)
    return [f"{len(ended):,}" if len(ended) > 1 else "", None]


@says(r"No trial was trained to its end \(([^()]+)\)")
def none_complete(state: State, *_: str) -> list[Expected]:
    counts = ended_trials(state)["state"].value_counts()
    states = [f"{counts[name]:,} {name}" for name in ("pruned", "paused", "failed") if name in counts]
    return [listed(states)]


@says(
    rf"Nothing was learned: the posterior collapsed in (?:all ({NUM}) complete trials|the one complete trial)",
)
def collapsed(state: State, *_: str) -> list[Expected]:
    rates = best_rates(state.study)
    assert_that((rates < 0.1).all())
    return [f"{len(rates):,}" if len(rates) > 1 else ""]


@says(
    rf"The rate is ({NUM}) nats per image at most, below 0\.1, so the latent variables say nothing about the image, and no setting of them matters"
)
def collapsed_rate(state: State, *_: str) -> list[Expected]:
    return [number(best_rates(state.study).max())]


def nothing_learned(study: Study) -> bool:
    """Whether the answer must say so."""
    search = study.search
    ended = search[~search["state"].isin(["running", "waiting"])]
    if not (ended["state"] == "complete").any():
        return len(ended) > 0 and (len(ended) == len(search) or (ended["state"] == "failed").all())
    return bool((best_rates(study) < 0.1).all()) and study.report.setting("model", "posterior") != "deterministic"


def ended_trials(state: State) -> pd.DataFrame:
    search = state.study.search
    return search[~search["state"].isin(["running", "waiting"])]


def best_rates(study: Study) -> pd.Series:
    """The rate of each complete trial at its best epoch."""
    search, epochs = study.search, study.epochs
    complete = search[search["state"] == "complete"]
    epochs = epochs[~epochs["repeat"]].set_index(["number", "epoch"])["val/rate"]
    return epochs.reindex(list(zip(complete["number"], complete["best_epoch"], strict=True)))


@says(
    rf"Trial (\d+), (paused|pruned) after ({NUM}) epochs?, had reached a validation −ELBO of ({NUM}) nats per image, lower than the "
    rf"({NUM}) of the best complete trial"
)
def came_further(state: State, *_: str) -> list[Expected]:
    search = state.study.search
    best = search.loc[search["state"] == "complete", "objective"].min()
    lower = search[search["state"].isin(["paused", "pruned"]) & (search["objective"] < best)]
    row = lower.sort_values(["objective", "number"]).iloc[0]
    return [str(row["number"]), row["state"], f"{row['epochs']:,}", number(row["objective"]), number(best)]


# ---- matched pairs ----


@says(
    rf"As ([^,]+), (.+?) is better than (.+?): in (.+?) (\S+) − (\S+) is ({NUM}) nats per image of validation −ELBO \(({EVIDENCE})\)"
)
def better(state: State, label: str, *_: str) -> list[Expected]:
    each, p = compared(state.study, label, _[-4], _[-3])
    assert_that(p <= 0.05)
    sides = (each.first, each.second) if each.mean.mean > 0 else (each.second, each.first)
    return [None, *sides, basis(each), each.second, each.first, number(each.mean.mean), proof(state.study, each, p)]


@says(
    rf"Which ([^,]+?) is better, (.+?) or (.+?), remains open: (.+?) cannot separate them; (\S+) − (\S+) is ({NUM}) nats per image of "
    rf"validation −ELBO \(({EVIDENCE})\)"
)
def open_pairs(state: State, label: str, *_: str) -> list[Expected]:
    each, p = compared(state.study, label, _[-4], _[-3])
    assert_that(not p <= 0.05)
    ends = [number(each.mean.mean), proof(state.study, each, p)]
    return [None, each.first, each.second, basis(each), each.second, each.first, *ends]


@says(
    rf"Which ([^,]+?) is better, (.+?) or (.+?), remains open: in (.+?) (\S+) − (\S+) is ({NUM}) nats per image of validation −ELBO, and "
    r"fewer than three differences give no interval"
)
def few_pairs(state: State, label: str, *_: str) -> list[Expected]:
    each, _p = compared(state.study, label, _[-3], _[-2])
    words = "the one matched pair of runs" if len(each.table) == 1 else basis(each)
    assert_that(len(each.differences) < 3)
    return [None, each.first, each.second, words, each.second, each.first, number(each.mean.mean)]


def compared(study: Study, label: str, second: str, first: str):
    found = zip(study.pairs, study.p_holm, strict=True)
    return next(
        (each, p)
        for each, p in found
        if study.parameters[each.parameter].label == label and (each.first, each.second) == (first, second)
    )


def proof(study: Study, each, p: float) -> str:
    return evidence(each.mean, p, sum(not math.isnan(own.p) for own in study.pairs))


def basis(each) -> str:
    several, count = each.table["source"].nunique(), len(each.table)
    if several > 1:
        return f"{plural(count, 'matched pair')} of runs over {plural(several, 'configuration')}"
    return f"{plural(count, 'seed')} of one configuration"


@says(
    rf"In matched pairs, (.+ is better than .+ by {NUM} nats per image \({EVIDENCE}\))(?:; other values of (.+?) cannot be told apart)?"
)
def several_pairs(state: State, words: str, _: str | None) -> list[Expected]:
    study = state.study
    two = re.findall(r"(\S+) is better than (\S+) by", words)[0]
    found = list(zip(study.pairs, study.p_holm, strict=True))
    name = next(each.parameter for each, _ in found if set(two) == {each.first, each.second})
    own = [(each, p) for each, p in found if each.parameter == name and len(each.table)]
    parts = []
    for each, p in own:
        if p <= 0.05:
            sides = (each.first, each.second) if each.mean.mean > 0 else (each.second, each.first)
            parts.append(
                f"{' is better than '.join(sides)} by {number(abs(each.mean.mean))} nats per image ({proof(study, each, p)})"
            )
    return [listed(parts), study.parameters[name].label if len(parts) < len(own) else ""]


# ---- clauses of parameters ----

VERDICTS = {
    "strongly determined": "determined",
    "weakly determined: some values are ruled out, no more": "weak",
    "open: the best differ from the rest by no more than chance allows": "open",
}


@says(r"\*\*([^*=]+)\*\*(?=: )")
def parameter(state: State, label: str) -> list[Expected]:
    state.subject = next((name for name, own in state.study.parameters.items() if own.label == label), label)
    return [None]


@says(r"(no two of its values) were tried (to the end )?where the best lie, so the search says nothing of it")
def not_tried(state: State, words: str, far: str | None) -> list[Expected]:
    own, study = state.study.parameters[state.subject], state.study
    tried = own.values(study.found).dropna()
    enough = len(set(tried) - set(study.uncovered[own.name])) >= 2
    return ["two of its values or more" if enough else words, far if bool(far) != study.promotes else "how far"]


@says(rf"one value in all ({NUM}) (complete )?trials, so nothing is said of it")
def one_value(state: State, _: str, complete: str | None) -> list[Expected]:
    assert_that(state.study.places(state.subject, state.study.found).nunique() < 2)
    return [f"{len(state.study.found):,}", complete if bool(complete) != state.study.promotes else "which"]


@says(
    r"(\S+(?: to \S+)?) in the best (\d+) trials",
    r"(?!\*\*)(.+? in \d+(?:(?:,| and) .+? in \d+)*) of the best (\d+) trials",
)
def where(state: State, *_: str) -> list[Expected]:
    own, top = state.study.parameters[state.subject], state.study.top(state.subject)
    values = own.values(top)
    if not own.texts:
        ends = dict.fromkeys(value_text(end) for end in (values.min(), values.max()))
        return [" to ".join(ends), str(len(top))]
    counts = {text: int((values == text).sum()) for text in own.texts}
    parts = [f"{text} in {count:,}" for text, count in sorted(counts.items(), key=lambda pair: -pair[1]) if count]
    return [listed(parts), str(len(top))]


@says(f"({'|'.join(VERDICTS)})")
def verdict(state: State, words: str) -> str:
    own = state.study.verdicts[state.subject]
    return next(text for text, name in VERDICTS.items() if name == own)


@says(rf"({SHARE}) of the importance(?: \(95 % interval ({SHARE}) to ({SHARE})\))?")
def importance(state: State, _: str, low: str | None, high: str | None) -> list[Expected]:
    """Recompute the share by Optuna's PED-ANOVA. The ends come from 200 resamples: they must lie as far on both sides."""
    own = state.study.importances[state.subject]
    if low and high:
        below, above = (number_of(end.split()[-2]) / 100 for end in (low, high))
        assert_that(below <= own + 0.005 and above >= own - 0.005 and 0 <= below <= above <= 1)
        assert_that(below < 0.01 or above > 0.99 or abs((above - own) - (own - below)) < 0.011)
    return [share(own), None, None]


@says(rf"({NUM}) nats between the best and the worst of its partial dependence")
def span(state: State, words: str) -> list[Expected]:
    """The span is that of a forest of randomised trees: it cannot exceed that of the objectives which the forest learned from."""
    objectives = state.study.learned["objective"]
    assert_that(0 <= number_of(words) <= objectives.max() - objectives.min() + 0.005)
    return [None]


@says(r"The best trials pile up at its (lower|upper) bound, and beyond may be better")
def bound(state: State, _: str) -> str | None:
    pile = bound_of(state.study, state.subject)
    return pile.end if pile and pile.told else None


@says(rf"The study file gave the first ({NUM}); what the line gains there is no work of the search")
def given(state: State, _: str) -> str:
    return f"{min(len(state.study.report.file['start']), len(state.study.search)):,}"


@says(rf"Which parameters mattered cannot be said from ({NUM}) (promoted or )?complete trials?; it takes 10")
def too_few(state: State, _: str, promoted: str | None) -> list[Expected]:
    assert_that(len(state.study.judged) < 10)
    return [f"{len(state.study.judged):,}", promoted if bool(promoted) == state.study.promotes else "which"]


@says(rf"({NUM}) values in ({NUM}) complete trials, too few for an interval")
def few_values(state: State, *_: str) -> list[Expected]:
    (own,), ranked = state.study.parameters.values(), state.study.ranked
    return [f"{own.values(ranked).nunique():,}", f"{len(ranked):,}"]


@says(rf"The validation −ELBO is lowest at (\S+) \(({NUM})\) and next lowest at (\S+) \(({NUM})\)")
def lowest_values(state: State, *_: str) -> list[Expected]:
    (own,), ranked = state.study.parameters.values(), state.study.ranked
    best = ranked.groupby(own.values(ranked))["objective"].min().sort_values()
    return [text for value, least in best.head(2).items() for text in (value_text(value), number(least))]


@says(
    rf"From ({NUM}) to ({NUM}), the lowest and the highest, the rate goes from ({NUM}) to ({NUM}) and the distortion from ({NUM}) to ({NUM}) nats per image "
    r"\(last epochs, validation\)"
)
def ends_of_few(state: State, *_: str) -> list[Expected]:
    study = state.study
    (own,) = study.parameters.values()
    epochs = study.epochs[~study.epochs["repeat"] & study.epochs["number"].isin(study.ranked["number"])]
    last = epochs.sort_values("epoch").groupby("number").last()
    values = own.values(study.ranked.set_index("number").loc[last.index]).sort_values()
    ends = last.loc[[values.index[0], values.index[-1]]]
    sides = [number(value) for name in ("val/rate", "val/distortion") for value in ends[name]]
    return [value_text(values.iloc[0]), value_text(values.iloc[-1]), *sides]


@says(
    r"\*\*(.+?) = (.+?)\*\* was never tried (to the end )?near the region where the others are good "
    rf"\((no|{NUM}) trials?(?:, ({NUM}) complete and ({NUM}) pruned)?\), so the search alone says nothing of it"
    rf"(?:; what is said of it rests on (?:({NUM}) matched pairs? over ({NUM}) of the best configurations)?(?:, | and )?((?:the baseline “.+?”(?:, | and )?)+)?)?"
)
def never_tried(state: State, label: str, text: str, far: str | None, *_: str) -> list[Expected]:
    study = state.study
    own = next(own for own in study.parameters.values() if own.label == label)
    assert_that(text in study.uncovered[own.name])
    mine = study.search[own.values(study.search) == text]
    counts = [f"{(mine['state'] == state).sum():,}" for state in ("complete", "pruned")] if len(mine) else ["", ""]
    pairs = [each.table for each in study.pairs if each.parameter == own.name and text in (each.first, each.second)]
    runs = pd.concat([pd.DataFrame(columns=["source"]), *pairs])
    tried = [f"{len(runs):,}", f"{runs['source'].nunique():,}"] if len(runs) else ["", ""]
    others = [
        f"the baseline “{title}”"
        for title in study.rows
        if study.file_of(title).get("at") == "best" and str(study.settings_of(title).get(own.name)) == text
    ]
    far = far if bool(far) != study.promotes else "how far"
    return [None, None, far, f"{len(mine):,}" if len(mine) else "no", *counts, *tried, listed(others) if others else ""]


# ---- clauses of baselines ----

WHOM = r"the best|trial \d+"
MEASURES = {"rate": ("rate", 2), "FID": ("fid", 2), "MSE": ("reconstruction_mse", 5)}


@says(
    rf"\*\*(.+?)\*\* \(n = ({NUM})\)(?=: | is (?:the best configuration|trial \d+) itself| trains (?:the best|trial))"
)
def baseline(state: State, title: str, _: str) -> list[Expected]:
    state.subject = title
    return [None, f"{len(state.study.rows[title]):,}"]


def whom(state: State) -> str:
    """Return what a baseline is set against, in words."""
    against = state.study.against(state.subject)
    return "the best" if against == state.study.best else f"trial {against}"


def other_runs(state: State) -> pd.DataFrame:
    """Return the runs of what a baseline is set against."""
    return state.study.confirmed.get(state.study.against(state.subject), state.study.best_runs)


@says(
    rf"test −ELBO ({MEAN}), ({NUM} nats) (worse|better|above|below) (?:than )?({WHOM})(, which chance may explain)?"
    rf"(?: \(too few seeds for an interval\)| \(({EVIDENCE}); ((?:paired|Welch's t) over .+?)\))"
)
def against_best(state: State, *_: str) -> list[Expected]:
    gap = state.study.baseline_gaps[state.subject]
    known, above = math.isfinite(gap.mean.low), gap.mean.mean >= 0
    side = ("worse" if above else "better") if gap.settled else ("above" if above else "below")
    return [
        interval(state.study.test(state.study.rows[state.subject], "neg_elbo")),
        f"{number(abs(gap.mean.mean))} nats",
        side,
        whom(state),
        ", which chance may explain" if known and not gap.settled else "",
        evidence(gap.mean, gap.p_holm, gap.tests) if known else "",
        gap.basis if known else "",
    ]


@says(rf"IW-NLL ({MEAN}) \(k = (.+?)\)")
def same_training(state: State, *_: str) -> list[Expected]:
    runs = state.study.rows[state.subject]
    assert_that(state.study.same_training(other_runs(state), runs))
    return [interval(state.study.test(runs, "iw_nll")), listed([f"{count:,}" for count in samples(runs)])]


@says(
    rf"the two estimates do not agree: its IW-NLL, the tighter one, is ({NUM}) nats (above|below) that of ({WHOM}) \(95 % interval ({REACH})\)"
)
def other_estimate(state: State, *_: str) -> list[Expected]:
    study = state.study
    mean = study.difference(other_runs(state), study.rows[state.subject], "result.test/iw_nll").mean
    gap = study.baseline_gaps[state.subject].mean
    assert_that(mean.low * mean.high <= 0 or gap.low * gap.high <= 0 or mean.mean * gap.mean < 0)
    return [number(abs(mean.mean)), "above" if mean.mean >= 0 else "below", whom(state), reach(mean)]


@says(rf"(rate|FID|MSE) ({MEAN}) against ({MEAN}) of ({WHOM})")
def beside(state: State, name: str, *_: str) -> list[Expected]:
    metric, digits = MEASURES[name]
    cells = (state.study.test(runs, metric) for runs in (state.study.rows[state.subject], other_runs(state)))
    return [None, *(interval(cell, digits) for cell in cells), whom(state)]


@says(
    rf"These are of its best epoch; at its last \(({NUM})\): ((?:rate|FID|MSE) .+?)(?=\.$)",
    r"((?:rate|FID|MSE) .+?)(?=; no (?:configuration|run of trial))",
)
def last_epoch(state: State, *groups: str) -> list[Expected]:
    runs, when = state.study.rows[state.subject], "test_last" if len(groups) == 2 else "test"
    parts = []
    for name, (metric, digits) in MEASURES.items():
        cell = interval(state.study.test(runs, metric, when), digits)
        hidden = name == "rate" and state.study.deterministic(state.subject)
        parts += [] if cell == "–" or hidden else [f"{name} {cell}"]
    return [*([f"{int(runs['epochs'].max()):,}"] if len(groups) == 2 else []), listed(parts)]


@says(
    r"(?:its −ELBO cannot be compared \(|- |\([a-z]\) .+?: |)its IW-NLL has k = (.+?) samples, not (.+?); a larger k alone lowers it\)?"
)
def other_samples(state: State, *_: str) -> list[Expected]:
    words = state.block.text.words if state.block.text else ""
    title = state.subject or re.sub(r"^\([a-z]\) ", "", words).partition(": ")[0]
    counts = (samples(runs) for runs in (state.study.rows[title], state.study.best_runs))
    return [listed([f"{count:,}" for count in own]) for own in counts]
