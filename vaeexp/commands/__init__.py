"""The command line: one file per command or family of commands, listed in the table of `vaeexp.commands.main`."""
