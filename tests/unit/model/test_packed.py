"""Libraries for packed layers are imported when somebody asks for packed layers, and not before."""

import subprocess
import sys
from importlib.util import find_spec

import pytest

from video_salmonn.model import packed

LOADED = """
import sys
from video_salmonn import VideoSalmonn
VideoSalmonn.load("tiny").ask([], "What is said?", max_new_tokens=2)
print([name for name in ("bitsandbytes", "torchao", "kernels") if name in sys.modules])
"""


@pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
def test_nothing_is_said_of_kernels_where_nothing_packed_was_asked_for():
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    assert "kernels" not in done.stderr and "bitsandbytes" not in done.stderr


def test_hidden_libraries_can_be_found_again(monkeypatch):
    monkeypatch.setattr(packed, "LIBRARIES", ("wave", "json"))
    monkeypatch.delitem(sys.modules, "wave", raising=False)
    with packed.unasked():
        assert find_spec("wave") is None and find_spec("json") is not None, "what is imported already stays"
        with pytest.raises(ImportError):
            import wave  # noqa: F401
    assert find_spec("wave") is not None
