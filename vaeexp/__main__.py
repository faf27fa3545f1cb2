"""`python -m vaeexp` is the command `vaeexp`."""

from vaeexp.cli import main

if __name__ == "__main__":
    main()
