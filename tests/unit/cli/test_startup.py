"""Starting up: what commands import, what importing the package changes, and how soon bad usage is answered."""

import gc
import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from video_salmonn.cli.main import app
from video_salmonn.cli.startup import without_collection, without_scipy

BAD = [
    (["setup", "--nonsense"], "No such option"),
    (["eval", "report", "no-such-folder"], "cannot be read"),
    (["verify", "no-such-folder"], "no golden files"),
    (["ask", "--released-json", "nofile.json"], "cannot be read (No such file or directory)"),
    (["ask", "nofile.mp4", "Eh?", "--model", "tiny"], "nofile.mp4"),
    (["transcribe", "nofile.wav", "--model", "tiny"], "nofile.wav"),
]


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)


@pytest.mark.parametrize(("arguments", "words"), BAD)
def test_bad_usage_is_answered_before_anything_heavy_is_imported(arguments, words):
    code = (
        "import sys; from video_salmonn.cli.main import app\n"
        f"try: app({arguments!r})\n"
        "except SystemExit as error: print('code', error.code)\n"
        "print([m for m in ('torch', 'transformers') if m in sys.modules])"
    )
    done = python(code)
    assert done.stdout.split() == ["code", "2", "[]"], done.stdout
    assert words in " ".join(done.stderr.split())


def test_a_missing_file_is_not_called_unreadable_json(tmp_path):
    result = CliRunner().invoke(app, ["ask", "--released-json", str(tmp_path / "none.json"), "--json"])
    error = json.loads(result.stdout)["error"]
    assert result.exit_code == 2 and "JSON" not in error["message"] and error["remedy"] == "check the path"
    (tmp_path / "bad.json").write_text("{")
    result = CliRunner().invoke(app, ["ask", "--released-json", str(tmp_path / "bad.json"), "--json"])
    assert "not JSON" in json.loads(result.stdout)["error"]["message"]


def test_a_command_loads_nothing_unasked():
    unasked = ("peft", "bitsandbytes", "torchao", "kernels", "sklearn", "matplotlib", "scipy", "pandas", "datasets")
    unasked += ("onnx", "onnxruntime", "ctranslate2", "gguf")
    code = (
        "import sys; from video_salmonn.cli.options import load_engine\n"
        "engine = load_engine('tiny', 'cpu', None)\n"
        "engine.ask(None, 'Eh?', max_new_tokens=2)\n"
        f"print([m for m in {unasked!r} if m in sys.modules])"
    )
    done = python(code)
    assert done.stdout.strip() == "[]" and "kernels" not in done.stderr


def test_transformers_finds_scipy_again_after_a_block_without():
    from transformers import utils

    found = utils.is_scipy_available
    with pytest.raises(KeyError), without_scipy():
        assert not utils.is_scipy_available()
        raise KeyError
    assert utils.is_scipy_available is found


def test_importing_the_package_changes_nothing():
    code = """
import gc, locale, logging, os, random, signal, sys, threading, warnings
def state():
    return {
        "threads": (threading.active_count(), len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self") else 0),
        "environment": dict(os.environ), "path": list(sys.path), "hooks": (sys.excepthook, sys.displayhook),
        "filters": list(warnings.filters), "log": (logging.root.level, list(logging.root.handlers)),
        "signals": {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)},
        "locale": locale.setlocale(locale.LC_ALL), "random": random.getstate(), "collection": gc.isenabled(),
        "finders": list(sys.meta_path), "limit": sys.getrecursionlimit(), "directory": os.getcwd(),
    }
before = state()
import video_salmonn
after = state()
changed = [name for name in before if before[name] != after[name]]
assert not changed, changed
"""
    done = python(code)
    assert done.stdout == done.stderr == ""


def test_collection_is_paused_and_comes_back():
    assert gc.isenabled()
    with pytest.raises(KeyError), without_collection():
        assert not gc.isenabled()
        raise KeyError
    assert gc.isenabled() and gc.get_freeze_count() > 0
    gc.unfreeze()
    gc.disable()
    try:
        with without_collection():
            pass
        assert not gc.isenabled()
    finally:
        gc.unfreeze()
        gc.enable()
