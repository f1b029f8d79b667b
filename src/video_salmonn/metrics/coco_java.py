"""The Java tools that pycocoevalcap ships: the PTB tokenizer, METEOR 1.5 and SPICE, driven through their own jars.

pycocoevalcap's own wrappers write temporary files into the installed package, wait forever when Java dies, and (SPICE)
download models; the jars are used directly instead. The scores are theirs.

METEOR's aggregate is repeated here in a few lines (:func:`meteor_of`) because a bootstrap needs it a thousand times;
a test holds it against the jar.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from video_salmonn.errors import EvaluationError, MissingPartError
from video_salmonn.metrics.scored import require
from video_salmonn.wording import counted

CORENLP_JARS = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")
CORENLP_VARIABLE = "VIDEO_SALMONN_CORENLP"

# METEOR 1.5, English, task "rank" (Denkowski and Lavie 2014, table 1): alpha, beta, gamma, delta, module weights.
_ALPHA, _BETA, _GAMMA, _DELTA = 0.85, 0.2, 0.6, 0.75
_MODULES = np.array([1.0, 0.6, 0.8, 0.6])  # exact, stem, synonym, paraphrase


def _package() -> Path:
    return Path(next(iter(require("pycocoevalcap", "pycocoevalcap").__path__)))


def _java() -> str:
    java = shutil.which("java")
    if java is None:
        raise MissingPartError(
            "caption metrics run Java tools (tokenizer, METEOR, SPICE), and there is no `java` on the PATH",
            remedy="install a Java runtime, version 8 or newer; on Debian: apt-get install default-jre-headless",
        )
    return java


def check_tools() -> None:
    """See that what caption metrics run is there, before anything is asked.

    Raises:
        MissingPartError: without pycocoevalcap or Java.
    """
    _package()
    _java()


def one_line(text: str) -> str:
    """Single-spaced text without line breaks of any kind and without METEOR's separator."""
    return " ".join(text.replace("|||", " ").split())


def ptb_tokenize(texts: Sequence[str]) -> list[str]:
    """Lower-cased PTB tokens without punctuation, joined by spaces: what the COCO caption metrics compare.

    Raises:
        MissingPartError: without pycocoevalcap or Java.
        EvaluationError: if the tokenizer fails.
    """
    if not texts:
        return []
    module = require("pycocoevalcap.tokenizer.ptbtokenizer", "pycocoevalcap")
    jar = _package() / "tokenizer" / module.STANFORD_CORENLP_3_4_1_JAR
    command = [_java(), "-cp", str(jar), "edu.stanford.nlp.process.PTBTokenizer"]
    command += ["-preserveLines", "-lowerCase", "-encoding", "UTF-8"]
    given = "\n".join(one_line(text) for text in texts) + "\n"
    done = subprocess.run(command, input=given.encode(), capture_output=True, check=False)
    lines = done.stdout.decode("utf-8", "replace").split("\n")[:-1]
    if done.returncode != 0 or len(lines) != len(texts):
        raise EvaluationError(
            f"the PTB tokenizer ended with {done.returncode} and {len(lines)} of {counted(len(texts), 'line')}: "
            f"{done.stderr.decode('utf-8', 'replace')[-300:]}"
        )
    drop = set(module.PUNCTUATIONS)
    return [" ".join(word for word in line.split() if word not in drop) for line in lines]


class Meteor:
    """METEOR 1.5 (English) in its own process; texts are tokenised by the caller. :func:`meteor` shares one.

    It takes seconds to start (it reads its paraphrase table) and little time afterwards.
    """

    def __init__(self) -> None:
        jar = _package() / "meteor" / "meteor-1.5.jar"
        # The jar's log goes to a file: nobody reads a pipe, and a full one would stop the process.
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()
        self._process = subprocess.Popen(
            [_java(), "-Xmx2G", "-jar", str(jar), "-", "-", "-stdio", "-l", "en", "-norm"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd=jar.parent,
        )

    @property
    def alive(self) -> bool:
        """Whether the process still answers."""
        return self._process.poll() is None

    def close(self) -> None:
        """End the process."""
        if self._process.stdin:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        self._process.kill()
        self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()
        self._log.close()

    def _send(self, line: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise self._died() from error

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._died()
        return line.decode().strip()

    def _died(self) -> EvaluationError:
        self._log.seek(0)
        return EvaluationError(f"METEOR's process ended early: {self._log.read().decode('utf-8', 'replace')[-300:]}")

    def statistics(self, hypothesis: str, references: Sequence[str]) -> list[float]:
        """The 23 sufficient statistics of one caption against its references (the best one's)."""
        self._send(" ||| ".join(["SCORE", *map(one_line, references), one_line(hypothesis)]))
        return [float(number) for number in self._read().split()]

    def aggregate(self, statistics: Sequence[Sequence[float]]) -> tuple[float, list[float]]:
        """(score of the set, score of each caption), computed by the jar."""
        self._send("EVAL ||| " + " ||| ".join(" ".join(map(str, row)) for row in statistics))
        items = [float(self._read()) for _ in statistics]
        return float(self._read()), items


_shared: Meteor | None = None
_lock = threading.Lock()


@contextlib.contextmanager
def meteor() -> Iterator[Meteor]:
    """The process' one METEOR, started on first use, for one caller at a time; it ends with the interpreter."""
    global _shared
    with _lock:
        if _shared is None or not _shared.alive:
            _shared = Meteor()
            atexit.register(_shared.close)
        try:
            yield _shared
        except BaseException:
            # A dialogue that broke off leaves answers nobody reads: the next caller gets a new process.
            _shared.close()
            _shared = None
            raise


def meteor_of(sums: np.ndarray) -> np.ndarray:
    """METEOR from summed statistics ``(r, 23)`` -> ``(r,)`` (Denkowski and Lavie 2014, equations 1 to 5)."""
    test, ref, test_function, ref_function = sums[:, 0], sums[:, 1], sums[:, 2], sums[:, 3]
    matches = sums[:, 4:20].reshape(
        len(sums), 4, 4
    )  # module x (test content, ref content, test function, ref function)
    weighted = np.einsum("m,rmk->rk", _MODULES, matches)
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = (_DELTA * weighted[:, 0] + (1 - _DELTA) * weighted[:, 2]) / (
            _DELTA * (test - test_function) + (1 - _DELTA) * test_function
        )
        recall = (_DELTA * weighted[:, 1] + (1 - _DELTA) * weighted[:, 3]) / (
            _DELTA * (ref - ref_function) + (1 - _DELTA) * ref_function
        )
        harmonic = precision * recall / (_ALPHA * precision + (1 - _ALPHA) * recall)
        chunks, words = sums[:, 20], (sums[:, 21] + sums[:, 22]) / 2
        whole = (test == ref) & (words == test) & (chunks == 1)
        fragments = np.where(whole, 0.0, chunks / words)
        return np.nan_to_num(harmonic * (1 - _GAMMA * fragments**_BETA))


def corenlp_folder() -> Path:
    """Where SPICE's two CoreNLP files are looked for: ``$VIDEO_SALMONN_CORENLP``, else the user's data folder."""
    if named := os.environ.get(CORENLP_VARIABLE):
        return Path(named)
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "video-salmonn" / "corenlp"


def missing_corenlp() -> list[str]:
    """Names of the CoreNLP files that are not in :func:`corenlp_folder`."""
    return [name for name in CORENLP_JARS if not (corenlp_folder() / name).is_file()]


def spice(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """SPICE F-score of each caption (Anderson et al. 2016), by the bundled jar and the user's CoreNLP files.

    Raises:
        MissingPartError: without Java or the CoreNLP files.
        EvaluationError: if the scorer fails.
    """
    if missing := missing_corenlp():
        raise MissingPartError(
            f"SPICE needs {' and '.join(missing)} in {corenlp_folder()}", remedy="see `video-salmonn eval setup-spice`"
        )
    folder = _package() / "spice"
    path = os.pathsep.join([str(folder / "spice-1.0.jar"), str(folder / "lib" / "*"), str(corenlp_folder() / "*")])
    given = [
        {"image_id": index, "test": one_line(said), "refs": [one_line(text) for text in texts]}
        for index, (said, texts) in enumerate(zip(hypotheses, references))
    ]
    with tempfile.TemporaryDirectory() as place:
        source, target = Path(place) / "in.json", Path(place) / "out.json"
        source.write_text(json.dumps(given), encoding="utf-8")
        command = [_java(), "-Xmx8G", "-cp", path, "edu.anu.spice.SpiceScorer", str(source)]
        done = subprocess.run([*command, "-out", str(target), "-silent"], capture_output=True, check=False, cwd=place)
        if done.returncode != 0 or not target.is_file():
            told = done.stderr.decode("utf-8", "replace").strip()
            first = next((line for line in told.splitlines() if "rror" in line or "xception" in line), told[-300:])
            if "edu/stanford" in first or "edu.stanford" in first:
                remedy = f"the files in {corenlp_folder()} are not those of CoreNLP 3.6.0: put the release's own there"
            else:
                remedy = "SPICE 1.0 was written for Java 8; point PATH at one if yours is newer"
            raise EvaluationError(f"SPICE ended with {done.returncode}: {first}", remedy=remedy)
        found = {entry["image_id"]: float(entry["scores"]["All"]["f"]) for entry in json.loads(target.read_text())}
    return [found[index] for index in range(len(given))]
