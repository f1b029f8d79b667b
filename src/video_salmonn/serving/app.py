"""The routes of the server as one ASGI application."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import FastAPI, Form, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import Response

from video_salmonn.serving.answering import EventStream, JsonResponse, unless_left
from video_salmonn.serving.chat import check_chat, complete, stream
from video_salmonn.serving.decisions import check_decisions, decided
from video_salmonn.serving.files import PURPOSES
from video_salmonn.serving.guard import Guard
from video_salmonn.serving.live import add_live
from video_salmonn.serving.problems import RequestProblem, unfitting
from video_salmonn.serving.protocol import ChatRequest, DecisionsRequest, TranscriptForm
from video_salmonn.serving.service import Service
from video_salmonn.serving.transcripts import read_form, response_of, transcribed
from video_salmonn.version import __version__


def create_app(service: Service) -> FastAPI:
    """The application for one service; its lifespan starts and ends the service.

    Args:
        service: answers.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.start()
        try:
            yield
        finally:
            service.close()

    app = FastAPI(
        title="video-salmonn",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,  # the page would load scripts from elsewhere
        redoc_url=None,
        separate_input_output_schemas=False,
    )
    app.state.service = service
    app.add_middleware(Guard, settings=service.settings, metrics=service.metrics)
    _add_errors(app)
    _add_state(app, service)
    _add_chat(app, service)
    _add_files(app, service)
    add_live(app, service)
    return app


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(RequestProblem)
    async def told(_: Request, problem: RequestProblem) -> Response:
        return JsonResponse(problem.body(), problem.status, problem.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        param, why = unfitting(error.errors(), error.body)  # never the value, which may be media
        message = f"{param or 'the body'}: {why}"
        return JsonResponse(RequestProblem(400, message, param=param).body(), 400)

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> Response:
        words = {404: "there is no such route", 405: "this route does not take this method"}
        status = 400 if error.status_code == 422 else error.status_code
        problem = RequestProblem(status, words.get(status, "the request body is not valid JSON"))
        return JsonResponse(problem.body(), status, dict(error.headers or {}))


def _add_state(app: FastAPI, service: Service) -> None:
    @app.get("/health", summary="200 while answers are made, 503 where the model cannot answer any more.")
    async def health() -> Response:
        trouble = service.trouble
        if trouble:
            return JsonResponse(RequestProblem(503, trouble, retry_after=10).body(), 503)
        return JsonResponse({"status": "ok"})

    @app.get("/metrics", summary="Prometheus metrics.")
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/version", summary="The version of this package.")
    async def version() -> Response:
        return JsonResponse({"version": __version__})

    def model() -> dict[str, Any]:
        return {
            "id": service.name,
            "object": "model",
            "created": service.created,
            "owned_by": "video-salmonn",
            "max_model_len": service.engine.context,
        }

    @app.get("/v1/models", summary="The model that is served.")
    async def models() -> Response:
        return JsonResponse({"object": "list", "data": [model()]})

    @app.get("/v1/models/{name:path}", summary="The model that is served.")
    async def one_model(name: str) -> Response:
        service.check_model(name)
        return JsonResponse(model())


def _add_chat(app: FastAPI, service: Service) -> None:
    @app.post("/v1/chat/completions", summary="Answer a conversation about media.")
    async def chat_completions(body: ChatRequest, request: Request) -> Response:
        chat = check_chat(body, service)
        owner = request.state.owner
        if body.stream:
            return EventStream(stream(chat, service, owner))
        return JsonResponse(await unless_left(request, complete(chat, service, owner)))

    @app.post("/v1/decisions", summary="Decide typed questions about media, with probabilities.")
    async def decisions(body: DecisionsRequest, request: Request) -> Response:
        decision = check_decisions(body, service)
        return JsonResponse(await unless_left(request, decided(decision, service, request.state.owner)))

    form = {"requestBody": {"content": {"multipart/form-data": {"schema": TranscriptForm.model_json_schema()}}}}

    @app.post("/v1/audio/transcriptions", summary="What is said in a file.", openapi_extra=form)
    async def transcriptions(request: Request) -> Response:
        return await transcript(request, "transcribe")

    @app.post("/v1/audio/translations", summary="What is said in a file, in English.", openapi_extra=form)
    async def translations(request: Request) -> Response:
        return await transcript(request, "translate")

    async def transcript(request: Request, task: str) -> Response:
        async with request.form(max_files=1, max_fields=64) as fields:
            wish = await read_form(fields, task, service)
        return response_of(await unless_left(request, transcribed(wish, service)), wish, service)


def _add_files(app: FastAPI, service: Service) -> None:
    files, kept = service.files, service.settings.file_seconds

    @app.post("/v1/files", summary="Upload a media file; its id can be used in requests with the same key.")
    async def upload(request: Request, file: UploadFile, purpose: Annotated[str, Form()] = "user_data") -> Response:
        if purpose not in PURPOSES:
            raise RequestProblem(400, "purpose is unknown", remedy=f"use {', '.join(PURPOSES)}", param="purpose")
        owner = request.state.owner
        stored = await run_in_threadpool(files.put, owner, file.file, file.filename or "file", purpose)
        return JsonResponse(stored.to_dict(kept))

    @app.get("/v1/files", summary="The files that were uploaded with this key.")
    async def listed(request: Request) -> Response:
        found = [file.to_dict(kept) for file in files.all(request.state.owner)]
        return JsonResponse({"object": "list", "data": found, "has_more": False})

    @app.get("/v1/files/{name}", summary="One of these files.")
    async def one(name: str, request: Request) -> Response:
        return JsonResponse(files.get(request.state.owner, name).to_dict(kept))

    @app.get("/v1/files/{name}/content", summary="Its bytes.")
    async def content(name: str, request: Request) -> Response:
        data = await run_in_threadpool(files.read, request.state.owner, name)
        return Response(data, media_type="application/octet-stream", headers={"content-disposition": "attachment"})

    @app.delete("/v1/files/{name}", summary="Delete it.")
    async def delete(name: str, request: Request) -> Response:
        files.delete(request.state.owner, name)
        return JsonResponse({"id": name, "object": "file", "deleted": True})
