"""Pure functions over text and intervals: what answers are scored with, in training and in evaluation alike."""
