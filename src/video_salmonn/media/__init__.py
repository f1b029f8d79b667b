"""Any file in; timestamped frames and a 16 kHz mono waveform out, with a report of what was used, cut or lost."""
