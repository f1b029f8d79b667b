"""Training: stages and recipes; nothing of the pipeline imports this."""
