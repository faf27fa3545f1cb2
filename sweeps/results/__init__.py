"""A study read back: tables, rankings, statistics."""
