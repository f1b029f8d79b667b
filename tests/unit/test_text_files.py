"""Files of lines that people write: every reader takes what is valid and names file and line of what is not."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from video_salmonn.checkpoints.directory import read_settings
from video_salmonn.checkpoints.released.sources import read_json
from video_salmonn.cli.convert import _settings as convert_settings
from video_salmonn.data.checking import check_manifest
from video_salmonn.data.feature_index import read_index
from video_salmonn.data.manifest import parse_line, read_manifest
from video_salmonn.data.readers import _load
from video_salmonn.embedded.data.sources import lines_of as source_rows
from video_salmonn.embedded.held_out.measure import read_answers
from video_salmonn.errors import EvaluationError, ManifestError, VideoSalmonnError
from video_salmonn.evaluation.benchmark import read_results
from video_salmonn.evaluation.predictions import read_predictions
from video_salmonn.evaluation.save.annotations import read_lines, read_records
from video_salmonn.evaluation.save.locate import Finder, MediaIndex
from video_salmonn.evaluation.save.mini_marker import read_marker
from video_salmonn.evaluation.settings import agree_on_settings
from video_salmonn.files import json_value, numbered_lines
from video_salmonn.inference.calibration import read_calibration
from video_salmonn.inference.released_json import read_items
from video_salmonn.resources.device_map import parse_device_map
from video_salmonn.training.exporting import read_recipe
from video_salmonn.training.logbook import read_metrics
from video_salmonn.training.run_folder import read_state

BREAKS = "one\u2028two\u2029three\u0085four\u000b\u000c"
"""Characters at which ``str.splitlines`` breaks a line."""


def line(**changes) -> dict:
    talk = [{"role": "user", "content": "What?"}, {"role": "assistant", "content": BREAKS}]
    return {"id": "a", "media": {"video": "a.mp4"}, "conversation": talk, "task": "ask", **changes}


def written(path: Path, *rows, bom: bool = False) -> Path:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_bytes((b"\xef\xbb\xbf" if bom else b"") + text.encode())
    return path


PREDICTION = {"id": "1", "prediction": BREAKS, "reference": "x"}
ANSWER = {"condition": "c", "id": "1", "answer": BREAKS, "reference": "x"}
RELEASED = {"image_name": "a.mp4", "conversation": [{"from": "human", "value": BREAKS}, {"from": "gpt", "value": "x"}]}
LINE_READERS = {
    "manifest": (lambda path: list(read_manifest(path)), line(), 1),
    "data validate": (lambda path: [None] * check_manifest(path).items, line(), 1),
    "data convert": (_load, RELEASED, 1),
    "predictions": (read_predictions, PREDICTION, 1),
    "held-out answers": (lambda path: list(read_answers(path)), ANSWER, 1),
    "metrics": (read_metrics, {"step": 1, "note": BREAKS}, 1),
    "embedded sources": (lambda path: list(source_rows(path)), {"text": BREAKS}, 1),
    "text lines": (read_lines, {"text": BREAKS}, 1),
}


OWN = ("predictions", "metrics", "held-out answers")
"""Written by this package itself, without a byte order mark."""


@pytest.mark.parametrize(
    ("name", "bom"), [(name, bom) for name in LINE_READERS for bom in (False, True) if not (bom and name in OWN)]
)
def test_a_line_separator_inside_a_text_and_a_byte_order_mark_are_read(name, bom, tmp_path):
    read, row, count = LINE_READERS[name]
    assert len(read(written(tmp_path / "rows.jsonl", row, bom=bom))) == count


@pytest.mark.parametrize("name", sorted(set(LINE_READERS) - {"metrics", "predictions"}))
def test_latin_1_is_one_error_with_file_and_line(name, tmp_path):
    path = tmp_path / "latin.jsonl"
    rows = written(path, LINE_READERS[name][1]).read_bytes()
    path.write_bytes(rows + '{"id": "caf\u00e9"}\n'.encode("latin-1"))
    with pytest.raises((ManifestError, EvaluationError), match=r"latin\.jsonl, line 2: not UTF-8.*0xe9") as caught:
        LINE_READERS[name][0](path)
    assert "UTF-8" in caught.value.remedy


def test_latin_1_predictions_and_json_files_are_one_error(tmp_path):
    path = tmp_path / "latin.json"
    path.write_bytes('[{"id": "caf\u00e9"}]'.encode("latin-1"))
    for read in (read_predictions, lambda file: list(read_records(file)), read_items):
        with pytest.raises(VideoSalmonnError, match=r"latin\.json.*UTF-8"):
            read(path)


def test_numbers_of_lines_count_blank_ones(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\n one \r\n\n\rtwo\n")
    assert list(numbered_lines(path, ManifestError)) == [(2, " one "), (4, "\rtwo")]
    with pytest.raises(ManifestError, match="cannot be read"):
        list(numbered_lines(tmp_path / "gone", ManifestError))
    with pytest.raises(ManifestError, match="cannot be read"):
        list(numbered_lines(tmp_path, ManifestError))


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, "9" * 5000, "{", "", '{"a": "\\ud800"}', "\\ud800", '"\\udc00\\ud800"', b"\xe9", b'"\\uD8ff"'],
)
def test_whatever_is_wrong_with_json_is_one_kind_of_error(text):
    with pytest.raises(ValueError, match=r"not JSON|UTF-8|surrogate"):
        json_value(text)
    assert json_value('"\\ud83d\\ude00"') == "\U0001f600"


JSON_READERS = {
    "results of an evaluation": ("results.json", lambda path: read_results(path.parent)),
    "settings of an evaluation": ("settings.json", lambda path: agree_on_settings(path.parent, {}, [], resume=True)),
    "SAVE-mini's marker": ("save-mini.json", lambda path: read_marker(path.parent)),
    "SAVE's mapping of media": ("gqa.paths.json", lambda path: Finder(MediaIndex(path.parent), "gqa")),
    "a checkpoint's state": ("state.json", lambda path: read_state(path.parent)),
    "a checkpoint's recipe": ("recipe.json", lambda path: read_recipe(path.parent)),
    "a store's index": ("index.json", lambda path: read_index(path.parent)),
    "a store's keys": ("keys.json", lambda path: read_index(path.parent)),
    "a model's calibration": ("calibration.json", read_calibration),
    "a released folder": ("config.json", read_json),
    "a device map": ("map.json", lambda path: parse_device_map(str(path))),
    "convert's settings": ("settings.json", convert_settings),
    "a model directory": ("config.json", lambda path: read_settings(path.parent)),
}


@pytest.mark.parametrize("text", [b"", b"{", b"[" * 100_000, b'{"a": "\xe9"}', b'"\\ud800"', b"[]", b"null"], ids=repr)
@pytest.mark.parametrize("name", JSON_READERS)
def test_a_json_file_that_is_none_is_one_error_that_names_it(name, text, tmp_path):
    file, read = JSON_READERS[name]
    (tmp_path / file).write_bytes(text)
    with pytest.raises(VideoSalmonnError, match=re.escape(str(tmp_path / file))) as caught:
        read(tmp_path / file)
    assert caught.value.remedy and len(str(caught.value)) < 400


BAD_TIMES = ["2.5", float("nan"), float("inf"), -1, True, [1], {}, 10**400]


@pytest.mark.parametrize("value", BAD_TIMES, ids=lambda value: repr(value)[:8])
@pytest.mark.parametrize("key", ["start", "end"])
def test_a_time_that_is_no_number_of_seconds_is_an_error_of_its_line(key, value, tmp_path):
    bad = line(media={"video": "a.mp4", key: value})
    with pytest.raises(ManifestError, match=r"line 7: media times .* are not an interval"):
        parse_line(json.dumps(bad), "m.jsonl", 7)
    path = written(tmp_path / "m.jsonl", line(), bad | {"id": "b"})
    account = check_manifest(path)
    assert account.items == 1 and [p.line for p in account.problems if "interval" in p.reason] == [2]


@pytest.mark.parametrize("start,end", [(5, 5), (5, 4), (None, 0)])
def test_an_interval_without_length_is_an_error(start, end):
    with pytest.raises(ManifestError, match="an interval"):
        parse_line(json.dumps(line(media={"video": "a.mp4", "start": start, "end": end})), "m", 1)
    good = parse_line(json.dumps(line(media={"video": "a.mp4", "start": None, "end": 2.5})), "m", 1)
    assert good.media["end"] == 2.5


@pytest.mark.parametrize("value", ["1", float("nan"), float("inf"), -1, True])
def test_a_weight_that_is_no_finite_number_is_an_error(value):
    with pytest.raises(ManifestError, match="weight"):
        parse_line(json.dumps(line(weight=value)), "m", 1)


@pytest.mark.parametrize(
    "recipe",
    [
        {"length": "2", "layers": [{"file": "a.wav"}]},
        {"layers": [{"file": "a.wav", "at": float("nan")}]},
        {"layers": [{"file": "a.wav", "from": "0"}]},
    ],
)
def test_a_recipe_with_times_that_are_no_numbers_is_an_error(recipe):
    with pytest.raises(ManifestError, match=r"media\.audio: .* must be a finite number"):
        parse_line(json.dumps(line(media={"audio": recipe})), "m", 1)


def test_half_a_character_in_a_manifest_is_an_error_of_its_line():
    with pytest.raises(ManifestError, match=r"line 3: .*surrogate"):
        parse_line(json.dumps(line(id="\ud800")), "m", 3)
