"""How long it takes to open a study of many trials, and how much memory its storage needs, with and
without a snapshot.

    python benchmarks/opening.py [--trials 10000] [--epochs 30] [--runs FOLDER] [--postgres]

Writes a journal as `report_scale.py` does, in a temporary folder or the one given; with
`--postgres` its lines become rows of a PostgreSQL server of its own. Then opens the study in a
process of its own each time, as `vaeexp status` and a sweep do: without a snapshot (this process
writes one), and three times with it.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from report_scale import STUDY, write_study
from table import describe_machine, in_words, markdown

from sweeps.storage import hold_study
from sweeps.storage.journal import journal_path
from sweeps.storage.optuna_internals import copy_journal

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "support"))
from postgres import postgres_server

OPEN = """
import sys, time
from pathlib import Path
from sweeps.storage import open_storage
wall, processor = time.perf_counter(), time.process_time()
open_storage(sys.argv[1] or None, Path(sys.argv[2]), sys.argv[3], must_exist=True)
wall, processor = time.perf_counter() - wall, time.process_time() - processor
peak = Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]
print(wall, processor, int(peak) / 2**10)
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--runs", type=Path)
    parser.add_argument("--postgres", action="store_true")
    options = parser.parse_args()
    with ExitStack() as stack:
        runs = options.runs or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        path = journal_path(runs, STUDY)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_study(path, options.trials, options.epochs)
        size, url = path.stat().st_size / 2**20, ""
        if options.postgres:
            server = stack.enter_context(postgres_server("studies"))
            url = server.get_uri(database="studies", driver="psycopg")
            with hold_study(url, runs, STUDY) as storage:
                copy_journal(path, storage)
                for snapshot in path.parent.glob("*.snapshot"):
                    snapshot.unlink()
        else:
            path.with_suffix(".snapshot").unlink(missing_ok=True)
        rows = [
            [what, *_opened(url, runs)]
            for what in ("all records, and a new snapshot", *["snapshot"] * 3)
        ]
        # Small studies have none.
        kept = sum(snapshot.stat().st_size for snapshot in path.parent.glob("*.snapshot"))
        print(
            f"{options.trials:,} trials of {options.epochs} epochs; "
            f"{in_words(describe_machine('cpu'))}\n"
        )
        print(f"journal {size:.0f} MiB, snapshot {kept / 2**20:.0f} MiB\n")
        print(markdown(["read", "s", "s of processor", "peak memory, MiB"], rows, texts=1))


def _opened(url: str, runs: Path) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", OPEN, url, str(runs), STUDY],
        check=True,
        capture_output=True,
        text=True,
    )
    wall, processor, memory = map(float, done.stdout.split())
    return [f"{wall:.2f}", f"{processor:.2f}", f"{memory:.0f}"]


if __name__ == "__main__":
    os.environ.setdefault("PYTHONPATH", str(Path(__file__).resolve().parents[1]))
    main()
