"""One study as plots and report see it."""
