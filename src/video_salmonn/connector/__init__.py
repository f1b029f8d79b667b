"""Synchronised features to language-model tokens: the multi-resolution causal Q-Former (paper §3.2)."""
