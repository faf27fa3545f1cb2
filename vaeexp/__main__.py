"""`python -m vaeexp` is the command `vaeexp`."""

import os
import sys

if not sys.flags.safe_path and sys.path[0] != os.path.dirname(
    os.path.dirname(os.path.abspath(__file__))
):
    # Python has put the current folder first; a file `socket.py` there is none of ours.
    del sys.path[0]

from vaeexp.commands import main

if __name__ == "__main__":
    main()
