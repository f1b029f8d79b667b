"""Every bad input of the table: one typed error that names file and remedy, or a clip that says what was lost."""

from __future__ import annotations

import io
import re
import time

import av
import pytest
from bad_inputs import CASES, DOCS, table

from video_salmonn import errors
from video_salmonn.media import load_clip, probe
from video_salmonn.media.opening import FORMATS
from video_salmonn.media.source import source_name


def result(make, folder, made):
    found = make(folder, made)
    source, keywords = found if isinstance(found, tuple) else (found, {})
    named = keywords.pop("named", None)
    return source, keywords, named


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input(case, tmp_path, made):
    source, keywords, named = result(case.make, tmp_path, made)
    begun = time.monotonic()
    if case.gets is None:
        report = load_clip(source, **keywords).report
        told = (
            f"seen {report.seen.status} {report.seen.detail}; heard {report.heard.status} {report.heard.detail}; "
            + " ".join(report.warnings + report.cuts)
        )
        assert re.search(case.says, told), told
    else:
        with pytest.raises(errors.MediaError) as caught:
            load_clip(source, **keywords)
        error = caught.value
        assert type(error).__name__ == case.gets, error
        assert re.search(case.says, str(error)), str(error)
        assert (named or source_name(source)) in str(error)
        assert error.remedy
        assert "\n" not in str(error).replace(source_name(source), "")
    assert time.monotonic() - begun < case.seconds


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_probing_bad_input_never_raises_anything_else(case, tmp_path, made):
    source, keywords, _ = result(case.make, tmp_path, made)
    begun = time.monotonic()
    try:
        probe(source, **keywords)
    except errors.MediaError as error:
        assert error.remedy
    assert time.monotonic() - begun < case.seconds


def test_no_allowed_format_opens_other_files():
    pointing = (
        "concat hls dash image2 image2pipe sdp rtsp rtp applehttp lavfi webm_dash_manifest imf tedcaptions vobsub"
    )
    assert not set(FORMATS.split(",")) & set(pointing.split())


def test_a_script_that_ffmpeg_would_follow_is_not_followed(made, tmp_path):
    """FFmpeg opens what an ffconcat script names, whatever ``io_open`` says; the list of formats stops it."""
    script = f"ffconcat version 1.0\nfile '{made('a.mp4')}'\n#\0\n".encode()
    with av.open(io.BytesIO(script), container_options={"safe": "0"}) as container:
        assert container.format.name == "concat"
    with pytest.raises(errors.MediaError, match="of no format that is read here"):
        load_clip(script)


def test_the_table_in_the_docs_is_this_one():
    assert table() in DOCS.read_text(), "run python tests/unit/media/bad_inputs.py"
