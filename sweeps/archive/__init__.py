"""A study in one file, `FILE.tar.zst`: its records, the files of its runs and its report, packed
here and restored elsewhere.
"""
