"""Evaluation: tasks with their prompts and readers, a runner that survives, scores with intervals, reports."""
