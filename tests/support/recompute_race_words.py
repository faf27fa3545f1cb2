"""Rules for the words of a race: how it ended, which configurations were dropped when, and how far behind."""

from recompute_race import Raced
from recompute_rules import NUM, Expected, State, says
from recompute_statistics import number, p_words, plural

_P = r"p [=<] [\d.e-]+"


def place_in_race(race: Raced, trial: int) -> str:
    """Return the cell of a configuration in the column `race`."""
    left = {dropped: seeds for dropped, seeds, *_ in race.dropped}
    if trial in left:
        return f"dropped after {plural(left[trial], 'seed')}"
    return "in it" if not race.ended else "won" if trial == race.order[0] else "in it to the end"


@says(
    rf"The race of ({NUM} configurations?) over ({NUM}) seeds (goes on with {NUM} of them after {NUM} seeds?|has only begun|ended .+?)\. "
    rf"It took ({NUM}) of ({NUM} runs?)"
)
def race(state: State, *_: str) -> list[Expected]:
    own = state.study.race
    left, after = len(own.order) - len(own.dropped), f"after {plural(own.looked, 'seed')}"
    expected = "because none can still be expected to be better than the first by more than seeds vary"
    endings = {
        "": f"goes on with {left:,} of them {after}" if own.looked else "has only begun",
        "failed": f"ended {after}, because each had a run that failed",
        "alone": f"ended {after} with one left",
        "close": f"ended {after} with {left:,} left, {expected} ({number(own.spread)} nats)",
        "seeds": f"ended with the last seed and {left:,} left",
    }
    trials = state.study.trials
    confirming = trials["purposes"].map(lambda text: "confirm" in str(text).split("+")) & trials["repeat"]
    whole = plural(len(own.order) * own.most, "run")
    return [
        plural(len(own.order), "configuration"),
        f"{own.most:,}",
        endings[own.ended],
        f"{confirming.sum():,}",
        whole,
    ]


@says(
    r"A configuration is dropped where it can hardly win over all seeds on validation: its p is corrected for "
    rf"({NUM} pairs?) and ({NUM} looks?), so that at most 5 % of races drop the one that would have won"
)
def correction(state: State, *_: str) -> list[Expected]:
    own = state.study.race
    return [plural(own.pairs, "pair"), plural(own.most - 3, "look")]


@says(
    rf"Trial ({NUM}) was dropped after ({NUM} seeds?), ({NUM}) nats behind trial ({NUM}) on validation \(({_P})\)",
    rf"Trial ({NUM}) was dropped after ({NUM} seeds?), because a run of it failed",
)
def dropped(state: State, trial: str, *_: str) -> list[Expected]:
    own = next(each for each in state.study.race.dropped if str(each[0]) == trial)
    told = [None, plural(own[1], "seed")]
    return told if own[2] is None else [*told, number(own[3]), str(own[2]), p_words(own[4])]


@says(rf"On validation the race dropped ({NUM}) of the ({NUM} others?), because they could hardly win")
def dropped_in_all(state: State, *_: str) -> list[Expected]:
    own = state.study.race
    return [f"{len(own.dropped):,}", plural(len(own.order) - 1, "other")]
