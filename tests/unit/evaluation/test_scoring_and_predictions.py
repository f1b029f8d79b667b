import json
import random

import pytest

from video_salmonn.errors import EvaluationError
from video_salmonn.evaluation.benchmark import warning_counts
from video_salmonn.evaluation.item import Prediction
from video_salmonn.evaluation.predictions import PredictionWriter, check_ids, mend, read_predictions
from video_salmonn.evaluation.save import task
from video_salmonn.evaluation.scoring import score


def row(name, said, *references, **more):
    return Prediction(str(name), said, references, **more)


def test_speech_is_wer():
    done = score(task("how2"), [row("a", "today we plant a tree", "Today we plant a tree."), row("b", "ho", "Hi!")])
    assert done.metrics["wer"].value == pytest.approx(1 / 6)
    assert done.to_dict()["n"] == 2


def test_choices_with_unparsed():
    c = ("red", "green", "blue")
    rows = [
        row(1, "B", "green", candidates=c),
        row(2, "who knows", "red", candidates=c),
        row(3, "red", "blue", candidates=c),
    ]
    done = score(task("nextqa"), rows)
    assert done.metrics["accuracy"].value == pytest.approx(1 / 3) and done.unparsed == 1


def test_short_answers():
    rows = [
        row(1, "No, it is clear.", "no"),
        row(2, "Two instruments", "two"),
        row(3, "2", "two"),
        row(4, "a benchmark", "bench"),
    ]
    assert score(task("gqa"), rows).metrics["accuracy"].items == (1.0, 1.0, 1.0, 0.0)


def test_parts_are_scored_together_and_apart():
    rows = [
        row(1, "Yes", "Yes", part="vggss"),
        row(2, "Yes", "No", part="vggss"),
        row(3, "no", "No", part="spokencoco"),
    ]
    done = score(task("avm"), rows)
    assert done.metrics["accuracy"].value == pytest.approx(2 / 3)
    assert done.parts["vggss"][1]["accuracy"].value == 0.5 and done.parts["spokencoco"][0] == 1
    assert set(done.to_dict()["parts"]) == {"vggss", "spokencoco"}


def test_sound_sources_and_vqa():
    assert (
        score(task("avssd"), [row(1, "dogs bark", "The source of this sound in this scene is dog barking.")])
        .metrics["accuracy"]
        .value
        == 1
    )
    vqa = score(task("textvqa"), [row(1, "acme", *["acme"] * 3, *["x"] * 7)])
    assert vqa.metrics["vqa_accuracy"].value == pytest.approx(0.9) and vqa.metrics["accuracy"].value == 1


def test_failed_items_count_as_wrong_and_are_listed():
    rows = [row(1, "Yes", "Yes"), row(2, "", "Yes", error="clip.mp4: truncated")]
    done = score(task("avm"), rows)
    assert done.metrics["accuracy"].value == 0.5 and done.failed == [("2", "clip.mp4: truncated")]


def test_order_of_predictions_changes_nothing():
    rows = [row(n, "red car" if n % 3 else "blue", "red car") for n in range(40)]
    mixed = list(rows)
    random.Random(3).shuffle(mixed)
    assert score(task("how2"), rows).to_dict() == score(task("how2"), mixed).to_dict()


@pytest.mark.parametrize(
    ("name", "rows", "what"),
    [
        ("how2", [row("u7", "x", " ")], "'u7'.*empty reference"),
        ("how2", [row("u7", "x", "a", "b")], "'u7'.*one reference"),
        ("nextqa", [row("u7", "x", "red")], "'u7'.*none of its candidates"),
        ("avm", [row("u7", "x", "maybe")], "'u7'.*neither"),
        ("gqa", [], "no predictions"),
    ],
)
def test_unscorable_predictions_name_the_item(name, rows, what):
    with pytest.raises(EvaluationError, match=what):
        score(task(name), rows)


def write(path, *lines):
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n")
    return path


def test_predictions_round_trip(tmp_path):
    rows = [
        row("é", "said", "right", part="p", question="q?", media=[{"source": "a.mp4"}]),
        row("2", "", "a", "b", candidates=("a", "b"), error="broken"),
    ]
    with PredictionWriter(tmp_path / "deep/er/p.jsonl") as writer:
        writer.write(rows)
    assert read_predictions(tmp_path / "deep/er/p.jsonl") == rows


GOOD = {"id": "a", "prediction": "x", "reference": "y"}


@pytest.mark.parametrize(
    ("lines", "what"),
    [
        ([GOOD, "{not"], "line 2: not JSON"),
        ([GOOD, [1]], "line 2: must be a JSON object"),
        ([{"prediction": "x", "reference": "y"}], "line 1: field 'id'"),
        ([GOOD | {"id": True}], "line 1: field 'id'"),
        ([GOOD, GOOD], "line 2: the id 'a' occurs twice .first in line 1"),
        ([GOOD | {"task": "gqa"}], "line 1 .id 'a'.: belongs to task 'gqa', not 'how2'"),
        ([{"id": "a", "reference": "y"}], "'prediction' must be a text, not None"),
        (['{"id": "a", "prediction": NaN, "reference": "y"}'], "'prediction' must be a text, not nan"),
        ([{"id": "a", "prediction": "x"}], "either 'reference' or 'references'"),
        ([GOOD | {"references": ["y"]}], "either 'reference' or 'references'"),
        ([GOOD | {"reference": ""}], "reference is empty"),
        ([GOOD | {"reference": 3}], "reference is empty or no text"),
        ([GOOD | {"candidates": "ab"}], "'candidates' must be a list"),
        ([""], "holds no predictions"),
    ],
)
def test_bad_prediction_lines_name_file_and_line(lines, what, tmp_path):
    file = write(tmp_path / "p.jsonl", *lines)
    with pytest.raises(EvaluationError, match=what) as caught:
        read_predictions(file, task="how2")
    assert "p.jsonl" in str(caught.value)


def test_missing_file_fails(tmp_path):
    with pytest.raises(EvaluationError, match="No such file"):
        read_predictions(tmp_path / "none.jsonl")


def test_ids_are_compared_with_the_task(tmp_path):
    rows = [row("a", "x", "y"), row("b", "x", "y")]
    check_ids(rows, ["b", "a"], tmp_path)
    with pytest.raises(EvaluationError, match=r"1 id.s. are not of this task, among them 'b'"):
        check_ids(rows, ["a"], tmp_path)
    with pytest.raises(EvaluationError, match="1 of 3 items has no prediction, among them 'c'"):
        check_ids(rows, ["a", "b", "c"], tmp_path)
    check_ids(rows, ["a", "b", "c"], tmp_path, complete=False)


@pytest.mark.parametrize(
    ("tail", "left", "torn"),
    [(b"", 1, False), (b'{"id": "b", "pre', 1, True), (b'{"id": "b", "prediction": "x", "reference": "y"}', 2, False)],
)
def test_a_torn_last_line_is_cut_and_a_whole_one_kept(tail, left, torn, tmp_path):
    file = write(tmp_path / "p.jsonl", GOOD)
    with file.open("ab") as stream:
        stream.write(tail)
    assert mend(file) is torn
    assert len(read_predictions(file)) == left
    assert file.read_bytes().endswith(b"\n")
    assert not mend(tmp_path / "none.jsonl")


def test_warnings_are_counted_without_numbers_and_without_folders_of_the_machine():
    said = [
        f"the file's own sound was replaced by {place}talk_{n}.flac"
        for n, place in enumerate(("/home/me/save/", "/data/", "", "save/", "https://host/a/"))
    ]
    own = "the file's own sound was replaced by {}talk_N.flac".format
    counted = warning_counts([row(n, "x", "x", warnings=[text]) for n, text in enumerate(said)])
    assert counted == {own(""): 3, own("save/"): 1, own("https://host/a/"): 1}
