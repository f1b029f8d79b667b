import json
from dataclasses import replace

import pytest

from video_salmonn.errors import ConfigError, EvaluationError
from video_salmonn.evaluation.save import TASK_IDS, task, tasks
from video_salmonn.evaluation.save.check import check
from video_salmonn.evaluation.save.published import PUBLISHED

# Counts of the published files; LibriSpeech's and LRS2's are the corpora's own, those of AudioCaps (whose clips vanish)
# and MUSIC-AVQA are not known here.
PUBLISHED_COUNTS = {
    "librispeech": 2620, "audiocaps": None, "flickr30k": 1000, "textvqa": 5000, "gqa": 12577, "nextqa": 1000,
    "how2": 531,
    "ego4d_qa": 899, "presentation_qa": 963, "avssd": 847, "avm": 1000, "avsd": 494 * 10 + 5 * 9 + 7,
    "music_avqa": None, "lrs2": 1243,
}  # fmt: skip
ITEMS = {
    "librispeech": 2, "audiocaps": 2, "flickr30k": 2, "textvqa": 2, "gqa": 2, "nextqa": 2, "how2": 2, "ego4d_qa": 2,
    "presentation_qa": 1, "avssd": 2, "avm": 4, "avsd": 3, "music_avqa": 3, "lrs2": 2,
}  # fmt: skip


@pytest.mark.parametrize("name", TASK_IDS)
def test_every_schema_loads_with_all_its_media(name, data):
    this = task(name)
    entries, located, _ = this.load(data)
    assert this.id == name and this.expected == PUBLISHED_COUNTS[name]
    assert len(entries) == ITEMS[name] and not located.missing and not located.ambiguous
    items = this.items(entries, located)
    assert [item.id for item in items] == [entry.id for entry in entries]
    for item in items:
        assert item.prompt.strip() and "{" not in item.prompt
        assert not item.media.empty
        for path in (item.media.video, item.media.image, item.media.sound):
            assert path is None or path.is_file()


def items_of(name, data):
    this = task(name)
    entries, located, _ = this.load(data)
    return this.items(entries, located)


def test_what_each_reader_makes_of_its_fields(data):
    libri = items_of("librispeech", data)[0]
    assert libri.id == "11-22-0000" and libri.annotation.references == ("A BRIGHT COLD DAY IN APRIL",)
    caps = items_of("audiocaps", data)
    assert [len(item.annotation.references) for item in caps] == [2, 1]
    assert caps[1].media.sound.name == "Y-Abc_dEf12_30.wav"
    assert len(items_of("textvqa", data)[0].annotation.references) == 10
    avm = items_of("avm", data)
    assert [item.annotation.part for item in avm] == ["vggss", "vggss", "spokencoco", "spokencoco"]
    assert avm[0].media.sound.name == "bbbb_000020.flac", "the other clip's sound, under another suffix"
    assert avm[2].media.image.suffix == ".jpg"
    music = items_of("music_avqa", data)
    assert music[0].annotation.question == "Is the violin in the video always playing?"
    assert music[2].annotation.question == "Where is the leftmost instrument, the cello?"
    assert [item.id for item in music] == ["8", "9", "12"] and music[0].annotation.part == "audio-visual"
    assert items_of("lrs2", data)[1].annotation.references == ("THAT'S ALL FROM US",)


def test_choices_are_shown_with_letters(data):
    prompt = items_of("nextqa", data)[0].prompt
    assert "A. clap proudly\nB. the lady sitting down\nC. lay on floor" in prompt


def test_dialogue_turns_see_the_true_earlier_turns(data):
    first, second, _ = items_of("avsd", data)
    assert "conversation" not in first.prompt
    assert "Q: is anyone in the room?\nA: yes, one woman" in second.prompt and second.prompt.endswith("does she speak?")
    assert second.annotation.references == ("no, she hums a tune",)


def test_missing_wav_uses_the_videos_own_sound_and_says_so(data):
    item = items_of("how2", data)[1]
    assert item.media.sound is None and "own sound" in item.notes[0]


def test_whole_recording_stands_in_for_its_clip_with_the_span(data):
    item = items_of("ego4d_qa", data)[1]
    assert item.media.video.name == "25f00000-1111.mp4" and (item.media.start, item.media.end) == (0.0, 17.0)
    assert "25f00000-1111__0.mp4 is missing" in item.notes[0]


def test_matching_never_falls_back_to_the_videos_own_sound(data):
    (data / "vggss/aaaa_000010.wav").unlink()
    _, located, _ = task("avm").load(data)
    assert located.missing == [("avm-00001", "aaaa_000010.wav")]


def test_mapping_file_decides(data):
    (data / "elsewhere").mkdir()
    (data / "elsewhere/x.jpg").touch()
    (data / "gqa.paths.json").write_text(json.dumps({"n161313.jpg": "elsewhere/x.jpg"}))
    assert items_of("gqa", data)[0].media.image == data / "elsewhere/x.jpg"


def test_ambiguous_names_are_reported_not_guessed(data):
    for folder in ("one", "two"):
        (data / folder).mkdir()
        (data / folder / "00000878.mp4").touch()
    (data / "music/00000878.mp4").unlink()
    _, located, _ = task("music_avqa").load(data)
    assert [name for name, _ in located.ambiguous] == ["8", "9"] and "one/00000878.mp4" in located.ambiguous[0][1]


def test_folder_named_as_the_task_settles_ambiguity(data):
    for folder in ("one", "music_avqa/videos"):
        (data / folder).mkdir(parents=True)
        (data / folder / "00000878.mp4").touch()
    assert items_of("music_avqa", data)[0].media.video == data / "music_avqa/videos/00000878.mp4"


@pytest.mark.parametrize(
    ("file", "change", "what"),
    [
        ("testdev_balanced_questions_with_images.json", lambda x: x[1].pop("answer"), "item 1 .*'answer' is missing"),
        ("testdev_balanced_questions_with_images.json", lambda x: x[0].update(answer=" "), "item 0 .*non-empty text"),
        (
            "testdev_balanced_questions_with_images.json",
            lambda x: x[0].update(image="../../x.jpg"),
            "item 0 .*not a usable name",
        ),
        ("testdev_balanced_questions_with_images.json", lambda x: x[0].update(image=None), "item 0 .*file name"),
        ("testdev_balanced_questions_with_images.json", lambda x: x.append(3), "item 2 .*not a JSON object"),
        ("textvqa.json", lambda x: x[0].update(answer=["", " "]), "item 0 .*holds no text"),
        ("nextqa_test.json", lambda x: x[1].update(answer="fly"), "item 1 .*none of the candidates"),
        ("ego4d_qa.json", lambda x: x[0].update(duration=[5, 2]), "item 0 .*start, end"),
        ("ego4d_qa.json", lambda x: x[0].update(duration=[0, float("nan")]), "item 0 .*start, end"),
        ("audiovisualmatching_combined.json", lambda x: x[0].update(answer="perhaps"), "item 0 .*neither yes nor no"),
        ("audiovisualmatching_combined.json", lambda x: x[0].update(image="a.mp4"), "item 0 .*and a sound"),
        ("avsd_textformat_subset.json", lambda x: x[0]["conversation"].append(["alone"]), "item 0 .*turn 2"),
        ("avqa-test.json", lambda x: x[2].update(templ_values="[]"), "item 2 .*2 slots"),
        ("avqa-test.json", lambda x: x[1].update(question_id=8), "'8' occurs twice"),
    ],
)
def test_bad_annotations_name_file_and_item(file, change, what, edit, data):
    path = edit(file, change)
    owner = next(t for t in tasks() if file in t.files)
    with pytest.raises(EvaluationError, match=what) as caught:
        owner.load(data)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", ["", "{}", "[]", "[1", "\xff"])
def test_files_that_hold_no_list_fail(content, data):
    file = data / "textvqa.json"
    file.write_bytes(content.encode("latin-1"))
    with pytest.raises(EvaluationError, match=r"textvqa\.json"):
        task("textvqa").load(data)


def test_bad_text_corpora_name_file_and_line(data):
    libri = data / "LibriSpeech/test-clean/11/22/11-22.trans.txt"
    libri.write_text("11-22-0000 HELLO\n11-22-0001\n")
    with pytest.raises(EvaluationError, match=r"trans\.txt: line 2: .*empty transcript"):
        task("librispeech").load(data)
    (data / "lrs2/main/1000000000000000001/00002.txt").unlink()
    with pytest.raises(EvaluationError, match="'1000000000000000001/00002' has no transcript"):
        task("lrs2").load(data)
    (data / "audiocaps/test.csv").write_text("youtube_id,caption\nx,y\n")
    with pytest.raises(EvaluationError, match="lacks the columns audiocap_id, start_time"):
        task("audiocaps").load(data)


def test_missing_annotations_say_where_to_get_them(tmp_path):
    with pytest.raises(EvaluationError, match=r"how2_test\.json") as caught:
        task("how2").load(tmp_path)
    assert "SAVEBench" in caught.value.remedy


def test_unknown_task_lists_the_known_ones():
    with pytest.raises(ConfigError, match="'howto'") as caught:
        tasks("gqa,howto")
    assert "how2" in caught.value.remedy
    assert [t.id for t in tasks("gqa, how2,gqa")] == ["gqa", "how2"]
    with pytest.raises(ConfigError):
        tasks(" , ")


def test_check_tells_counts_missing_media_and_sources(data):
    (data / "gqa/n161313.jpg").unlink()
    (data / "ego4d_qa.json").unlink()
    found = {entry.task: entry for entry in check(data, tasks())}
    assert found["music_avqa"].ok and found["audiocaps"].ok
    assert not found["nextqa"].ok and "holds 2 items where the published file has 1000" in found["nextqa"].problem
    assert found["gqa"].lacking == 2 and found["gqa"].missing[0] == ("gqa-00000", "n161313.jpg")
    assert "GQA project" in found["gqa"].remedy
    assert found["ego4d_qa"].annotations is None and "Ego4D" in found["ego4d_qa"].remedy
    assert found["how2"].stand_ins == 1
    assert json.loads(json.dumps([entry.to_dict() for entry in found.values()]))


def test_a_file_of_the_right_length_with_other_contents_is_told_apart(data, edit, monkeypatch):
    avm = replace(task("avm"), expected=4, counts={"part vggss": 2, "part vggss, yes": 1, "part spokencoco, no": 1})
    assert check(data, [avm])[0].ok
    edit(
        "audiovisualmatching_combined.json",
        lambda items: items[0].update(answer="No" if "Y" in items[0]["answer"] else "Yes"),
    )
    (found,) = check(data, [avm])
    assert not found.ok and "part vggss, yes, published 1" in found.problem and found.remedy
    gqa = replace(task("gqa"), expected=2, counts={"pictures and videos": 398})
    assert "1 pictures and videos, published 398" in check(data, [gqa])[0].problem
    nextqa = replace(task("nextqa"), expected=2, counts={"pictures and videos": 2, "different answers": 2})
    assert check(data, [nextqa])[0].ok
    ego = replace(task("ego4d_qa"), expected=2, counts={"whole recordings": 2})
    assert check(data, [ego])[0].ok


def test_published_numbers_are_on_this_packages_scale():
    assert set(PUBLISHED) == set(TASK_IDS) - {"avsd"}
    assert all(0 < row.value < 1 for row in PUBLISHED.values())
    assert (PUBLISHED["ego4d_qa"].value + PUBLISHED["presentation_qa"].value) / 2 == pytest.approx(0.602, abs=1e-3)
