"""SAVE-mini: the tasks and schemas of SAVE over open media that no training split of this project uses."""
