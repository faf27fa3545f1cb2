"""How to get a study's numbers again: commands, the code that ran, and where every seed comes from."""

import shlex

from sweeps.results import Results, best_run
from vaeexp.figures.frames import best_number, confirm_runs, fixed, recorded
from vaeexp.report.markdown import code, fenced, heading, table
from vaeexp.report.words import listed

__all__ = ["code_words", "commands", "seeds"]


def commands(results: Results) -> list[str]:
    """The study's command as it was recorded, and those that make its report and its best trial again."""
    command = (results.study.get("record") or {}).get("command")
    ran = " ".join(str(command).split()) if command else f"vaeexp sweep --study {shlex.quote(results.name)}"
    name = shlex.quote(results.name)
    lines = [
        (ran, "goes on where the study stopped; starts it where there is none"),
        (f"vaeexp report --study {name}", "writes this report again"),
    ]
    best, run = best_number(results), best_run(results)
    if best is not None:
        lines.append((f"vaeexp reproduce --study {name} --trial {best}", "trains the best trial of the search again"))
    if run is not None and run["replica"]:
        what = "and its best run with a fresh seed, whose weights are the study's model"
        lines.append((f"vaeexp reproduce --study {name} --trial {run['name']}", what))
    width = max(len(command) for command, _ in lines)
    blocks = [
        heading("Commands", 3),
        fenced("\n".join(f"{command:<{width}}   # {words}" for command, words in lines), "sh"),
    ]
    if not command:
        return [*blocks, "The command that ran the study was not recorded; the first line is the plain one."]
    places = [option for option in ("--runs", "--storage") if f"{option} " in f"{ran} " or f"{option}=" in ran]
    words = "The first line is the command of the last call that trained anything, as it was recorded."
    if places:
        words += f" The others need the same {listed([code(option) for option in places])}."
    if "--set" in ran:
        words += f" What {code('--set')} changes stands in the tables below, and not in the study file."
    return [*blocks, words]


def code_words(results: Results) -> str:
    """Commit and state of the code that ran, in a sentence."""
    git = recorded(results, "git")
    if not git.get("commit"):
        return "No commit is recorded: the code did not run from a git checkout."
    if git.get("dirty"):
        return (
            f"Commit {code(git['commit'])} **with uncommitted changes on top**: the commit alone is not the code that gave "
            "these numbers."
        )
    clean = (
        ", without uncommitted changes" if "dirty" in git else "; whether it had uncommitted changes is not recorded"
    )
    return f"Commit {code(git['commit'])}{clean}."


def seeds(results: Results) -> list[str]:
    """Where the randomness of each part comes from, as a table; empty where no seed is recorded."""
    seed = (results.study.get("spec") or {}).get("seed", results.study.get("seed"))
    if seed is None:
        return []
    split = fixed(results, "split_seed")
    rows = [("study", f"{seed}: the sampler, all trials, and noise and targets of the evaluation, which trials share")]
    if split is not None:
        rows.append(("split", f"{split}: which images train and which validate, and static binarisation"))
    rule = f"the first 63 bits of the SHA-256 of {code(f'{seed}:trial:N')}, N being the number of the trial"
    rows.append(("trial of the search", rule + _of_best(results)))
    fresh = (
        "from the study's seed, the configuration and a count; a configuration has seeds of its own, none of the search"
    )
    rows.append(("fresh seeds", fresh + _of_confirmation(results)))
    return [heading("Seeds", 3), table(["", ""], rows)]


def _of_best(results: Results) -> str:
    best = best_number(results)
    trials = results.trials
    found = trials.loc[~trials["replica"] & (trials["number"] == best), "seed"].dropna()
    return f"; trial {best}: {found.iloc[0]}" if len(found) else ""


def _of_confirmation(results: Results) -> str:
    runs = confirm_runs(results)
    own = runs.loc[runs["of"] == best_number(results)].sort_values("replica_seed")["seed"].dropna()
    return (
        f"; those of the confirmation of trial {best_number(results)}: {', '.join(map(str, own))}" if len(own) else ""
    )
