"""Which engines speak, and for how long: judged before anything heavy is imported."""

from __future__ import annotations

from video_salmonn.errors import ConfigError

ENGINES = ("piper", "kokoro")
"""The neural voices."""
SPEAKERS = (*ENGINES, "espeak")
"""What can be given hours: the neural voices, and ``espeak`` for espeak-ng and flite together."""


def parse_hours(text: str) -> dict[str, float]:
    """``piper=20,kokoro=8,espeak=4`` as hours of each; an empty text gives none.

    Raises:
        ConfigError: another name, or no number of hours.
    """
    found: dict[str, float] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, _, value = part.partition("=")
        try:
            hours = float(value)
        except ValueError:
            hours = -1.0
        if name.strip() not in SPEAKERS or not 0 <= hours < 1000:
            raise ConfigError(
                f"--speech-hours: {part!r} is not an engine and its hours",
                remedy="write it like piper=20,kokoro=8,espeak=4",
            )
        found[name.strip()] = hours
    return {name: hours for name, hours in found.items() if hours > 0}
