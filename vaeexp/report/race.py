"""The race of the confirmed configurations in words: how it ended, and which was dropped when and why."""

from sweeps.results.racing import MOST_LOST, Dropped, Race
from vaeexp.results.study_view import StudyView
from vaeexp.results.tested_settings import TestedSetting
from vaeexp.words import format_number, format_p, format_share, plural


def race_words(view: StudyView) -> list[str]:
    """Return how the race of a study ended, then a list with a sentence for each dropped configuration; empty without a race."""
    race = view.race
    if race is None or not race.order:
        return []
    repeats = view.trials[view.trials["repeat"]]
    runs = int(repeats["purposes"].map(lambda purposes: "confirm" in purposes).sum())
    size = f"The race of {plural(len(race.order), 'configuration')} over {race.most:,} seeds"
    how = f"{size} {_ending(race)}. It took {runs:,} of {plural(len(race.order) * race.most, 'run')}."
    if not race.dropped:
        return [how]
    dropped = "\n".join(f"- {_dropped(one)}" for one in race.dropped)
    return [f"{how} {_rule(race)}", dropped]


def _rule(race: Race) -> str:
    looks = plural(race.looks - 1, "look")
    return (
        "The table has the order of the race: those in it by their mean, then those that were dropped, the latest first. A configuration is dropped "
        f"where it can hardly win over all seeds on validation: its p is corrected for {plural(race.pairs, 'pair')} and {looks}, so that at most "
        f"{format_share(MOST_LOST)} of races drop the one that would have won. That says nothing of test."
    )


def _ending(race: Race) -> str:
    left = len(race.order) - len(race.dropped)
    match race.ended:
        case "":
            return (
                f"goes on with {left:,} of them after {plural(race.looked, 'seed')}"
                if race.looked
                else "has only begun"
            )
        case "failed":
            return f"ended after {plural(race.looked, 'seed')}, because each had a run that failed"
        case "alone":
            return f"ended after {plural(race.looked, 'seed')} with one left"
        case "close":
            return (
                f"ended after {plural(race.looked, 'seed')} with {left:,} left, because none can still be expected to be better than the first by more "
                f"than seeds vary ({format_number(race.spread)} nats)"
            )
        case "seeds":
            return f"ended with the last seed and {left:,} left"


def _dropped(dropped: Dropped) -> str:
    first = f"Trial {dropped.trial} was dropped after {plural(dropped.seeds, 'seed')}"
    if dropped.leader is None:
        return f"{first}, because a run of it failed."
    behind = f"{format_number(dropped.behind)} nats behind trial {dropped.leader} on validation"
    return f"{first}, {behind} ({format_p(dropped.p)})."


def place_in_race(race: Race, setting: TestedSetting) -> str:
    """Return a configuration's cell of the table: `won`, `dropped after 3 seeds`, or where it stands."""
    left = next((dropped for dropped in race.dropped if dropped.trial == setting.source_trial), None)
    if left is not None:
        return f"dropped after {plural(left.seeds, 'seed')}"
    if not race.ended:
        return "in it"
    return "won" if setting.source_trial == race.order[0] else "in it to the end"
