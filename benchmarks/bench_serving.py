"""A server under load: answers a second, time to the first token and memory with 1, 4 and 16 clients; overload; clients
that leave.

The clients ask in turn several questions about several clips, streamed, each as soon as its last answer has ended. The
server is a process of its own. ``--seconds 120`` is the long form; by default each load lasts 20 s.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

ROOT = Path(__file__).parents[1]
QUESTIONS = (
    "What words are spoken?",
    "What colour does the speaker say?",
    "What is in the picture?",
    "Who is speaking?",
)
KEY = "key-of-the-benchmark"


@dataclass
class Load:
    """What happened under one load."""

    clients: int
    seconds: float = 0.0
    first: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)

    def note(self, status: int) -> None:
        """Count a status."""
        self.statuses[status] = self.statuses.get(status, 0) + 1

    def row(self) -> dict[str, float | int | dict[int, int]]:
        """Figures of the load."""
        return {
            "clients": self.clients,
            "answers_per_second": round(len(self.whole) / self.seconds, 3),
            "first_token_p50": round(quantile(self.first, 0.5), 3),
            "first_token_p95": round(quantile(self.first, 0.95), 3),
            "whole_p50": round(quantile(self.whole, 0.5), 3),
            "statuses": self.statuses,
        }


def quantile(values: list[float], share: float) -> float:
    """Of at least one value; NaN of none."""
    if len(values) < 2:
        return values[0] if values else float("nan")
    return statistics.quantiles(values, n=100, method="inclusive")[round(share * 100) - 1]


def body(clip: str, question: str, **more: object) -> dict[str, object]:
    parts = [{"type": "video_url", "video_url": {"url": clip}}, {"type": "text", "text": question}]
    return {"messages": [{"role": "user", "content": parts}], "max_tokens": 24, "stream": True, **more}


async def ask(client: httpx.AsyncClient, load: Load, clip: str, question: str) -> None:
    start = time.perf_counter()
    async with client.stream("POST", "/v1/chat/completions", json=body(clip, question)) as response:
        load.note(response.status_code)
        if response.status_code != 200:
            await response.aread()
            await asyncio.sleep(0.2)
            return
        first = None
        async for line in response.aiter_lines():
            if first is None and '"content": "' in line and '"content": ""' not in line:
                first = time.perf_counter() - start
            if '"error"' in line:
                load.note(599)
        load.whole.append(time.perf_counter() - start)
        load.first.append(first if first is not None else load.whole[-1])


async def under_load(client: httpx.AsyncClient, clients: int, seconds: float, clips: list[str]) -> Load:
    load, end = Load(clients), time.perf_counter() + seconds

    async def one(number: int) -> None:
        turn = number
        while time.perf_counter() < end:
            await ask(client, load, clips[turn % len(clips)], QUESTIONS[turn // len(clips) % len(QUESTIONS)])
            turn += 7

    begun = time.perf_counter()
    await asyncio.gather(*(one(number) for number in range(clients)))
    load.seconds = time.perf_counter() - begun
    return load


async def overload(client: httpx.AsyncClient, clips: list[str], most: int) -> dict[str, object]:
    """Many more requests than there is room for, at once: how long does a refusal take, and is all well after?"""
    refused: list[float] = []
    load = Load(3 * most)

    async def one(number: int) -> None:
        start = time.perf_counter()
        request = body(clips[0], QUESTIONS[0], stream=False, max_tokens=4)
        response = await client.post("/v1/chat/completions", json=request)
        load.note(response.status_code)
        if response.status_code in (429, 503):
            assert "retry-after" in response.headers
            refused.append(time.perf_counter() - start)

    await asyncio.gather(*(one(number) for number in range(3 * most)))
    after = await client.post("/v1/chat/completions", json=body(clips[0], QUESTIONS[0], stream=False))
    return {"statuses": load.statuses, "refusal_p95": round(quantile(refused, 0.95), 3), "after": after.status_code}


async def leave(client: httpx.AsyncClient, clips: list[str]) -> dict[str, object]:
    """Twenty streams whose clients leave at the first event."""

    async def one(number: int) -> None:
        async with client.stream("POST", "/v1/chat/completions", json=body(clips[0], QUESTIONS[0])) as response:
            async for _ in response.aiter_lines():
                return

    await asyncio.gather(*(one(number) for number in range(20)), return_exceptions=True)
    start = time.perf_counter()
    while time.perf_counter() < start + 60:
        page = (await client.get("/metrics")).text
        taken = sum(float(re.search(rf"^video_salmonn:num_requests_{name} (\S+)", page, re.M)[1])  # type: ignore[index]
                    for name in ("running", "waiting"))  # fmt: skip
        if not taken:
            return {"left": 20, "places_taken": 0, "free_after": round(time.perf_counter() - start, 3)}
        await asyncio.sleep(0.05)
    return {"left": 20, "places_taken": taken}


async def measure(url: str, process: psutil.Process, given: argparse.Namespace) -> dict[str, object]:
    files = sorted((ROOT / "examples" / "grid").glob("*.mp4"))[: given.clips]
    clips = [f"data:video/mp4;base64,{base64.b64encode(file.read_bytes()).decode()}" for file in files]
    limits = httpx.Limits(max_connections=400)
    headers = {"authorization": f"Bearer {KEY}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=600, limits=limits) as client:
        warm = Load(1)
        for clip in clips:
            await ask(client, warm, clip, QUESTIONS[0])
        rows, before = [], process.memory_info().rss
        print(f"{'clients':>8}{'answers/s':>11}{'first p50':>11}{'first p95':>11}{'whole p50':>11}  statuses")
        for number in given.clients:
            row = (await under_load(client, number, given.seconds, clips)).row()
            rows.append(row)
            print(
                f"{row['clients']:>8}{row['answers_per_second']:>11}{row['first_token_p50']:>11}"
                f"{row['first_token_p95']:>11}{row['whole_p50']:>11}  {row['statuses']}",
                flush=True,
            )
            if number == given.clients[0]:
                before = process.memory_info().rss
        after = process.memory_info().rss
        most = 2 * max(given.clients)
        return {
            "loads": rows,
            "speed_up": round(rows[-1]["answers_per_second"] / rows[0]["answers_per_second"], 3),  # type: ignore[operator]
            "memory_mib": [before >> 20, after >> 20],
            "memory_growth": round(after / before - 1, 4),
            "overload": await overload(client, clips, most),
            "leaving": await leave(client, clips),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each load; 120 for the long form")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--clips", type=int, default=4)
    given = parser.parse_args()
    most = str(2 * max(given.clients))
    command = [sys.executable, "-m", "video_salmonn", "serve", "--model", given.model, "--port", "0", "--json"]
    server = subprocess.Popen(
        [*command, "--max-requests", most, "--max-requests-per-key", most],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "VIDEO_SALMONN_API_KEYS": KEY},
    )
    try:
        assert server.stdout is not None
        text = ""
        while line := server.stdout.readline().decode():
            text += line
            if line.startswith("}"):
                break
        url = json.loads(text)["url"].removesuffix("/v1")
        found = asyncio.run(measure(url, psutil.Process(server.pid), given))
        server.send_signal(signal.SIGTERM)
        found["exit_status"] = server.wait(90)
    finally:
        server.kill()
    print(json.dumps({"benchmark": "serving", "model": given.model, "seconds": given.seconds, **found}))


if __name__ == "__main__":
    main()
