"""Training data of the embedded default: sources, splits, composed items, their rendering and their features."""
