"""The official files of the released 13B model -> a model directory."""
