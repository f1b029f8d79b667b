import pytest

from video_salmonn.embedded.data.wordings import WORDINGS
from video_salmonn.model.aliases import ALIASES
from video_salmonn.model.transcripts import asks_for_words


@pytest.mark.parametrize("task", sorted(WORDINGS))
def test_of_all_wordings_of_the_data_those_for_transcripts_ask_for_the_words(task):
    for question in (part for wordings in WORDINGS[task] for part in wordings):
        assert asks_for_words(question) == (task == "transcribe"), question


@pytest.mark.parametrize("alias", sorted(ALIASES))
def test_of_the_aliases_those_for_speech_recognition_ask_for_the_words(alias):
    for question in ALIASES[alias]:
        assert asks_for_words(question) == alias.startswith("asr"), question


@pytest.mark.parametrize(
    "question",
    [
        "Transcribe this video.", "can you write down what he says?", "What are the words?", "I need a transcript",
        "What’s he saying?", "What did she just say?", "Speech to text, please", "What sentence do you hear?",
        "Please give me subtitles for this.", "Can you tell me what the man on the left is saying?",
        "Convert the speech to text, please.", "Could you put what is said into writing?", "Was wird gesagt?",
        "Que dit-il ?", "word for word, what does he say?", "WHAT IS SAID", "What does the narrator say?",
        "Transcribe it once more.", "What does he say? Once again, please.",
    ],
)  # fmt: skip
def test_people_ask_for_the_words_in_many_ways(question):
    assert asks_for_words(question)


@pytest.mark.parametrize(
    "question",
    [
        "What is said before the bell?", "Is anything being said?", "Who says it?", "Summarise what was said.",
        "Translate what is said into German.", "How many words are said?", "What number does he say?",
        "Which colour is mentioned?", "What can you say about the picture?", "Write a caption for this photo.",
        "What language are they speaking?", "What is the speaker talking about?", "What does the sign say?",
        "What do you hear and what do you see?", "Which words follow a dog barking?", "What does the dog say?",
        "Transcribe the first sentence.", "Put it in your own words.", "Is somebody talking?", "",
        "What does he say until the phone rings?", "What is said once the music is over?", "What did she say later?",
        "What does the man say while the rain falls?", "What is said during the applause?",
    ],
)  # fmt: skip
def test_who_wants_more_or_less_than_the_words_does_not_ask_for_them(question):
    assert not asks_for_words(question)
