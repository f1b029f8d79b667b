"""All kinds of questions, and how many items of each the training split gets."""

from __future__ import annotations

from video_salmonn.embedded.data.asking import (
    absence,
    contents,
    general,
    kinds,
    people,
    presence,
    series,
    taught,
    unknowable,
)
from video_salmonn.embedded.data.compose import Composer

QUESTIONS: dict[str, tuple[Composer, int]] = {
    "sound_presence": (presence.sound_presence, 1600),
    "picture_presence": (presence.picture_presence, 2000),
    "sense_presence": (presence.sense_presence, 240),
    "speech_present": (presence.speech_present, 600),
    "music_present": (presence.music_present, 700),
    "silence_present": (presence.silence_present, 300),
    "no_picture": (absence.no_picture, 1500),
    "no_sound": (absence.no_sound, 900),
    "nothing_said": (absence.nothing_said, 900),
    "silent_track": (absence.silent_track, 800),
    "unknowable": (unknowable.unknowable, 1800),
    "not_understood": (unknowable.not_understood, 200),
    "genders": (people.genders, 3000),
    "languages": (people.languages, 500),
    "speaker_counts": (people.speaker_counts, 600),
    "people_seen": (people.people_seen, 300),
    "word_presence": (contents.word_presence, 1000),
    "categories": (contents.categories, 1500),
    "edge_words": (contents.edge_words, 600),
    "sound_series": (series.sound_series, 2600),
    "picture_series": (series.picture_series, 2000),
    "digit_series": (series.digit_series, 2600),
    "kinds": (kinds.kinds, 700),
    "materials": (kinds.materials, 600),
    "walls": (kinds.walls, 1400),
    "colours": (kinds.colours, 900),
    "fitting": (kinds.fitting, 300),
    "weather": (kinds.weather, 80),
    "requests": (kinds.requests, 200),
    "transcripts_again": (general.transcripts_again, 3000),
    "names_again": (general.names_again, 1600),
    "descriptions": (general.descriptions, 1800),
    "chats": (general.chats, 700),
    "teacher_pictures": (taught.teacher_pictures, 900),
    "imagined_pictures": (taught.imagined_pictures, 8000),
    "teacher_sounds": (taught.teacher_sounds, 0),
    "teacher_presence": (taught.teacher_presence, 1200),
    "text_alone": (general.text_alone, 0),
}
"""Kind -> (function, items in the training split; 0 where the sources decide)."""
