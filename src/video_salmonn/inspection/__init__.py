"""The page and picture of what was seen, heard and compressed of a clip, and of what the answer rested on."""
