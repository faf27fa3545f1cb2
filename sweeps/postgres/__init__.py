"""Studies in a PostgreSQL database, for many machines: the place `postgresql` of
`sweeps.storage.journals.JOURNALS`.
"""
