"""The small default model, whole: parts out of packages, data, warm-up, held-out evaluation, SAVE-mini."""
