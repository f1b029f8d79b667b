"""The small default model, whole: parts out of packages, data, held-out evaluation, SAVE-mini."""
