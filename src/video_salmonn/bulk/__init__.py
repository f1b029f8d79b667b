"""A corpus of files: one question, or many, about thousands of media, in one process or on a cluster."""
