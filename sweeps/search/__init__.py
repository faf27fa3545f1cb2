"""Search: the trials that begin, pause, resume and end next. Holds samplers, pruners and the
prediction of learning curves.
"""
