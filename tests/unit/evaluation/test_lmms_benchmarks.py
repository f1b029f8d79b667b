"""Audio-visual benchmarks through lmms-eval, from the data sets' files to the score, on made items that only the sound
answers: two clips show the same pictures, and which letter is right depends on the tone."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from video_salmonn.errors import EvaluationError
from video_salmonn.evaluation.lmms_benchmarks import benchmarks

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "tests/unit/media"))
import media_make  # noqa: E402

HERE = importlib.util.find_spec("lmms_eval") is not None
OURS = Path(benchmarks.__file__).parent
LETTERS = "AB"
OPTIONS = ["A. a low tone", "B. a high tone", "C. a bell", "D. silence"]
QUESTION = "Which tone is heard?"


def rows(name: str) -> list[dict[str, Any]]:
    """Two items in the form of a benchmark's data set: the first clip has the low tone, the second the high one."""
    made = []
    for index, letter in enumerate(LETTERS):
        if name == "worldsense":
            row = {"index": index, "question": QUESTION, "candidates": OPTIONS, "answer": letter,
                   "task_type": "Audio Recognition", "task_domain": "Music", "duration": "<1min",
                   "audio_class": ["Music"], "video_path": f"videos/{index}.mp4"}  # fmt: skip
        elif name == "videomme":
            row = {"question_id": f"{index}-1", "videoID": str(index), "question": QUESTION, "options": OPTIONS,
                   "answer": letter, "duration": "short", "domain": "Knowledge", "sub_category": "Technology",
                   "task_type": "Object Recognition"}  # fmt: skip
        elif name == "video_holmes":
            options = {key: text[3:] for key, text in zip("ABCDEF", [*OPTIONS, "E. rain", "F. a saw"])}
            row = {"video ID": str(index), "Question": QUESTION, "Options": options, "Answer": letter,
                   "Question Type": "SR"}  # fmt: skip
        elif name == "daily_omni":
            row = {"video_id": str(index), "Question": QUESTION, "Choice": OPTIONS, "Answer": letter,
                   "Type": "AV Event Alignment", "video_category": "Music", "video_duration": "30s"}  # fmt: skip
        else:
            options = {f"option_{text[0]}": text[3:] for text in OPTIONS}
            row = {"video_id": index, "QA_id": index, "question": QUESTION, **options, "answer": letter,
                   "task_type": "Audio Information Extraction", "video_path": f"data/{index}.mp4"}  # fmt: skip
        made.append(row)
    return made


def place_clips(home: Path) -> dict[str, str]:
    """The two clips, where each benchmark looks for them; returns the variables of the environment."""
    snapshot = home / "datasets--TencentARC--Video-Holmes"
    folders = {
        "worldsense": home / "WorldSense/videos", "videomme": home / "videomme/data",
        "video_holmes": snapshot / "snapshots/made/videos_cropped", "avut": home / "avut",
    }  # fmt: skip
    for index, hz in enumerate((220.0, 1760.0)):
        sound = media_make.tone(2.0, 16_000, hz)
        for folder in folders.values():
            folder.mkdir(parents=True, exist_ok=True)
            media_make.write(folder / f"{index}.mp4", seconds=2.0, fps=10, rate=16_000, sound=sound)
        own = home / "daily" / str(index)
        own.mkdir(parents=True)
        media_make.write(own / f"{index}_video.mp4", seconds=2.0, fps=10, acodec=None)
        media_make.write(own / f"{index}_audio.wav", seconds=2.0, rate=16_000, sound=sound, vcodec=None,
                         acodec="pcm_s16le")  # fmt: skip
    (snapshot / "refs").mkdir()
    (snapshot / "refs/main").write_text("made")
    return {"HF_HOME": str(home), benchmarks.DAILY_OMNI: str(home / "daily"), benchmarks.AVUT: str(home / "avut")}


def test_documents_become_messages_with_their_sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in place_clips(tmp_path).items():
        monkeypatch.setenv(name, value)
    (daily, _), (avut, _) = rows("daily_omni"), rows("avut_human")
    (message,) = benchmarks.daily_omni_doc_to_messages(daily)
    assert [part["type"] for part in message["content"]] == ["video", "audio", "text"]
    assert [Path(part["url"]).name for part in message["content"][:2]] == ["0_video.mp4", "0_audio.wav"]
    assert "Choices: ['A. a low tone', 'B. a high tone'" in message["content"][2]["text"]
    (message,) = benchmarks.avut_doc_to_messages(avut)
    assert [part["type"] for part in message["content"]] == ["video", "text"]
    assert "\nB. a high tone\n" in message["content"][1]["text"]
    monkeypatch.setenv(benchmarks.AVUT, str(tmp_path / "nowhere"))
    with pytest.raises(EvaluationError, match="AVUT_VIDEOS"):
        benchmarks.avut_doc_to_messages(avut)
    (tmp_path / "daily/0/0_audio.wav").unlink()
    with pytest.raises(EvaluationError, match=r"0_audio\.wav: not there"):
        benchmarks.daily_omni_doc_to_messages(daily)


def test_answers_are_read_as_letters_or_as_the_options_text() -> None:
    (daily, other), (avut, _) = rows("daily_omni"), rows("avut_human")
    marks = [benchmarks.daily_omni_process_results(doc, [said]) for doc, said in ((daily, "A"), (other, "A bell."))]
    assert benchmarks.accuracy([mark["daily_omni_accuracy"] for mark in marks]) == 0.5
    assert benchmarks.daily_omni_30s([mark["daily_omni_30s"] for mark in marks]) == 0.5
    assert str(benchmarks.daily_omni_60s([mark["daily_omni_60s"] for mark in marks])) == "nan"
    for said, right in (("(A)", 1.0), ("a low tone", 1.0), ("B", 0.0), ("", 0.0)):
        assert benchmarks.avut_process_results(avut, [said])["avut_accuracy"]["right"] == right


TASKS = {
    "worldsense": ("worldsense_score", 100.0),
    "videomme": ("videomme_perception_score", 100.0),
    "video_holmes": ("video_holmes_accuracy", 100.0),
    "daily_omni": ("daily_omni_accuracy", 1.0),
    "avut_human": ("avut_accuracy", 1.0),
    "avut_gemini": ("avut_accuracy", 1.0),
}
"""Task -> its metric, and the score of answers that are all right."""


@pytest.mark.slow
@pytest.mark.skipif(not HERE, reason="lmms-eval is not installed (it is no dependency)")
def test_two_items_that_only_sound_answers_run_from_file_to_score(tmp_path: Path, monkeypatch: Any) -> None:
    for name, value in {**place_clips(tmp_path / "home"), "HF_DATASETS_OFFLINE": "1"}.items():
        monkeypatch.setenv(name, value)
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)  # read from the environment at import
    import lmms_eval
    from lmms_eval import evaluator
    from lmms_eval.tasks import TaskManager, get_task_dict

    from video_salmonn.evaluation.lmms_eval import VideoSalmonnForLmmsEval, read_messages

    theirs = Path(lmms_eval.__file__).parent / "tasks"
    folder = tmp_path / "tasks"
    folder.mkdir()
    for name in TASKS:
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows(name)))
        whole = OURS / f"{name}.yaml" if (OURS / f"{name}.yaml").is_file() else theirs / name / f"{name}.yaml"
        (folder / f"{name}_made.yaml").write_text(
            f"include: {whole}\ntask: {name}_made\ndataset_path: json\n"
            f"dataset_kwargs:\n  data_files: {folder / f'{name}.jsonl'}\ntest_split: train\n"
        )
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    names = [f"{name}_made" for name in TASKS]
    asked = []
    for task in get_task_dict(names, manager, task_type="chat").values():
        for doc in task.test_docs():
            conversation, media, _ = read_messages(task.doc_to_messages(doc))
            asked.append((conversation[0]["content"], media[0], LETTERS[len(asked) % 2]))
    assert len(asked) == 2 * len(TASKS)
    listening = VideoSalmonnForLmmsEval(pretrained="tiny", device="cpu", num_beams=1)
    fit(listening.engine, asked, tmp_path)
    deaf = VideoSalmonnForLmmsEval(pretrained="tiny", device="cpu", num_beams=1, sound="false")
    deaf.engine.model.load_state_dict(listening.engine.model.state_dict())
    for model, share in ((listening, 1.0), (deaf, 0.5)):
        found = evaluator.simple_evaluate(model=model, tasks=names, task_manager=manager, batch_size=1)["results"]
        for name, (metric, whole) in TASKS.items():
            assert found[f"{name}_made"][f"{metric},none"] == share * whole, (name, share)


def fit(engine: Any, asked: list[tuple[str, Any, str]], folder: Path) -> None:
    """Teach a random model these questions: it can tell two clips with the same pictures by their sound alone."""
    from video_salmonn.data.manifest import Item
    from video_salmonn.data.mixing import MixingConfig
    from video_salmonn.training.examples import ExampleMaker
    from video_salmonn.training.recipe import load_recipe
    from video_salmonn.training.stage import build_source, trainer_of

    items = []
    for index, (question, media, letter) in enumerate(asked):
        video, sound = media if isinstance(media, tuple) else (media, media)
        turns = [{"role": "user", "content": question}, {"role": "assistant", "content": letter}]
        items.append(Item(str(index), {"video": video, "audio": sound}, turns, "choice"))
    count = len(items)
    settings = [f"data.train=[{folder}]", "data.validation=null", "validate_every=0", f"output={folder / 'run'}"]
    settings += [f"batch_size={count}", f"micro_batch={count}", "max_steps=300", "optim.rate=0.003"]
    loaded = load_recipe(ROOT / "recipes/tiny.yaml", settings)
    model = engine.model
    maker = ExampleMaker(items, build_source(loaded, model, engine.processor), MixingConfig(enabled=False), 0)
    trainer = trainer_of(loaded, model, engine.processor, maker)
    while trainer.step < loaded.max_steps and trainer.train_step()["language_loss"] > 0.01:
        pass
    trainer.loader.close()
    model.eval()


def test_the_docs_name_every_task_file() -> None:
    text = (ROOT / "docs/evaluation.md").read_text("utf-8")
    for name in TASKS:
        assert f"`{name}`" in text, name
    assert {file.stem for file in OURS.glob("*.yaml")} <= set(TASKS)
