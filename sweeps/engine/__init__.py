"""The loop: ask, train an epoch, decide, end; resumes anywhere."""
