"""An OpenAI-compatible HTTP server: chat about media, typed decisions, transcripts, files, health and metrics."""
