"""What a user sees of commands and options that cannot work: one clear error, at once; and text printed as it is."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from rich.console import Console
from typer.testing import CliRunner

from video_salmonn import VideoSalmonn
from video_salmonn.cli import output, progress
from video_salmonn.cli.main import app
from video_salmonn.cli.output import emit_json, json_mode, reports_errors, stdout
from video_salmonn.errors import ConfigError, MediaError
from video_salmonn.inference.options import checked
from video_salmonn.inference.questions import MediaQuestion
from video_salmonn.resources.placement import checked_device

FLOWER = Path(__file__).parents[1] / "fixtures" / "media" / "flower.webm"
SHORT = {"max_new_tokens": 3}
LONE = "What is \ud83d this?"


@pytest.fixture(scope="module")
def engine():
    return VideoSalmonn.load("tiny")


def run(*arguments, lines=None):
    result = CliRunner().invoke(app, [str(a) for a in arguments], input=lines)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def json_error(result):
    """The error of a command with --json: its one value on stdout."""
    value = json.loads(result.stdout)
    assert result.exit_code == 2 and set(value) == {"error"} and set(value["error"]) == {"type", "message", "remedy"}
    assert value["error"]["message"] and value["error"]["remedy"] and "Traceback" not in result.stderr
    return value["error"]


# ------------------------------------------------------------------------------------------------------- devices


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:7", "gpu", "meta", "", "mps:3", "xpu"])
def test_a_device_that_is_not_here_is_one_error(monkeypatch, device):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(ConfigError, match=r"device .*"):
        VideoSalmonn.load("tiny", device=device)
    error = json_error(run("ask", FLOWER, "What?", "--model", "tiny", "--device", device, "--json"))
    assert error["type"] == "ConfigError" and "cpu" in error["remedy"]


def test_a_gpu_beyond_those_here_is_named_and_the_cpu_is_always_here(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ConfigError, match="cuda:2") as error:
        checked_device("cuda:2")
    assert "cuda:0, cuda:1" in error.value.remedy
    assert checked_device("cuda:1") == torch.device("cuda:1") and checked_device("cpu").type == "cpu"


# ------------------------------------------------------------------------------------------------------- questions


def test_half_a_character_in_a_question_is_one_error(engine):
    messages = [{"role": "user", "content": [{"type": "text", "text": LONE}]}]
    earlier = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": LONE},
        {"role": "user", "content": "b"},
    ]
    for call in (
        lambda: engine.ask(FLOWER, LONE),
        lambda: engine.ask(None, LONE),
        lambda: engine.ask(None, messages),
        lambda: engine.ask(None, earlier),
        lambda: list(engine.stream(None, LONE)),
        lambda: engine.chat(None).ask(LONE),
        lambda: engine.likelihoods(MediaQuestion("What?"), ["Yes", LONE]),
        lambda: engine.processor(LONE),
        lambda: engine.processor.apply_chat_template(messages),
    ):
        with pytest.raises(ConfigError, match="surrogate"):
            call()
    assert engine.ask(None, "What is \U0001f600 this?\0", **SHORT).text is not None
    assert "surrogate" in json_error(run("ask", FLOWER, "a\udcffb", "--model", "tiny", "--json"))["message"]


@pytest.mark.parametrize("question", [7, None, [], [7], [{"role": "user", "content": 7}], [{"content": "a"}], b"What?"])
def test_what_is_no_question_is_one_error(engine, question):
    with pytest.raises(ConfigError):
        engine.ask(None, question)


def test_a_question_is_refused_before_anything_is_decoded(engine):
    with pytest.raises(ConfigError, match="question is empty"):
        engine.ask("nowhere.mp4", "  ")
    with pytest.raises(ConfigError, match="not after start"):
        engine.ask("nowhere.mp4", "What?", start=5.0, end=1.0)


# ------------------------------------------------------------------------------------------------------- options


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 0},
        {"temperature": 0.0},
        {"seed": 2**64},
        {"seed": -1},
        {"num_beams": 10**9},
        {"zero_levels": (99,)},
        {"zero_levels": 1},
        {"zero_levels": ("0",)},
        {"cache_implementation": "nonsense"},
        {"stop_strings": 5},
        {"eos_token_id": "x"},
        {"do_sample": True, "typical_p": 7.0},
        {"num_beams": 3, "num_beam_groups": 2},
        {"start": "soon"},
        {"video_stream": "first"},
        {"limits": 5},
        {"frame_times": "often"},
    ],
    ids=str,
)
def test_an_option_that_is_impossible_is_one_error_that_names_it(engine, options):
    with pytest.raises(ConfigError) as error:
        engine.ask(FLOWER, "What?", **SHORT, **options)
    assert any(name in str(error.value) for name in options) and error.value.remedy


def test_the_largest_seed_draws_and_numpy_numbers_are_numbers(engine):
    draw = {"do_sample": True, "temperature": 3.0, **SHORT}
    texts = [engine.ask(None, "What?", seed=2**64 - 1, **draw).text for _ in range(2)]
    assert texts[0] == texts[1]
    assert checked({"max_new_tokens": np.int64(3), "temperature": np.float32(0.5), "seed": np.uint8(1)})
    with pytest.raises(ConfigError):
        checked({"max_new_tokens": np.float64(3.0)})


def test_an_option_without_effect_is_said(engine):
    said = engine.ask(None, "What?", temperature=0.7, **SHORT).report["warnings"]
    assert any("temperature had no effect" in warning for warning in said)
    for options in ({"temperature": 0.7, "do_sample": True}, {"temperature": 1.0}, {}):
        assert not any("no effect" in w for w in engine.ask(None, "What?", **options, **SHORT).report["warnings"])


# ------------------------------------------------------------------------------------------------------- files


def bad_files(folder):
    (folder / "loop").symlink_to(folder / "loop")
    os.mkfifo(folder / "pipe.mp4")
    (folder / "empty.mp4").touch()
    locked = folder / "locked.mp4"
    locked.write_bytes(FLOWER.read_bytes())
    locked.chmod(0)
    return ["x" * 5000 + ".mp4", "", folder, folder / "loop", folder / "pipe.mp4", folder / "empty.mp4",
            FLOWER / "inside.mp4", "ftp://example.com/a.mp4", *([locked] if os.getuid() else [])]  # fmt: skip


@pytest.mark.parametrize("command", ["ask", "chat", "probe", "inspect"])
def test_a_file_that_cannot_be_opened_is_one_json_error(tmp_path, command):
    rest = {"ask": ["What?"], "inspect": ["--out", tmp_path / "page.html"]}.get(command, [])
    more = [] if command == "probe" else ["--model", "tiny"]
    for file in bad_files(tmp_path):
        error = json_error(run(command, file, *rest, *more, "--json", lines="What?\n"))
        assert str(file)[:60] in error["message"] or "empty" in error["message"]
        error = json_error(run(command, FLOWER, "--sound", file or "no", *rest, *more, "--json", lines="What?\n"))
        assert error["type"] in ("MediaError", "EmptyMediaError", "LimitError")


def test_a_disk_that_fails_while_a_file_is_read_is_a_media_error(engine):
    class Failing(io.BytesIO):
        name = "drive/clip.webm"

        def read(self, size=-1):
            if self.tell() > 20_000:
                raise OSError(5, "Input/output error")
            return super().read(size)

    data = FLOWER.read_bytes()
    for call in (
        lambda: engine.ask(Failing(data), "What?", on_corrupt="raise", **SHORT),
        lambda: engine.processor("What?", media=[Failing(data)], on_corrupt="raise"),
    ):
        try:
            call()
        except MediaError as error:
            assert "clip.webm" in str(error)
        else:
            assert any("stopped" in w for w in engine.ask(Failing(data), "What?", **SHORT).report["warnings"])


def test_an_unforeseen_system_error_and_a_fault_are_still_one_json_value(monkeypatch):
    def failing(error):
        @reports_errors
        def command(as_json=True):
            print("a library prints this")
            raise error

        return command

    for error, code in ((PermissionError(13, "Permission denied", "a.json"), 2), (ZeroDivisionError("x"), 1)):
        out, err = io.StringIO(), io.StringIO()
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        with pytest.raises(typer.Exit) as stop:
            failing(error)(as_json=True)
        monkeypatch.undo()
        assert stop.value.exit_code == code and set(json.loads(out.getvalue())) == {"error"}
        assert "a library prints this" in err.getvalue()
        with pytest.raises((ZeroDivisionError, typer.Exit)):
            failing(error)(as_json=False)


def test_a_value_that_was_printed_is_not_followed_by_another(monkeypatch):
    @reports_errors
    def command(as_json=True):
        emit_json({"answer": 1})
        raise MediaError("a.mp4", "is gone")

    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    with pytest.raises(typer.Exit):
        command(as_json=True)
    monkeypatch.undo()
    assert json.loads(out.getvalue()) == {"answer": 1} and "a.mp4: is gone" in err.getvalue()


@pytest.mark.parametrize(
    "arguments",
    [["chat"], ["probe"], ["ask", "--no-such"], ["inspect", "a.mp4"], ["nonsense"], ["info", "tiny", "--clip", "x"]],
    ids=str,
)
def test_a_usage_error_with_json_is_json(arguments):
    assert json_error(run(*arguments, "--json"))["type"] == "UsageError"
    assert run(*arguments).exit_code == 2


@pytest.mark.parametrize("clip", ["nan", "inf"])
def test_a_clip_of_no_length_is_one_error(clip):
    assert "clip" in json_error(run("info", "tiny", "--clip", clip, "--json"))["message"]


# ------------------------------------------------------------------------------------------------------- printing


def printed(*arguments, encoding):
    """The command in a process of its own, on a terminal of that encoding."""
    environment = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    command = [sys.executable, "-m", "video_salmonn", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, env=environment, timeout=120, check=False)


def test_probe_on_an_ascii_terminal(tmp_path):
    odd = tmp_path / "10:100:00 [red]é\U0001f600.webm"
    odd.write_bytes(FLOWER.read_bytes())
    result = printed("probe", odd, encoding="ascii")
    text = result.stdout.decode("ascii")
    assert result.returncode == 0 and b"Traceback" not in result.stderr
    assert "10:100:00 [red]\\xe9\\U0001f600.webm" in text and "0.00-5" in text
    for encoding in ("ascii", "latin-1", "utf-8"):
        value = json.loads(printed("probe", odd, "--json", encoding=encoding).stdout.decode(encoding))
        assert value["source"] == str(odd)
    missing = printed("probe", tmp_path / "é:100:.mp4", encoding="ascii")
    assert missing.returncode == 2 and b"\\xe9:100:.mp4: no such file" in missing.stderr


def test_times_and_brackets_are_printed_as_they_are(capsys):
    text = "from 10:100:00 to :smile: [bold]in[/bold] [/nowhere]"
    stdout.print(text)
    output.stderr.print(text)
    with pytest.raises(typer.Exit):
        output.fail(MediaError("10:100:00.mp4", "[red]x[/red]", remedy=":100: [/]"), as_json=False)
    out, err = capsys.readouterr()
    assert out == text + "\n" and err.startswith(text)
    assert "10:100:00.mp4: [red]x[/red]" in err and ":100: [/]" in err


def test_a_library_that_prints_does_not_spoil_the_json(capsys):
    with json_mode():
        print("No module named 'kernels'")
        emit_json({"a": 1})
    out, err = capsys.readouterr()
    assert json.loads(out) == {"a": 1} and "kernels" in err


# ------------------------------------------------------------------------------------------------------- at once


@pytest.mark.parametrize(
    "arguments",
    [
        ["ask", "nowhere.mp4", "What?"],
        ["ask", FLOWER, " "],
        ["ask", FLOWER, "What?", "--start", "99"],
        ["ask", FLOWER, "What?", "--start", "4", "--end", "2"],
        ["ask", FLOWER, "What?", "--max-new-tokens", "0"],
        ["ask", FLOWER, "What?", "--num-beams", "0"],
        ["ask", FLOWER, "What?", "--long", "cut"],
        ["ask", FLOWER, "What?", "--dtype", "int3"],
        ["ask", FLOWER, "What?", "--profile", "paper"],
        ["ask", FLOWER, "What?", "--model", "no/such/model"],
        ["ask", FLOWER, "What?", "--sound", "nowhere.wav"],
        ["ask", "http://example.com/a.mp4", "What?"],
        ["ask", "--released-json", "nowhere.json"],
        ["ask", FLOWER, "What?", "--device", "gpu"],
        ["ask", FLOWER, "What?", "--quantise", "int3"],
        ["ask", FLOWER, "What?", "--kv-cache", "small"],
        ["ask", FLOWER, "What?", "--quantiser", "torchao"],
        ["chat", FLOWER, "--device", "mps:7x"],
        ["info", "nowhere"],
        ["data", "pack", "nowhere.yaml", "--out", "pack"],
        ["eval", "save", "--data", "nowhere", "--model", "tiny", "--out", "out"],
        ["eval", "save", "--data", "nowhere", "--model", "nowhere", "--out", "out"],
        ["eval", "save", "--data", "nowhere", "--model", "tiny", "--out", "out", "--tasks", "nonsense"],
        ["eval", "held-out", "--manifests", "no", "--features", "no", "--out", "out", "--groups", "nonsense"],
        ["eval", "held-out", "--manifests", "no", "--features", "no", "--out", "out"],
        ["train", "nowhere.yaml"],
        ["chat", "nowhere.mp4"],
        ["inspect", "nowhere.mp4", "--out", "page.html"],
        ["inspect", FLOWER, "--out", "page.html", "--question", ""],
        ["inspect", FLOWER, "--out", "page.pdf"],
    ],
    ids=lambda arguments: " ".join(str(getattr(a, "name", a)) for a in arguments),
)
def test_bad_input_is_refused_before_anything_heavy_is_imported(arguments):
    """PyTorch and transformers take seconds to import, and a model seconds to load: none of it happens."""
    script = (
        "import sys\n"
        "class Heavy:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        assert name not in ('torch', 'transformers'), name\n"
        "sys.meta_path.insert(0, Heavy())\n"
        "from video_salmonn.cli.main import run\n"
        "run()\n"
    )
    command = [sys.executable, "-c", script, *map(str, arguments), "--json"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 2, result.stderr
    error = json.loads(result.stdout)["error"]
    assert error["type"] in (
        "MediaError",
        "EmptyMediaError",
        "LimitError",
        "ConfigError",
        "CheckpointError",
        "ManifestError",
    )


def test_names_that_are_checked_early_are_those_of_the_parts_that_are_heavy():
    from video_salmonn.cli import checks
    from video_salmonn.inference.options import KV_CACHES, PACKED
    from video_salmonn.model import presets
    from video_salmonn.resources import placement, quantise

    assert tuple(presets.PRESETS) == checks.PRESETS
    assert tuple(placement.KV_CACHES) == KV_CACHES and tuple(quantise.BACKENDS) == PACKED


def on_a_terminal(*arguments, kind):
    """Stdout of the command, and what its stderr shows where that is a terminal."""
    master, slave = os.openpty()
    command = [sys.executable, "-m", "video_salmonn", *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=slave, env=os.environ | {"TERM": kind}) as process:
        os.close(slave)
        shown = b""
        with contextlib.suppress(OSError):  # the other end is closed: the command has ended
            while piece := os.read(master, 65536):
                shown += piece
        out = process.stdout.read()
    os.close(master)
    assert process.returncode == 0
    return out.decode(), shown.decode()


@pytest.mark.parametrize(("kind", "shown"), [("xterm", True), ("dumb", True), (None, False)])
def test_what_takes_its_time_is_named_on_a_terminal(monkeypatch, kind, shown):
    file = io.StringIO()
    console = Console(file=file, force_terminal=kind is not None, _environ={"TERM": kind or "xterm"})
    monkeypatch.setattr(progress, "stderr", console)
    with progress.working("loading the model tiny"):
        pass
    assert ("loading the model tiny ..." in file.getvalue()) is shown


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "openpty"), reason="no pseudo-terminals")
def test_progress_is_shown_on_a_terminal_and_nowhere_else():
    ask = ("ask", FLOWER, "What?", "--model", "tiny", "--max-new-tokens", 2)
    quiet = run(*ask)
    assert quiet.exit_code == 0 and "loading" not in quiet.stderr + quiet.stdout
    for more, kind in (("--json", "xterm"), ("--num-beams=2", "dumb")):
        out, shown = on_a_terminal(*ask, more, kind=kind)
        assert "loading the model tiny" in shown and "looking" in shown and "loading" not in out
        assert more != "--json" or json.loads(out)["model"] == "tiny"


@pytest.mark.parametrize("seed", ["-1", str(2**64)])
def test_a_seed_out_of_range_is_one_error_everywhere(tmp_path, seed):
    for command in (
        ["eval", "score", "--task", "avssd", "--predictions", FLOWER],
        ["data", "build-embedded", "--source", tmp_path, "--out", tmp_path],
    ):
        assert "seed" in json_error(run(*command, f"--seed={seed}", "--json"))["message"]
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("model: tiny\ndata:\n  train: [a.jsonl]\n")
    assert "seed" in run("train", recipe, "--set", f"seed={seed}").stderr
