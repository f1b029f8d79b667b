"""Prompt aliases: ``<asr>`` and similar tags are replaced by a natural instruction.

The released code replaces a question that is nothing but a tag by a random variant of its list. The tags are the
released ones; the sentences are our own, several a tag, so that a model does not learn one wording by heart.
"""

from __future__ import annotations

import random

ALIASES: dict[str, tuple[str, ...]] = {
    "asr": (
        "Write down what is being said.",
        "Transcribe the speech.",
        "Which words are spoken here?",
        "Turn what you hear the speaker say into text.",
        "Note the spoken words exactly as they are said.",
        "Give a transcript of the speech.",
    ),
    "asr_zh": ("请写出这段话的文字内容。", "把听到的话转成文字。", "说话人讲了些什么？请逐字写出。"),
    "asr_de": ("Schreibe auf, was gesagt wird.", "Gib den gesprochenen Text wieder.", "Welche Wörter sind zu hören?"),
    "translation_ec": ("Translate what is said into Chinese.", "Give the speech in Chinese.", "把听到的话译成中文。"),
    "translation_ce": ("Translate what is said into English.", "Give the speech in English.", "把听到的话译成英文。"),
    "translation_ce_pe": ("Translate what is said into English.", "Give the speech in English."),
    "count_audio": ("How many separate utterances are there?", "Count the stretches of speech in this recording."),
    "count_word": ("How many words are spoken?", "Count the words of the speech."),
    "audiocaption": (
        "Describe in a sentence what can be heard.",
        "Give a caption for this recording.",
        "What is going on, judging by the sound?",
        "Sum up this sound in one sentence.",
    ),
    "audiocaption_v2": ("Write down everything you hear.",),
    "QA": ("{}",),
    "inference_QA": ("{}",),
    "gender_QA": ("{}",),
    "gender_recognition": ("Does the speaker sound male or female?", "Name the gender of the voice."),
    "info_retrieval": ("Give the start and end time of every spoken word.",),
    "phone_recognition": ("Write the speech as a sequence of phonemes.", "Which phonemes are spoken?"),
    "audio_speech_description": ("Tell what is said and what is heard in the background.",),
    "speech_separation": ("Two people speak. Write down what each of them says, in order.",),
    "speech_query": (
        "Answer the question that is asked in the recording.",
        "What is the answer to the spoken question?",
    ),
    "emotion_recognition": ("In one word, how does the speaker feel?",),
    "music_description": ("Describe the music.", "What kind of music is this, and how does it sound?"),
    "lyrics_recognition": ("Write down the words that are sung.", "What are the lyrics?"),
    "speaker_verification": ("Is it one and the same person who speaks throughout? Answer yes or no.",),
    "fluent_speech_audio": ("In one flowing sentence, tell what is said and what sounds in the background.",),
    "audio_story_telling": ("Invent a detailed story that fits what you hear.",),
    "speech_audio_query": ("Answer the spoken question with the help of the background sound.",),
    "summarization": ("Sum up what was said.", "Give the gist of the speech in a few sentences."),
    "speaker_asr": ("Several people speak. Transcribe them, with a number for the speaker before each sentence.",),
}


def expand(question: str, rng: random.Random | None = None) -> str:
    """Replace a question that is only an alias tag, such as ``<asr>``; any other question is returned as it is.

    Args:
        question: the question.
        rng: draws among the variants; None takes the first, so that answers repeat.
    """
    stripped = question.strip()
    if not (stripped.startswith("<") and stripped.endswith(">")):
        return question
    variants = ALIASES.get(stripped[1:-1])
    if variants is None or variants == ("{}",):
        return question
    return variants[0] if rng is None else rng.choice(variants)
