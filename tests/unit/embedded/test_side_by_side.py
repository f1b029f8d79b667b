"""Work in several processes: all of it is told, and what ends one of them is said."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from video_salmonn.embedded.data.side_by_side import side_by_side
from video_salmonn.errors import ConfigError, MediaError


def numbers(share):
    for number in share:
        if number < 0:
            raise MediaError("a.wav", "cannot be read")
        if number > 99:
            os._exit(9)
        yield number


@pytest.mark.slow
def test_processes_tell_what_they_do_and_why_they_end():
    told: list[int] = []
    side_by_side(numbers, [[1, 2, 3], [4, 5]], told.append, wait=0.1)
    assert sorted(told) == [1, 2, 3, 4, 5]
    with pytest.raises(MediaError, match=r"a\.wav"):
        side_by_side(numbers, [[6, 7], [8, -1]], told.append, wait=0.1)
    assert sorted(told) == list(range(1, 9)), "the others come to their end"
    with pytest.raises(ConfigError, match="memory ran out"):
        side_by_side(numbers, [[100]], told.append, wait=0.1)


OWNER = """
import os, sys, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from video_salmonn.embedded.data.encode import _one_thread
from video_salmonn.embedded.data.side_by_side import side_by_side

def work(share):
    with ProcessPoolExecutor(1, get_context("spawn"), _one_thread) as pool:
        inner = pool.submit(os.getpid).result()
        while True:
            yield f"{os.getpid()} {inner}"
            time.sleep(0.05)

if __name__ == "__main__":
    side_by_side(work, [0, 1], lambda part: print(part, flush=True))
"""


def _there(process: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at processes in /proc")
def test_processes_end_with_the_one_that_started_them_however_it_ends(tmp_path: Path):
    script = tmp_path / "owner.py"
    script.write_text(OWNER)
    owner = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    seen: set[int] = set()
    while len(seen) < 4:
        line = owner.stdout.readline()
        assert line, "it ended by itself"
        seen |= {int(word) for word in line.split()}
    assert all(map(_there, seen))
    owner.kill()
    owner.wait()
    until = time.monotonic() + 20
    while any(map(_there, seen)) and time.monotonic() < until:
        time.sleep(0.1)
    left = [process for process in seen if _there(process)]
    for process in left:
        os.kill(process, signal.SIGKILL)
    assert not left
