"""Many trials as one program."""
