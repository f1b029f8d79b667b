"""How good a model is on the held-out split of ``data build-embedded``: real media that no training used."""
