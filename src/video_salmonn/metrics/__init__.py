"""Scores over text: pure functions, used by training and by evaluation. Nothing here opens media or loads a model.

Every metric takes parallel sequences (one entry an item) and returns a :class:`~video_salmonn.metrics.scored.Scored`:
the value over the whole set, a seeded bootstrap interval, and one score an item. Third-party packages are imported
when a metric needs them; one that is missing is a :class:`~video_salmonn.errors.MissingPartError` naming the extra.
"""
