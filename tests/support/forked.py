"""Run commands of vaeexp, a line of JSON each, in forks of one process, and answer each with a
line.

A new Python imports PyTorch, pandas and Matplotlib for seconds at each command; a fork starts at
once and shares nothing else with its neighbours.
"""

import importlib
import json
import os
import sys
from tempfile import TemporaryFile

IMPORTED = (
    "torch",
    "pandas",
    "matplotlib.pyplot",
    "scipy.stats",
    "sklearn.manifold",
    "vaeexp.runs.worker",
    "vaeexp.report",
)


def forked(arguments: list[str]) -> dict[str, int | str]:
    """Run a command in a fork whose output goes to files, because pipes would fill."""
    from vaeexp.commands import main

    with TemporaryFile("w+") as out, TemporaryFile("w+") as err:
        fork = os.fork()
        if fork == 0:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            sys.argv = ["vaeexp", *arguments]
            main(arguments)
        status = os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1])
        out.seek(0)
        err.seek(0)
        return {"returncode": status, "stdout": out.read(), "stderr": err.read()}


if __name__ == "__main__":
    for name in IMPORTED:
        importlib.import_module(name)
    for line in sys.stdin:
        print(json.dumps(forked(json.loads(line))), flush=True)
