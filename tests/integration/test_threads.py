"""24 threads at once, with every memory option: each call gets the answer it would get alone."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import numpy as np
import pytest

from video_salmonn import VideoSalmonn
from video_salmonn.inference.questions import MediaQuestion
from video_salmonn.inspection.inspecting import inspect_media
from video_salmonn.media import ArraySound, ArrayVideo
from video_salmonn.model import prompt

CALLS = 24
SHORT = {"max_new_tokens": 3}
DISK = {"tower": "disk", "connector": "cpu", "language_model": "disk"}
MEMORY = [
    {},
    {"offload_encoders": True},
    {"device_map": "auto"},
    {"device_map": DISK},
    {"kv_cache": "static"},
    {"kv_cache": "fp8"},
    {"dtype": "bfloat16"},
    {"quantise": "int8", "quantiser": "bitsandbytes"},
    {"quantise": "int4"},
    {"quantise": "int8", "quantiser": "torchao"},
]


def missing(options):
    needed = {"int4": "bitsandbytes"}.get(options.get("quantise", ""), options.get("quantiser"))
    return needed if needed is not None and find_spec(needed) is None else None


def media(number):
    """A clip of one second, another one for every number."""
    draw = np.random.default_rng(number)
    frames = draw.integers(0, 255, (2, 24, 24, 3), dtype=np.uint8)
    tone = np.sin(np.arange(16_000) * (0.05 + number / 100)).astype(np.float32) / 2
    return ArrayVideo(frames, 2.0), ArraySound(tone, 16_000)


def at_once(work):
    """Results of ``work(0)`` … ``work(23)``, all begun together."""
    gate = threading.Barrier(CALLS)

    def begin(number):
        gate.wait(timeout=60)
        return work(number)

    with ThreadPoolExecutor(CALLS) as pool:
        return list(pool.map(begin, range(CALLS)))


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("VIDEO_SALMONN_HOME", str(tmp_path))


@pytest.mark.parametrize("options", MEMORY, ids=str)
def test_24_questions_at_once_get_the_answers_each_gets_alone(options):
    if missing(options):
        pytest.skip(f"{missing(options)} is not installed")
    engine = VideoSalmonn.load("tiny", **options)
    ask = [lambda n=n: engine.ask([media(n)], f"What is number {n}?", **SHORT).text for n in range(CALLS)]
    alone = [one() for one in ask]
    assert len(set(alone)) > 1
    assert at_once(lambda number: ask[number]()) == alone


@pytest.mark.parametrize("options", [{}, {"offload_encoders": True}, {"device_map": DISK}], ids=str)
def test_every_public_call_from_24_threads_at_once(options):
    engine = VideoSalmonn.load("tiny", **options)

    def streamed(item, question):
        return "".join(engine.stream(item, question, **SHORT))

    def calls(number):
        item, question = [media(number)], f"What is number {number}?"
        return [
            lambda: engine.ask(item, question, adapter_scale=float(number % 2), **SHORT).text,
            lambda: [
                a.text for a in engine.batch([MediaQuestion(question, item, SHORT), MediaQuestion("And?", item, SHORT)])
            ],
            lambda: streamed(item, question),
            lambda: round(engine.likelihoods(MediaQuestion(question, item), ["Yes", "No"])[0].log, 3),
            lambda: engine.chat(item).ask(question, **SHORT).text,
            lambda: inspect_media(engine, media(number)[0], question=question, max_new_tokens=2).comparison.answer,
            lambda: engine.processor(question, media=item)["input_ids"].tolist(),
            lambda: engine.encode(item)[0].features.nbytes,
        ][number % 8]

    work = [calls(number) for number in range(CALLS)]
    alone = [one() for one in work]
    assert at_once(lambda number: work[number]()) == alone


def test_one_conversation_from_24_threads_keeps_every_question():
    session = VideoSalmonn.load("tiny").chat([media(1)])
    at_once(lambda number: session.ask(f"{number}?", max_new_tokens=1))
    asked = [message["content"] for message in session.messages if message["role"] == "user"]
    assert sorted(asked) == sorted(f"{number}?" for number in range(CALLS))
    assert [message["role"] for message in session.messages] == ["user", "assistant"] * CALLS


def test_models_are_loaded_by_24_threads_at_once_with_equal_weights():
    first = VideoSalmonn.load("tiny").ask([media(3)], "What?", **SHORT).text
    texts = at_once(lambda number: VideoSalmonn.load("tiny").ask([media(3)], "What?", **SHORT).text)
    assert set(texts) == {first}


def test_control_tokens_in_a_question_stay_text_while_others_are_tokenised():
    """A tokenizer keeps its settings in itself: a call with other ones meanwhile must not turn them into tokens."""
    processor = VideoSalmonn.load("tiny").processor
    template = [prompt.PromptPart("template", "</s><s>"), prompt.PromptPart("user", "</s><s>")]
    wanted = prompt.tokenise(template, processor.tokenizer, processor.config.media_token_id, begin=False)

    def work(number):
        media_id = processor.config.media_token_id
        return [prompt.tokenise(template, processor.tokenizer, media_id, begin=False) for _ in range(20)]

    assert all(one == wanted for row in at_once(work) for one in row)
