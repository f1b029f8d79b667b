"""Decisions over HTTP: what the engine decides, with OpenAI's names, about any input."""

from __future__ import annotations

import openai
import pytest

from serving_client import CLIP, KEY, text, video

QUESTIONS = [
    {"type": "predicate", "name": "speech", "instructions": "Is anybody speaking?"},
    {"type": "choice", "name": "colour", "instructions": "Which?", "choices": [{"value": "white"}, {"value": "blue"}]},
    {"type": "score", "instructions": "How loud?", "levels": [{"label": "quiet"}, {"label": "loud"}]},
]


def ask(server, given, questions=QUESTIONS, **body):
    return server.client.post("/v1/decisions", json={"input": given, "questions": questions, **body})


def test_the_official_client_gets_what_the_engine_decides(server, tiny):
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0)
    given = [{"role": "user", "content": [video()]}]
    found = client.decisions.create(model="tiny", input=given, questions=QUESTIONS)
    wanted = tiny.decide(CLIP, QUESTIONS).answers
    assert found.answers[0].probability == pytest.approx(wanted[0]["probability"], rel=1e-3)
    assert (found.answers[1].name, found.answers[1].choice) == ("colour", wanted[1]["choice"])
    assert found.answers[2].score == pytest.approx(wanted[2]["score"], rel=1e-3)
    assert found.usage.output_tokens == 0 < found.usage.input_tokens
    again = client.decisions.create(model="tiny", input=given, questions=QUESTIONS)
    assert again.usage.input_tokens_details.cached_tokens > 0 == found.usage.input_tokens_details.cached_tokens


def test_parts_messages_and_text_are_all_input(server):
    parts = ask(server, [video()]).json()
    messages = ask(server, [{"role": "user", "content": [video()]}]).json()
    assert parts["answers"] == messages["answers"]
    assert parts["media"][0]["heard"]["status"] == "used"
    assert parts["video_salmonn"]["calibration"]["predicate"]["expected_calibration_error"] == "not measured"
    plain = ask(server, "It rains.", user="me").json()
    assert plain["media"] == [] and plain["video_salmonn"]["ignored_fields"] == ["user"]
    talk = [
        {"role": "user", "content": [video(), text("What is said?")]},
        {"role": "assistant", "content": "Nothing."},
        {"type": "message", "role": "user", "content": "Really?"},
    ]
    assert len(ask(server, talk).json()["answers"]) == 3
    pieces = [{"type": "predicate", "instructions": [{"type": "input_text", "text": "Is anybody speaking?"}]}]
    (one,) = ask(server, [video()], pieces).json()["answers"]
    assert one["probability"] == parts["answers"][0]["probability"]


@pytest.mark.parametrize(
    ("questions", "param"),
    [
        ([], "questions"),
        ([{"type": "hat", "instructions": "?"}], "questions[0]"),
        ([{"type": "predicate", "instructions": ""}], "questions[0]"),
        ([{"type": "predicate", "instructions": [{"type": "input_image", "image_url": "data:,"}]}], "questions[0]"),
        ([{"type": "choice", "instructions": "?", "choices": [{"value": "a"}, {"value": "a"}]}], "questions[0]"),
        ([{"type": "choice", "instructions": "?", "choices": [{"value": 1}, {"value": 2}]}], "questions[0]"),
        ([{"type": "score", "instructions": "?", "levels": [{"label": "a"}]}], "questions[0]"),
        ([{"type": "predicate", "instructions": "?"}] * 201, "questions"),
    ],
)
def test_questions_that_cannot_be_decided_are_400(server, questions, param):
    response = ask(server, "It rains.", questions)
    error = response.json()["error"]
    assert response.status_code == error["code"] == 400 and error["param"].startswith(param), error


def test_input_that_cannot_be_read_is_refused(server):
    for given, status in (
        ([{"role": "tool", "content": "x"}], 400),
        ([{"type": "function_call", "name": "f"}], 400),
        ([{"type": "video_url", "video_url": {"url": "data:video/mp4;base64,AAAA"}}], 422),
        ([], 400),
        ("", 400),
        ([{"type": "text", "text": " "}], 400),
        ([{"role": "user", "content": []}], 400),
        ([{"role": "user"}], 400),
    ):
        response = ask(server, given)
        assert response.status_code == response.json()["error"]["code"] == status


def test_a_body_that_does_not_fit_is_told_by_its_own_fields(server):
    def told(given, questions=QUESTIONS, **body):
        error = ask(server, given, questions, **body).json()["error"]
        return error["param"], error["message"]

    assert told(3) == ("input", "input: Input should be a valid string, or: Input should be a valid list")
    assert told([])[0] == "input" and "at least 1 item" in told([])[1]
    assert told([3]) == ("input[0]", "input[0]: Input should be a valid dictionary")
    lacking = told("It rains.", [{"type": "choice", "choices": [{"value": "a"}, {"value": "b"}]}])
    assert lacking == ("questions[0].instructions", "questions[0].instructions: Field required")
    assert told("It rains.", mm_processor_kwargs=[1])[0] == "mm_processor_kwargs"
    wrong = server.client.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": 3}], "stop": 3})
    assert wrong.json()["error"]["param"] in ("messages[0].content", "stop")
    assert server.client.post("/v1/decisions", json=[1]).json()["error"]["param"] is None
