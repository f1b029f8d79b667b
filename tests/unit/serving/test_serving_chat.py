"""Chat completions of a real server: the answers are the engine's, whole, streamed, batched and over several turns."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest

from serving_client import CLIP, EXAMPLES, KEY, Running, image, sound, text, video
from video_salmonn import VideoSalmonn
from video_salmonn.checkpoints.assemble import build_tiny

QUESTION = "What is said?"


@pytest.fixture(scope="module")
def expected(tiny):
    """The engine's own answer."""
    return tiny.ask(CLIP, QUESTION, max_new_tokens=6)


@pytest.fixture
def client(server):
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0)


def events(response):
    lines = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def said(response):
    return "".join(e["choices"][0]["delta"].get("content") or "" for e in events(response) if e["choices"])


def test_the_answer_is_the_engines_with_its_account(server, expected):
    body = server.chat([video(), text(QUESTION)]).json()
    assert body["choices"][0]["message"]["content"] == expected.text
    assert body["choices"][0]["finish_reason"] == "length" and body["object"] == "chat.completion"
    usage, report = body["usage"], expected.report
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (report["prompt_tokens"], report["new_tokens"])
    details = usage["prompt_tokens_details"]
    assert details["multimodal_tokens"] == {"video": report["media_tokens"], "audio": 0, "image": 0}
    assert details["text_tokens"] == report["prompt_tokens"] - report["media_tokens"]
    (media,) = body["video_salmonn"]["media"]
    assert media["source"] == "messages[0].content[0]"
    for name in ("seen", "heard", "duration", "streams", "cuts"):
        assert media[name] == report["media"][0][name]


def test_a_stream_says_the_same_and_ends_with_usage_and_done(server, expected):
    response = server.chat([video(), text(QUESTION)], stream=True, stream_options={"include_usage": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    found = events(response)
    assert found[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert said(response) == expected.text
    assert found[-2]["choices"][0]["finish_reason"] == "length"
    assert found[-2]["video_salmonn"]["media"][0]["heard"]["status"] == "used"
    assert found[-1]["choices"] == [] and found[-1]["usage"]["completion_tokens"] == 6
    assert all(event["usage"] is None for event in found[:-1])
    assert len({event["id"] for event in found}) == 1


def test_the_official_client_asks_streams_and_continues(client, tiny, expected):
    messages = [{"role": "user", "content": [video(), text(QUESTION)]}]
    whole = client.chat.completions.create(model="tiny", messages=messages, max_tokens=6)
    assert whole.choices[0].message.content == expected.text
    pieces = client.chat.completions.create(model="tiny", messages=messages, max_tokens=6, stream=True)
    assert "".join(p.choices[0].delta.content or "" for p in pieces) == expected.text
    session = tiny.chat(CLIP, max_new_tokens=6)
    session.ask(QUESTION)
    second = session.ask("And what else?")
    messages += [{"role": "assistant", "content": expected.text}, {"role": "user", "content": "And what else?"}]
    found = client.chat.completions.create(model="tiny", messages=messages, max_completion_tokens=6)
    assert found.choices[0].message.content == second.text
    assert found.model_extra["video_salmonn"]["media"][0]["reused"]
    assert [model.id for model in client.models.list()] == ["tiny"]
    with pytest.raises(openai.NotFoundError) as refused:
        client.chat.completions.create(model="gpt-6", messages=messages)
    assert refused.value.body["code"] == 404 and refused.value.body["param"] == "model"


def test_answers_made_together_are_those_made_alone(server, tiny):
    """The law of batching, over HTTP: different media, texts and lengths at once, streamed and not."""
    clips = sorted((EXAMPLES / "grid").glob("*.mp4"))[:3]
    asked = [(clip, f"Question {number}: what is said{' here' * number}?") for number in range(4) for clip in clips]
    alone = [tiny.ask(clip, question, max_new_tokens=6).text for clip, question in asked]
    for clip in clips:
        server.chat([video(clip), text()])  # encoded already, so that many wait for the model at once
    gate = threading.Event()
    with ThreadPoolExecutor(len(asked)) as pool:
        blocked = pool.submit(lambda: None)
        server.service.scheduler.call(lambda: (blocked.result(), gate.wait(20)))
        responses = [
            pool.submit(server.chat, [video(clip), text(question)], stream=bool(number % 2))
            for number, (clip, question) in enumerate(asked)
        ]
        while server.service.scheduler.waiting < len(asked):
            assert not any(response.done() for response in responses)
        gate.set()
        found = [response.result() for response in responses]
    texts = [
        said(response) if number % 2 else response.json()["choices"][0]["message"]["content"]
        for number, response in enumerate(found)
    ]
    assert texts == alone
    assert found[0].json()["video_salmonn"]["batch"] == len(asked)


def test_a_picture_and_a_sound_of_one_message_are_one_clip(server, tiny):
    picture, heard = EXAMPLES / "shirt.jpg", EXAMPLES / "helicopter.flac"
    joined = server.chat([image(), sound(), text(QUESTION)]).json()
    pair = tiny.ask(picture, QUESTION, sound=heard, max_new_tokens=6)
    assert joined["choices"][0]["message"]["content"] == pair.text
    assert [m["kind"] for m in joined["video_salmonn"]["media"]] == ["image"]
    assert joined["video_salmonn"]["media"][0]["heard"]["status"] == "used"
    apart = server.chat([image(), sound(), text(QUESTION)], mm_processor_kwargs={"pair_sound": False}).json()
    both = tiny.ask([picture, heard], QUESTION, max_new_tokens=6)
    assert apart["choices"][0]["message"]["content"] == both.text
    assert [m["kind"] for m in apart["video_salmonn"]["media"]] == ["image", "audio"]
    tokens = apart["usage"]["prompt_tokens_details"]["multimodal_tokens"]
    assert tokens["image"] and tokens["audio"] and tokens["image"] + tokens["audio"] == both.report["media_tokens"]


def test_the_sound_of_a_video_is_heard_unless_it_is_switched_off(server, tiny):
    deaf = server.chat([video(), text(QUESTION)], mm_processor_kwargs={"use_audio_in_video": False}).json()
    assert deaf["video_salmonn"]["media"][0]["heard"]["status"] == "off"
    assert deaf["choices"][0]["message"]["content"] == tiny.ask(CLIP, QUESTION, no_audio=True, max_new_tokens=6).text
    part = server.chat([video(), text(QUESTION)], mm_processor_kwargs={"start": 1, "end": 2.5}).json()
    assert part["choices"][0]["message"]["content"] == tiny.ask(CLIP, QUESTION, start=1, end=2.5, max_new_tokens=6).text
    assert part["video_salmonn"]["media"][0]["duration"] == 1.5


def test_fields_nobody_knows_are_accepted_and_listed(server):
    body = server.chat(
        "Hello", user="me", tools=[{"type": "function"}], mm_processor_kwargs={"size": 3}, stream_options={"x": 1}
    ).json()
    assert body["video_salmonn"]["ignored_fields"] == ["tools", "user", "stream_options.x", "mm_processor_kwargs.size"]


def test_a_stop_string_ends_the_answer_before_it(start, endless):
    server = start(engine=endless)
    whole = server.chat("Hello", max_tokens=40).json()["choices"][0]["message"]["content"]
    stop = whole[1:3]
    for stream in (False, True):
        response = server.chat("Hello", max_tokens=40, stop=[stop], stream=stream)
        found = said(response) if stream else response.json()["choices"][0]["message"]["content"]
        assert found == whole[: whole.index(stop)].rstrip()


def test_drawn_answers_repeat_with_their_seed(server):
    drawn = [
        server.chat("Tell me.", temperature=1.5, seed=seed, max_tokens=20).json()["choices"][0]["message"]["content"]
        for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]


def test_system_and_developer_messages_are_read(server, tiny):
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    wanted = tiny.ask(None, messages, max_new_tokens=6).text
    assert server.chat(None, messages=messages).json()["choices"][0]["message"]["content"] == wanted
    messages[0]["role"] = "developer"
    assert server.chat(None, messages=messages).json()["choices"][0]["message"]["content"] == wanted


def test_a_stream_that_cannot_begin_has_the_status_of_its_error(server):
    broken = {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,AAAA"}}
    response = server.chat([broken, text()], stream=True)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (422, 422, "messages[0].content[0]")


def test_a_stream_that_breaks_off_says_why(start, endless):
    server = start(engine=endless, max_new_tokens=2000, request_seconds=0.3)
    response = server.chat("Hello", stream=True, max_tokens=2000)
    found = events(response)
    assert response.status_code == 200 and found[0]["choices"][0]["delta"]["role"] == "assistant"
    assert found[-1]["error"]["code"] == 408 and "longer than this server allows" in found[-1]["error"]["message"]
    server.idle()


@pytest.mark.parametrize("limit", [6, 20])
def test_a_declined_answer_is_never_shown_and_a_believed_one_is(limit):
    """The client of a stream gets what takes the place of the answer, and not a word of the answer itself."""
    model, processor = build_tiny()
    model.generation_config.decline_ids = processor.tokenizer("cannot say", add_special_tokens=False).input_ids
    asked = "What happens?"
    engine = VideoSalmonn(model, processor, name="tiny")
    plain = engine.ask(CLIP, asked, max_new_tokens=limit).text
    with Running(engine) as server:
        for below, wanted in ((0.9, "cannot say"), (1e-9, plain)):
            model.generation_config.decline_below = below
            for stream in (False, True):
                response = server.chat([video(), text(asked)], stream=stream, max_tokens=limit)
                told = said(response) if stream else response.json()["choices"][0]["message"]["content"]
                assert told == wanted
            warned = server.chat([video(), text(asked)], max_tokens=limit).json()["video_salmonn"]["warnings"]
            assert any(warning.startswith("declined") for warning in warned) == (below > 0.5)
