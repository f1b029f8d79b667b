"""English text -> phonemes, by espeak-ng's library; both neural voices were trained on its symbols."""

from __future__ import annotations

import ctypes
import ctypes.util
import re
from functools import lru_cache

from video_salmonn.errors import MissingPartError

_VOICE = b"en-us"
_SYNCHRONOUS, _UTF8, _IPA = 2, 1, 0x02
_PIECES = re.compile(r"([,;:.!?]+)(?=\s|$)")

KOKORO = (
    ("əl", "ᵊl"),
    ("ɚ", "əɹ"),
    ("eɪ", "A"),
    ("aɪ", "I"),
    ("aʊ", "W"),
    ("oʊ", "O"),
    ("ɔɪ", "Y"),
    ("tʃ", "ʧ"),
    ("dʒ", "ʤ"),
    ("r", "ɹ"),
    ("ɐ", "ə"),
    ("ɜːɹ", "ɜɹ"),
    ("ː", ""),
)
"""espeak-ng's symbols -> Kokoro's, in this order."""


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL:
    name = ctypes.util.find_library("espeak-ng") or "libespeak-ng.so.1"
    try:
        library = ctypes.CDLL(name)
    except OSError as error:
        raise MissingPartError(
            f"espeak-ng's library cannot be loaded ({error})", remedy="apt-get install espeak-ng"
        ) from error
    if library.espeak_Initialize(_SYNCHRONOUS, 0, None, 0) < 0 or library.espeak_SetVoiceByName(_VOICE) != 0:
        raise MissingPartError("espeak-ng's library has no voice en-us", remedy="apt-get install espeak-ng-data")
    library.espeak_TextToPhonemes.restype = ctypes.c_char_p
    library.espeak_TextToPhonemes.argtypes = [ctypes.POINTER(ctypes.c_char_p), ctypes.c_int, ctypes.c_int]
    return library


def _spoken(text: str) -> str:
    library = _library()
    rest = ctypes.c_char_p(text.encode())
    found = []
    while rest.value:
        piece = library.espeak_TextToPhonemes(ctypes.byref(rest), _UTF8, _IPA)
        found.append((piece or b"").decode().strip())
    return " ".join(piece for piece in found if piece)


def phonemes(text: str) -> str:
    """A text's phonemes in IPA with stress marks; words apart by spaces, punctuation as in the text.

    Raises:
        MissingPartError: espeak-ng is not installed.
    """
    parts = _PIECES.split(text)
    found = ""
    for place, part in enumerate(parts):
        if place % 2:
            found += part[0]
        elif part.strip():
            found += (" " if found else "") + _spoken(part.strip())
    return found


def kokoro_phonemes(text: str) -> str:
    """The same in Kokoro's symbols."""
    found = phonemes(text)
    for old, new in KOKORO:
        found = found.replace(old, new)
    return found
