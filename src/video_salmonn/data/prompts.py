"""Questions for data sets that come without: one of several wordings, the same for the same item every time."""

from __future__ import annotations

import hashlib

PROMPTS: dict[str, tuple[str, ...]] = {
    "transcribe": (
        "Write down the words that are spoken.",
        "What is being said?",
        "Give a transcript of the speech.",
        "Put what you hear being said into writing.",
        "Which words does the speaker use? Answer with the words alone.",
    ),
    "transcribe-av": (
        "Write down what the person in the video says.",
        "What is said in this video?",
        "Give a transcript of the video's speech.",
        "Look and listen: which words are spoken?",
    ),
    "sound-caption": (
        "Describe what can be heard.",
        "What sounds are there? Answer in one sentence.",
        "Say in a sentence what you hear.",
        "Which sounds does this recording hold?",
    ),
    "image-caption": (
        "Describe the picture in one sentence.",
        "What does the picture show?",
        "Give the picture a short caption.",
        "Say briefly what can be seen.",
    ),
    "text-caption": (
        "Describe the picture, with the text that can be read in it.",
        "What does the picture show, and what is written there?",
        "Give a one-sentence caption that takes up the writing in the picture.",
    ),
    "video-caption": (
        "Describe what happens in the video.",
        "What is going on in this clip?",
        "Summarise the video in a sentence or two.",
        "Tell what can be seen over the course of the video.",
    ),
    "spoken-caption": (
        "Does the speaker describe this picture?",
        "Is what you hear a description of what you see?",
        "Do the spoken words fit the picture?",
    ),
}
"""Task -> wordings. Words and order are ours."""


def ask(task: str, name: str) -> str:
    """A wording for an item: the same for the same name on every machine. Raises KeyError for an unknown task."""
    choices = PROMPTS[task]
    return choices[int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) % len(choices)]
