"""How2 dev5: speech in instruction videos (Sanabria et al. 2018). Paper: WER 7.7 %. 42 clips are longer than 30 s.

Fields ``image`` ([mp4, wav]), ``question``, ``answer`` (the transcript).
"""

from __future__ import annotations

from functools import partial

from video_salmonn.evaluation.save.task import SAVE_FILES, Prompt, Task, clip_names, read_questions

TASK = Task(
    id="how2",
    title="Audio-visual speech recognition, How2",
    kind="speech",
    metrics=("wer",),
    files=("how2_test.json",),
    prompt=Prompt("{question}"),
    max_new_tokens=256,
    read=partial(read_questions, task="how2", names=clip_names),
    annotations=SAVE_FILES,
    media="How2 project (srvk/how2-dataset): videos of dev5, cut at the times in the file names",
    expected=531,
)
