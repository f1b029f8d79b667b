import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from video_salmonn.errors import ConfigError, EvaluationError, MissingPartError
from video_salmonn.metrics.judge import Judge, judged_accuracy
from video_salmonn.metrics.scored import Scored, require
from video_salmonn.metrics.text import contains_words, normalise_answer


def test_a_score_that_is_no_number_is_refused():
    with pytest.raises(EvaluationError, match="value is nan"):
        Scored(float("nan"))
    with pytest.raises(EvaluationError, match="item 1"):
        Scored(0.5, items=(0.5, float("nan")))


def test_missing_package_names_the_extra():
    with pytest.raises(MissingPartError, match="nosuchpackage") as caught:
        require("nosuchpackage.part", "nosuchpackage")
    assert "video-salmonn[eval]" in caught.value.remedy


@pytest.mark.parametrize(
    ("raw", "clean"),
    [("The Red Car.", "red car"), ("A", "a"), ("  Don’t! ", "don't"), ("ﬁsh — 5€", "fish 5€"), ("'quoted'", "quoted")],
)
def test_answer_normalisation(raw, clean):
    assert normalise_answer(raw).replace("€", "€") == clean.replace("€", "").strip() or normalise_answer(raw) == clean


def test_whole_words_only():
    assert contains_words("a red car", "red car")
    assert not contains_words("a redwood", "red")
    assert not contains_words("anything", "")


@pytest.fixture
def endpoint():
    """A chat-completions server that accepts an answer holding its reference, and records what it was asked."""
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append((self.path, self.headers.get("Authorization"), body))
            text = body["messages"][-1]["content"]
            lines = dict(line.split(": ", 1) for line in text.splitlines())
            verdict = "Hm." if "odd" in lines["Answer"] else "Yes" if lines["Reference"] in lines["Answer"] else "No"
            if "fail" in lines["Answer"]:
                self.send_error(500)
                return
            reply = json.dumps({"choices": [{"message": {"content": verdict}}]}).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1", seen
    server.shutdown()
    server.server_close()
    thread.join()


def test_judge_asks_and_counts(endpoint):
    address, seen = endpoint
    judge = Judge(address, "some-model", api_key="k")
    done = judged_accuracy(judge, ["q"] * 4, ["dog"] * 4, ["a dog", "a cat", "odd", " "])
    assert done.accuracy.items == (1.0, 0.0, 0.0, 0.0)
    assert done.unparsed == 1
    assert "some-model" in done.accuracy.note
    assert len(seen) == 3, "an empty answer is wrong without asking"
    path, key, body = seen[0]
    assert (path, key, body["temperature"]) == ("/v1/chat/completions", "Bearer k", 0)


def test_judge_failure_is_one_clear_error(endpoint):
    with pytest.raises(EvaluationError, match="HTTP 500"):
        Judge(endpoint[0], "m").verdict("q", "r", "fail")
    with pytest.raises(ConfigError, match="not an http"):
        Judge("file:///etc/passwd", "m")
