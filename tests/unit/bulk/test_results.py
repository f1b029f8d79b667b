"""The file of results: whole lines only, no row twice, no settings mixed."""

import json
import os
from pathlib import Path

import pytest

from video_salmonn.bulk.openai_lines import result_line
from video_salmonn.bulk.results import Results, check_results
from video_salmonn.bulk.rows import Row
from video_salmonn.errors import ConfigError, ManifestError, MediaError

SETTINGS = {"weights": "1"}


def line(results, row, error=None):
    body = {"choices": [{"message": {"content": "yes"}}]}
    return result_line(results.name_of(row.key), row.id, None if error else body, error)


@pytest.fixture
def rows():
    return [Row(name, f"Q {name}?") for name in "abc"]


@pytest.fixture
def path(tmp_path, rows):
    """A file with row a answered and row b failed."""
    path = tmp_path / "out" / "results.jsonl"
    with Results(path, SETTINGS) as results:
        results.append([line(results, rows[0]), line(results, rows[1], MediaError("b", "is broken"))])
    return path


def ids(path):
    return [json.loads(text)["custom_id"] for text in path.read_text("utf-8").splitlines()]


def test_a_file_is_continued(path, rows):
    with Results(path, SETTINGS) as results:
        assert [results.has(row.id, row.key) for row in rows] == [True, True, False]
        assert results.failures == {"b"}
        results.append([line(results, rows[2])])
    assert ids(path) == ["a", "b", "c"]


def test_failed_rows_are_forgotten_on_request(path, rows):
    with Results(path, SETTINGS, retry=True) as results:
        assert [results.has(row.id, row.key) for row in rows] == [True, False, False] and not results.failures
        assert ids(path) == ["a"]
        results.append([line(results, rows[1])])
    assert ids(path) == ["a", "b"]


@pytest.mark.parametrize("cut", [1, 20, 100])
def test_a_half_written_line_is_cut_off(path, rows, cut):
    whole = path.read_bytes()
    path.write_bytes(whole + whole.splitlines()[0][:cut])
    with Results(path, SETTINGS) as results:
        assert set(results.done) == {"a", "b"}
        results.append([line(results, rows[2])])
    assert ids(path) == ["a", "b", "c"]


def test_other_settings_are_refused(path):
    with pytest.raises(ConfigError, match="line 1: was answered with other settings"):
        Results(path, {"weights": "2"})
    with Results(path, SETTINGS):
        pass  # the refusal left no lock


def test_a_row_that_asks_something_else_is_refused(path):
    with Results(path, SETTINGS) as results, pytest.raises(ConfigError, match="row 'a' asked something else"):
        results.has("a", Row("a", "Another question?").key)


def test_two_processes_may_not_write_one_file(path):
    with Results(path, SETTINGS), pytest.raises(ConfigError, match="another process is writing it"):
        Results(path, SETTINGS)


@pytest.mark.parametrize("text", ["no json\n", '{"custom_id": "a"}\n', "[1]\n", "a note", "\0" * 9, "[{"])
def test_a_file_of_something_else_is_refused(tmp_path, text):
    path = tmp_path / "other.jsonl"
    path.write_text(text)
    with pytest.raises(ManifestError, match="is not a result of a batch"):
        Results(path, SETTINGS)
    assert path.read_text() == text, "what a batch did not write stays as it is"


def test_a_file_of_something_else_is_told_before_a_model_is_loaded(tmp_path, path):
    other = tmp_path / "other.jsonl"
    for text in ("no json\n", "a note", '{"id": 3}\n', "\0" * 9000):
        other.write_text(text)
        with pytest.raises(ManifestError, match="line 1: is no result of a batch"):
            check_results(other)
    check_results(path)
    check_results(tmp_path / "none.jsonl")
    for cut in (0, 5, 40):
        other.write_bytes(path.read_bytes()[:cut])
        check_results(other)


def test_pipes_and_devices_are_no_files_of_results(tmp_path):
    os.mkfifo(tmp_path / "pipe")  # a look into it would wait for ever
    for place in (tmp_path / "pipe", "/dev/null"):
        with pytest.raises(ManifestError, match="is no regular file") as caught:
            check_results(Path(place))
        assert str(place) in str(caught.value) and caught.value.remedy


def test_rows_of_files_whose_names_are_no_unicode_are_continued_and_retried(tmp_path):
    row = Row(os.fsdecode(b"\xff.wav"), "Q?")
    out = tmp_path / "out.jsonl"
    with Results(out, SETTINGS) as results:
        results.append([line(results, row, MediaError(row.id, "is broken"))])
    with Results(out, SETTINGS) as results:
        assert results.has(row.id, row.key) and results.failures == {row.id}
    with Results(out, SETTINGS, retry=True) as results:
        assert not results.done


def test_a_row_that_is_there_twice_is_refused(path):
    path.write_bytes(path.read_bytes() + path.read_bytes().splitlines(keepends=True)[0])
    with pytest.raises(ManifestError, match="row 'a' is there twice"):
        Results(path, SETTINGS)


def test_a_place_that_cannot_be_written_is_one_error(tmp_path):
    with pytest.raises(ManifestError, match="is a folder"):
        Results(tmp_path, SETTINGS)
    (tmp_path / "file").touch()
    with pytest.raises(ManifestError, match="cannot be written"):
        Results(tmp_path / "file" / "out.jsonl", SETTINGS)
