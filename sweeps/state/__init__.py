"""What a study has done so far, as frozen values: `State`, its `Trial`s and its `StudyRecord`. The
storage reads and writes them.
"""
