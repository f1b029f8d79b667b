"""The page itself: Gradio's components, and what happens when a visitor uses them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when Gradio is imported

import gradio as gr

from video_salmonn.errors import VideoSalmonnError
from video_salmonn.serving.web.talk import Desk, Talk
from video_salmonn.types import Answer
from video_salmonn.wording import counted

SUGGESTIONS = ("What words are spoken?", "What do you hear?", "What is in the picture?")
FONT = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "DejaVu Sans", "sans-serif"]
MONO = ["ui-monospace", "DejaVu Sans Mono", "monospace"]
Shown = list[dict[str, str]]
"""Messages as Gradio's chat shows them."""


@dataclass(frozen=True)
class Handlers:
    """What the page does, without its components.

    Args:
        desk: holds visitors' clips.
        examples: name on the page -> file.
        visitors: an open page's session -> the token of its clip.
    """

    desk: Desk
    examples: Mapping[str, Path]
    visitors: dict[str, str] = field(default_factory=dict)

    def opened(
        self, path: str | None, token: str, request: gr.Request | None = None
    ) -> Iterator[tuple[str, str, str, Shown]]:
        """Open an upload or a recording; yields (token, status, clip, chat)."""
        if not path:
            return
        source = Path(path)
        yield from self._opened(source, token, request)
        source.unlink(missing_ok=True)  # the desk has a link of its own

    def picked(
        self, name: str | None, token: str, request: gr.Request | None = None
    ) -> Iterator[tuple[str, str, str, Shown]]:
        """Open an example; as :meth:`opened`."""
        if name is not None and name in self.examples:
            yield from self._opened(self.examples[name], token, request)

    def _opened(self, path: Path, token: str, request: gr.Request | None) -> Iterator[tuple[str, str, str, Shown]]:
        self.forget(token)
        yield "", status("Looking and listening …"), "", []
        try:
            talk = self.desk.open(path)
        except VideoSalmonnError as error:
            yield "", status(told(error), failed=True), "", []
            return
        if request is not None and request.session_hash:
            self.visitors[request.session_hash] = talk.token
        yield talk.token, status(f"Ready: {talk.timeline.name}. Ask about it."), frame(talk), []

    def asked(self, question: str, token: str) -> Iterator[tuple[str, Shown, str]]:
        """Ask; yields (question box, chat, status) with every piece of the answer."""
        talk = self.desk.find(token)
        if talk is None:
            yield question, [], status("Drop a file first, record one, or pick an example.", failed=True)
            return
        asked, said = {"role": "user", "content": question.strip()}, {"role": "assistant", "content": ""}
        if not asked["content"]:
            yield question, [*talk.shown], status("Write a question first.", failed=True)
            return
        before = [*talk.shown]
        talk.shown = [*before, asked, said]
        pieces = self.desk.ask(talk, question)
        answer: Answer | None = None
        yield "", [*before, asked], status("Answering …")
        try:
            while answer is None:
                try:
                    said["content"] += next(pieces)
                except StopIteration as end:
                    answer = end.value
                else:
                    yield "", [*before, asked, dict(said)], status("Answering …")
        except VideoSalmonnError as error:
            talk.shown = before
            yield question, before, status(told(error), failed=True)
            return
        finally:
            pieces.close()
            if answer is None and said["content"]:
                said["content"] += " … (stopped)"
        said["content"] = answer.text or "(empty)"
        yield "", [*talk.shown], status(account(answer, self.desk.engine.notices))

    def again(self, token: str) -> tuple[Shown, str]:
        """Forget the conversation, not the clip; (chat, status)."""
        talk = self.desk.find(token)
        if talk is None:
            return [], ""
        talk.session.reset()
        talk.shown = []
        return [], status(f"A new conversation about {talk.timeline.name}.")

    def transcribed(self, decoder: str, token: str) -> Iterator[tuple[str, str]]:
        """Write the transcript; yields (clip, status)."""
        talk = self.desk.find(token)
        if talk is None:
            yield "", status("There is no clip yet.", failed=True)
            return
        yield frame(talk), status("Writing down what is said …")
        try:
            made = self.desk.transcribe(talk, decoder)
        except VideoSalmonnError as error:
            yield frame(talk), status(told(error), failed=True)
            return
        lines = counted(len(made.segments), "line")
        yield (
            frame(talk),
            status(f"The transcript has {lines}; a click on a word plays it." if made.segments else lines),
        )

    def left(self, request: gr.Request | None = None) -> None:
        """A page was closed: delete its clip."""
        if request is not None and request.session_hash:
            self.forget(self.visitors.pop(request.session_hash, ""))

    def forget(self, token: str) -> None:
        """Delete a visitor's clip."""
        self.desk.forget(self.desk.find(token))


def told(error: VideoSalmonnError) -> str:
    """The text of an error for a visitor."""
    remedy = error.remedy
    return f"{error}. {remedy[:1].upper()}{remedy[1:].rstrip('.')}." if remedy else f"{error}."


def status(text: str, *, failed: bool = False) -> str:
    """A line of HTML; ``text`` may come from anywhere."""
    return f'<p class="vs-status{" vs-failed" if failed else ""}" role="status">{escape(text)}</p>'


def account(answer: Answer, known: Sequence[str] = ()) -> str:
    """What an answer rests on, in sentences.

    Args:
        answer: with its report.
        known: warnings that the page shows anyway.
    """
    report, seconds = answer.report, answer.report["seconds"]
    took = seconds["prefill"] + seconds["generate"]
    sentences = [f"Answered in {took:.1f} s from {counted(report['media_tokens'], 'media token')}"]
    sentences += [f"{note[:1].upper()}{note[1:].rstrip('.')}" for note in report["warnings"] if note not in known]
    return " ".join(f"{sentence}." for sentence in sentences)


def frame(talk: Talk) -> str:
    """The clip's page within this one, in a sandbox: nothing in it can touch this page."""
    version = 0 if talk.transcript is None else 1 + len(talk.transcript.segments)
    return (
        f'<iframe id="vs-clip" title="The clip: player, time axis, transcript" sandbox="allow-scripts" '
        f'src="/view/{talk.token}?v={version}{talk.transcript.decoder if talk.transcript else ""}"></iframe>'
    )


def asset(name: str) -> str:
    """A text file of this package."""
    return files("video_salmonn.serving.web").joinpath(name).read_text("utf-8").strip()


def build(handlers: Handlers, model: str, notes: str = "") -> Any:
    """Gradio's page.

    Args:
        handlers: what it does.
        model: its name, for the head of the page.
        notes: a sentence below it.
    """
    settings = handlers.desk.settings
    age = int(settings.file_seconds)
    with gr.Blocks(title="video-SALMONN", analytics_enabled=False, delete_cache=(max(10, age // 10), age)) as page:
        gr.HTML(
            f'<header class="vs-head"><h1>video-SALMONN</h1><p>Ask about what a clip shows and what it lets you hear. '
            f"Model: {escape(model)}. {escape(notes)}</p></header>"
        )
        token = gr.State("", time_to_live=age, delete_callback=handlers.forget)
        with gr.Row():
            with gr.Column():
                with gr.Tab("File"):
                    upload = gr.File(label="A video, sound or picture", type="filepath", height=170, elem_id="vs-file")
                with gr.Tab("Camera"):
                    camera = gr.Video(
                        label="Record with the camera",
                        sources=["webcam"],
                        webcam_options=gr.WebcamOptions(mirror=False),
                        include_audio=True,
                        buttons=[],
                        elem_id="vs-camera",
                    )
                with gr.Tab("Microphone"):
                    microphone = gr.Audio(
                        label="Record sound",
                        sources=["microphone"],
                        type="filepath",
                        editable=False,
                        buttons=[],
                        elem_id="vs-microphone",
                    )
                if handlers.examples:
                    with gr.Tab("Example"):
                        example = gr.Dropdown(
                            list(handlers.examples), value=None, label="Pick a clip", elem_id="vs-example"
                        )
                said = gr.HTML(status("Drop a file, record one, or pick an example."), elem_id="vs-said", padding=False)
                decoder = gr.Radio(
                    [("the whole model", "model"), ("its speech encoder’s decoder", "whisper")],
                    value="model",
                    label="Transcript written by",
                    elem_id="vs-decoder",
                )
                write = gr.Button("Write a transcript", size="sm", elem_id="vs-write")
            with gr.Column():
                chat = gr.Chatbot(
                    label="Questions and answers",
                    height=330,
                    render_markdown=False,
                    buttons=[],
                    elem_id="vs-chat",
                    placeholder="Several questions can be asked about one clip.",
                )
                question = gr.Textbox(
                    label="Question",
                    placeholder=SUGGESTIONS[0],
                    submit_btn="Ask",
                    max_length=settings.max_text,
                    elem_id="vs-question",
                )
                with gr.Row():
                    suggested = [gr.Button(text, size="sm", min_width=120) for text in SUGGESTIONS]
                with gr.Row():
                    stop = gr.Button("Stop", size="sm", min_width=100, elem_id="vs-stop")
                    again = gr.Button("New conversation", size="sm", min_width=100, elem_id="vs-again")
        clip = gr.HTML("", elem_id="vs-view", padding=False)

        hidden: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        opened = [token, said, clip, chat]
        for source, event in (
            (upload, upload.upload),
            (camera, camera.stop_recording),
            (microphone, microphone.stop_recording),
        ):
            event(handlers.opened, [source, token], opened, **hidden).then(lambda: None, None, source, **hidden)
        if handlers.examples:
            example.input(handlers.picked, [example, token], opened, **hidden)
        answering = question.submit(handlers.asked, [question, token], [question, chat, said], **hidden)
        stop.click(None, cancels=[answering])
        chat.clear(handlers.again, token, [chat, said], **hidden)
        again.click(handlers.again, token, [chat, said], cancels=[answering], **hidden)
        for button in suggested:
            button.click(lambda text: text, button, question, **hidden)
        write.click(handlers.transcribed, [decoder, token], [clip, said], **hidden)
        page.unload(handlers.left)
    page.queue(max_size=settings.max_requests, default_concurrency_limit=settings.max_batch, api_open=False)
    return page


def theme() -> Any:
    """A theme whose fonts are those of the visitor's machine: nothing is fetched."""
    return gr.themes.Default(font=FONT, font_mono=MONO)
