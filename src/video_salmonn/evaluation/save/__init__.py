"""The tasks of SAVE (Sun et al., ICML 2024, table 1) and the paper's extra test sets: one small file each.

:func:`task` finds one by the id of the contract; :data:`TASK_IDS` lists them in the order of the paper's tables.
"""

from __future__ import annotations

from importlib import import_module

from video_salmonn.errors import ConfigError
from video_salmonn.evaluation.save.task import Task

TASK_IDS = (
    "librispeech",
    "audiocaps",
    "flickr30k",
    "textvqa",
    "gqa",
    "nextqa",
    "how2",
    "ego4d_qa",
    "presentation_qa",
    "avssd",
    "avm",
    "avsd",
    "music_avqa",
    "lrs2",
)


def task(name: str) -> Task:
    """The task of that id.

    Raises:
        ConfigError: if there is none; the remedy lists the ids.
    """
    if name not in TASK_IDS:
        raise ConfigError(f"no such task: {name!r}", remedy=f"choose among {', '.join(TASK_IDS)}")
    found: Task = import_module(f"video_salmonn.evaluation.save.{name}").TASK
    return found


def tasks(names: str = "all") -> list[Task]:
    """Tasks of a comma-separated list, or all of them; each once, in the order given."""
    wanted = TASK_IDS if names.strip() == "all" else [name.strip() for name in names.split(",") if name.strip()]
    if not wanted:
        raise ConfigError("no task named", remedy=f"choose among {', '.join(TASK_IDS)}, or say all")
    return [task(name) for name in dict.fromkeys(wanted)]
