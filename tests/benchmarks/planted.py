"""How often reports of the default search are right about what parameters cost, in studies whose truth is known.

    python tests/benchmarks/planted.py [--studies 40] [--kinds null strong …] [--trials 48] [--spread 1.0]

Each study is run by the shipped driver, sampler and pruner; training is replaced by a formula. It takes about two seconds a study.
"""

import argparse
import sys
from pathlib import Path

from table import markdown

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from default_studies import KINDS, default_study
from planted_costs import Judged, judge

CHOSEN = ("null", "heavy", "strong", "interaction", "slow", "divergence", "tie", "bound_in_list", "hole")
HEADER = ["planted", "studies", "false", "intervals that hold", "costs of 5 nats found", "holes"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=40, help="of each kind")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=CHOSEN)
    parser.add_argument("--trials", type=int, default=48)
    parser.add_argument("--spread", type=float, default=1.0, help="standard deviation of the noise of seeds, nats")
    options = parser.parse_args()
    rows = []
    for kind in options.kinds:
        total = Judged()
        for seed in range(options.studies):
            total += judge(kind, seed, trials=options.trials, spread=options.spread, confirm=0)
        default_study.cache_clear()
        held, found = f"{total.held} of {total.intervals}", f"{total.found} of {total.large}" if total.large else "–"
        rows.append([kind, str(total.studies), str(total.false), held, found, str(total.holes)])
    print(markdown(HEADER, rows, texts=1))


if __name__ == "__main__":
    main()
