"""The web page in a real headless browser, with the tiny random model: what a visitor does, and no request outside."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

pytest.importorskip("gradio", reason="Gradio is not installed: make test-web")

from browser import Browser, missing

ROOT = Path(__file__).parents[2]
CLIP = ROOT / "examples" / "grid" / "swbo8n.mp4"
pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=missing())]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the server puts its files."""
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def served(folder):
    """The address of the command itself, in a process of its own."""
    command = [sys.executable, "-m", "video_salmonn", "web", "--model", "tiny", "--port", "0", "--json"]
    command += ["--max-new-tokens", "24", "--max-file-mib", "2"]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(folder)}
    )
    assert process.stdout is not None
    lines = []
    while not lines or not lines[-1].startswith("}"):
        line = process.stdout.readline()
        assert line, "the page did not start"
        lines.append(line)
    yield json.loads("".join(lines))["url"]
    process.terminate()
    assert process.wait(30) == 0
    assert kept(folder) == []


def kept(folder):
    """Names of the files that hold anything."""
    return [path.name for path in folder.rglob("*") if path.is_file() and path.stat().st_size]


def drop(browser, path, told="Ready"):
    """Give the page a file; what it says."""
    browser.find("#vs-file input[type=file]").type(str(path))
    return browser.wait(lambda: told in said(browser) and said(browser), 90, told)


def said(browser):
    return browser.run("return document.querySelector('#vs-said').innerText")


def ask(browser, question):
    """Ask; the messages that are shown when the answer is complete, and how many forms the answer had on the way."""
    browser.run(
        "window.seen = new Set(); window.observer = new MutationObserver(() => {"
        " window.seen.add(document.querySelector('#vs-chat').innerText) });"
        "observer.observe(document.querySelector('#vs-chat'), {subtree: true, childList: true, characterData: true});"
    )
    browser.find("#vs-question textarea").type(question)
    browser.find("#vs-question button").click()
    browser.wait(lambda: question in browser.run("return document.querySelector('#vs-chat').innerText"), 90, question)
    browser.wait(lambda: "Answered" in said(browser), 90, "an answer")
    forms = browser.run("observer.disconnect(); return window.seen.size")
    return browser.run("return document.querySelector('#vs-chat').innerText"), forms


def outside(browser, url):
    """What was asked of other places than the page's server."""
    return [one for one in browser.requests() if not one.startswith((url, "data:", "blob:"))]


def test_a_visitor_drops_a_clip_asks_twice_and_reads_the_transcript(served):
    with Browser(1400) as browser:
        browser.open(served)
        assert "swbo8n.mp4" in drop(browser, CLIP)
        browser.frame("#vs-clip")
        assert "6 frames were looked at" in browser.find("body").text
        playable = "const p = document.getElementById('player'); return p && p.readyState > 0 && p.duration"
        assert browser.wait(lambda: browser.run(playable)) == pytest.approx(3.0, abs=0.1)
        browser.frame(None)
        height = "return parseFloat(document.getElementById('vs-clip').style.height)"
        assert browser.wait(lambda: browser.run(height) > 500)  # the frame is as high as what is in it

        _, forms = ask(browser, "What words are spoken?")
        assert forms > 3  # it came in pieces
        chat, _ = ask(browser, "And what is seen?")
        assert "What words are spoken?" in chat and "And what is seen?" in chat

        browser.find("#vs-write").click()
        browser.wait(lambda: "line" in said(browser), 90, "a transcript")
        browser.frame("#vs-clip")
        line = browser.find("section:last-of-type .words button")
        browser.wait(lambda: browser.run(playable))
        browser.run("document.getElementById('player').currentTime = 2")
        start = float(browser.run("return document.querySelector('section:last-of-type button').dataset.from"))
        line.click()
        place = "return document.getElementById('player').currentTime"
        assert browser.wait(lambda: abs(browser.run(place) - start) < 0.1)
        assert (
            browser.run("try { return parent.document.title } catch (error) { return error.name }") == "SecurityError"
        )
        browser.frame(None)

        browser.find("#vs-again").click()
        browser.wait(lambda: "new conversation" in said(browser))
        assert outside(browser, served) == [] and browser.complaints() == []


def test_a_recording_of_camera_and_microphone_is_opened(served):
    with Browser(1400, camera=True) as browser:
        browser.open(served)
        browser.find("#vs-file input[type=file]")
        tabs = "return [...document.querySelectorAll('button[role=tab]')].find(one => one.innerText.trim() === '{}')"
        browser.run(tabs.format("Microphone") + ".click()")
        browser.find("#vs-microphone .record-button").click()
        browser.wait(lambda: browser.run("return !!document.querySelector('#vs-microphone .stop-button')"))
        browser.run("return new Promise(done => setTimeout(done, 1500))")
        browser.find("#vs-microphone .stop-button").click()
        browser.wait(lambda: "Ready" in said(browser), 90, "the recording")
        browser.frame("#vs-clip")
        assert "The sound was listened to" in browser.find("body").text
        browser.frame(None)
        assert outside(browser, served) == []


def test_bad_and_large_files_are_told(served, tmp_path):
    with Browser(1400) as browser:
        browser.open(served)
        bad = tmp_path / "notes.mp4"
        bad.write_text("not a video")
        assert "notes.mp4" in drop(browser, bad, "notes.mp4:")
        assert browser.run("return document.querySelector('#vs-said .vs-failed') !== null")


def test_a_clip_is_deleted_when_its_page_is_closed(served, folder):
    with Browser(1400) as browser:
        browser.open(served)
        drop(browser, CLIP)
        assert "media" in kept(folder)
        browser.open("about:blank")
        browser.wait(lambda: not kept(folder), 60, "the deletion")


def test_on_a_phone_nothing_is_wider_than_the_screen(served):
    with Browser(390, 844) as browser:
        browser.open(served)
        drop(browser, CLIP)
        browser.frame("#vs-clip")
        narrow = "return getComputedStyle(document.querySelector('svg.narrow')).display"
        assert browser.run(narrow) == "block"
        assert browser.run("return document.documentElement.scrollWidth <= innerWidth")
        browser.frame(None)
        ask(browser, "What do you hear?")
        assert browser.run("return document.documentElement.scrollWidth") <= 390
        assert browser.run("return document.querySelector('#vs-clip').getBoundingClientRect().width") > 300
        assert outside(browser, served) == [] and browser.complaints() == []


def test_the_served_page_names_no_other_place_to_fetch_from(served):
    page = httpx.get(served, timeout=30)
    fetched = re.findall(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=\"(https?:)?//", page.text)
    assert page.status_code == 200 and fetched == []
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert httpx.get(f"{served}gradio_api/file=/etc/passwd", timeout=30).status_code == 404
