"""The process of one contender: `python -m contenders.child TASK`, with the task as JSON.

For each line with a number of images on standard input it answers a line with that stretch, as
JSON. Anything else that is printed goes to standard error.
"""

import json
import os
import sys

from contenders import Task, open_contender


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    train = open_contender(Task(**json.loads(sys.argv[1])))
    for line in sys.stdin:
        answers.write(json.dumps(train(int(line))._asdict()) + "\n")


if __name__ == "__main__":
    main()
