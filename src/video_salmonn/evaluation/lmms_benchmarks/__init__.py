"""Task files for lmms-eval of audio-visual benchmarks that it lacks."""
