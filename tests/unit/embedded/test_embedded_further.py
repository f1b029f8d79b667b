"""Further media: out of a git clone, small, with their splits; painted walls; names by the encoders' own heads."""

import json
import random
import subprocess
import wave
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from serving_client import CLIP
from video_salmonn.cli.main import app
from video_salmonn.embedded.data.asking.registry import QUESTIONS
from video_salmonn.embedded.data.further.git import GitFolder
from video_salmonn.embedded.data.further.heard import ESC50, HEARD, VAGUE
from video_salmonn.embedded.data.further.names import KEPT_EVERY, Names, read_names, with_names, write_names
from video_salmonn.embedded.data.further.prepare import prepare
from video_salmonn.embedded.data.further.seen import WIDER, imagenet_names, seen_phrase
from video_salmonn.embedded.data.further.sources import grid_split, held_out_recordings, read_further
from video_salmonn.embedded.data.further.teachers import colour_of, sure_sounds
from video_salmonn.embedded.data.further.text import prompts
from video_salmonn.embedded.data.further.walls import PAINTS, first_frame, paint, write_walls
from video_salmonn.embedded.data.render import RATE, read_sound
from video_salmonn.embedded.data.sources import Source
from video_salmonn.embedded.data.stock import Stock
from video_salmonn.errors import ConfigError, ManifestError


def wave_file(path, seconds=0.5, rate=22_050):
    path.parent.mkdir(parents=True, exist_ok=True)
    tone = (np.sin(np.arange(int(seconds * rate)) / 10) * 9000).astype("<i2")
    with wave.open(str(path), "wb") as stream:
        stream.setnchannels(1)
        stream.setsampwidth(2)
        stream.setframerate(rate)
        stream.writeframes(tone.tobytes())


def commit(folder):
    run = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(folder)]
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "all"]):
        subprocess.run([*run, *arguments], check=True)


@pytest.fixture
def clones(tmp_path):
    voice = tmp_path / "clones" / "rhasspy+dataset-voice-kathleen"
    for number in range(3):
        wave_file(voice / "data" / f"a{number}.wav")
        (voice / "data" / f"a{number}.txt").write_text(f"Sentence {number}, said.\n")
    (voice / "data" / "a2.wav").write_bytes(b"no sound")
    commit(voice)
    things = tmp_path / "clones" / "RecycleNet"
    (things / "data/dataset-resized/glass").mkdir(parents=True)
    Image.new("RGB", (500, 300), "white").save(things / "data/dataset-resized/glass/glass1.jpg")
    commit(things)
    (tmp_path / "data").mkdir()
    return tmp_path


def test_recordings_and_pictures_come_small_out_of_clones(clones):
    out = clones / "further"
    table = prepare(clones / "clones", clones / "data", out, ["kathleen", "recycle"])
    assert table["kathleen"]["items"] == 2 and "a2" in table["kathleen"]["failed"][0]
    rows = [json.loads(line) for line in (out / "speech" / "kathleen.jsonl").read_text().splitlines()]
    assert rows[0]["text"] == "Sentence 0, said." and rows[0]["licence"] == "CC0"
    assert rows[0]["source"].startswith("rhasspy/dataset-voice-kathleen@")
    sound = read_sound(out / "speech" / rows[0]["media"])
    assert len(sound) == pytest.approx(0.5 * RATE, abs=800) and np.abs(sound).max() > 0.1
    assert max(Image.open(out / "images" / "recycle" / "glass1.jpg").size) == 224
    before = (out / "speech" / rows[0]["media"]).stat().st_mtime_ns
    prepare(clones / "clones", clones / "data", out, ["kathleen"])
    assert (out / "speech" / rows[0]["media"]).stat().st_mtime_ns == before
    sources = {source.id: source for source in read_further(out, out)}
    assert sources["kathleen:a0"].text == "sentence 0 said" and sources["kathleen:a0"].extra["gender"] == "woman"
    assert sources["recycle:glass1"].kind == "material"


def test_a_missing_clone_and_an_unknown_collection_are_one_error(clones):
    with pytest.raises(ManifestError, match="LipNet"):
        prepare(clones / "clones", clones / "data", clones / "out", ["grid_more"])
    with pytest.raises(ConfigError, match="no such collections: nothing"):
        prepare(clones / "clones", clones / "data", clones / "out", ["nothing"])
    (clones / "clones" / "soundfx").mkdir()
    with pytest.raises(ManifestError, match="no git repository"):
        prepare(clones / "clones", clones / "data", clones / "out", ["soundfx"])
    command = ["data", "prepare-further", "--clones", str(clones / "clones"), "--source", str(clones / "data")]
    result = CliRunner().invoke(app, [*command, "--out", str(clones / "out"), "--collection", "grid_more"])
    assert result.exit_code == 2 and "LipNet" in result.output


def test_a_clone_is_read_at_its_commit_not_from_its_work_tree(clones):
    folder = clones / "clones" / "RecycleNet"
    (folder / "later.txt").write_text("not committed")
    files = GitFolder(folder, "JMadiedo/RecycleNet")
    assert files.files == ["data/dataset-resized/glass/glass1.jpg"]
    assert [name for name, _ in files.read(["nothing", *files.files])] == files.files


def test_every_class_has_recordings_in_the_test():
    rows = [
        {"label": label, "recording": f"{label}{n}"} for label, count in (("cow", 5), ("cat", 1)) for n in range(count)
    ]
    tested = held_out_recordings(rows)
    assert "cat0" in tested and sum(name.startswith("cow") for name in tested) == 3
    assert held_out_recordings(rows[::-1]) == tested


def test_sentences_of_grid_are_in_the_same_split_everywhere():
    from video_salmonn.embedded.data.sources import bucket

    for name in ("prii7s", "bgia2n", "swbo8n"):
        assert (grid_split(name) == "test") == (bucket(name, 18) < 3)


@pytest.mark.parametrize("colour", sorted(PAINTS))
def test_only_the_wall_changes_its_colour(colour):
    frame = np.zeros((40, 40, 3), np.uint8)
    frame[:] = (20, 140, 200)
    frame[10:30, 10:30] = (200, 150, 120)
    painted = np.asarray(paint(Image.fromarray(frame), colour))
    assert np.abs(painted[20, 20].astype(int) - frame[20, 20]).max() < 6
    assert colour_of(np.broadcast_to(painted[2, 2], (64, 64, 3)).copy()) == colour


def test_a_clip_is_shown_before_its_own_wall_and_before_painted_ones(tmp_path):
    rows = write_walls([("c", CLIP, "train")], tmp_path / "images", "CC0", "made up")
    assert [row["wall"] for row in rows][-1] == "blue" and len({row["wall"] for row in rows}) == 4
    stills = [np.asarray(Image.open(tmp_path / "images" / row["media"]).convert("RGB"), int) for row in rows]
    own = np.asarray(first_frame(CLIP).resize((256, 204)), int)
    assert np.abs(stills[-1] - own).mean() < 8, "its own wall is not painted"


def test_heads_names_are_whole():
    names = imagenet_names()
    assert len(names) == 1000 and all(names) and names[207] == "Golden Retriever" and names[954] == "banana"
    assert seen_phrase(340) == "a zebra" and seen_phrase(447) == "binoculars" and seen_phrase(880) == "a unicycle"
    assert all(0 <= index < 1000 for members in WIDER.values() for index in members)
    assert set(VAGUE) <= set(HEARD) and set(ESC50.values()) <= set(HEARD)


def test_a_vague_name_gives_way_to_a_clear_one():
    found = dict.fromkeys(HEARD, 0.0)
    assert sure_sounds(found) == ()
    assert sure_sounds(found | {"music": 0.9}) == ("music",)
    assert sure_sounds(found | {"music": 0.9, "a piano": 0.8, "a harp": 0.4}) == ("a piano",)


def test_training_sounds_without_a_name_get_the_heads_and_others_are_left_out(tmp_path):
    def sound(name, split):
        return Source(f"esc50:{name}", "unnamed-sound", f"{name}.opus", split, "CC0", "x", label="cow")

    names = [Names("esc50:1", ("a cow mooing",)), Names("esc50:2"), Names("esc50:3", ("a dog barking",))]
    assert write_names(tmp_path, names) == 3 and list(read_names(tmp_path)) == names

    def stopped() -> Iterator[Names]:
        yield from (Names(str(number)) for number in range(KEPT_EVERY))
        yield Names("not yet written")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_names(tmp_path, stopped())
    assert len(list(read_names(tmp_path))) == KEPT_EVERY, "what a stopped run found is there for the next"
    more = [Names(str(number)) for number in range(2 * KEPT_EVERY)]
    assert write_names(tmp_path, more) == len(more)
    with pytest.raises(KeyboardInterrupt):
        write_names(tmp_path, stopped())
    assert list(read_names(tmp_path)) == more, "a run that is stopped early takes nothing away"
    sources = [sound("1", "train"), sound("2", "train"), sound("3", "train"), sound("4", "test")]
    found = {source.id: (source.kind, source.label) for source in with_names(sources, names)}
    assert found == {"esc50:1": ("sound", "a cow mooing"), "esc50:3": ("sound", "dog bark"),
                     "esc50:4": ("unnamed-sound", "cow")}  # fmt: skip


def test_what_a_head_knows_is_asked_and_answered():
    def stamp(name, sure, absent):
        extra = {"names": sure, "absent": absent}
        return Source(f"stamps:{name}", "stamp", f"{name}.jpg", "train", "CC0", "x", text=f"{name}.", extra=extra)

    stamps = [stamp("a", ("a zebra", "a horse"), ("a cat", "a bus")), stamp("b", ("a cat",), ("a zebra", "a horse"))]
    taught = Source("esc50:1", "unnamed-sound", "1.opus", "test", "CC0", "x", label="cow")
    stock = Stock("train", {"stamp": stamps, "unnamed-sound": [taught]}, [], random.Random(0))
    named = list(QUESTIONS["teacher_pictures"][0](stock, 10))
    assert {item.answer for item in named} == {"A zebra.", "A cat."} and len(named) == 10
    asked = list(QUESTIONS["teacher_presence"][0](stock, 40))
    assert {item.answer for item in asked} == {"Yes.", "No."}
    (sound,) = QUESTIONS["teacher_sounds"][0](stock, 0)
    assert sound.answer == "A cow mooing." and sound.task == "sound-teacher"


def test_prompts_without_media_are_many_and_different():
    found = prompts(600)
    assert len(found) == len(set(found)) == 600 and prompts(600) == found
    assert not any("(" in text or "|" in text for text in found)
