"""Variants of the small model trained alike, from nothing, and what each claim of the paper comes to at this scale."""
