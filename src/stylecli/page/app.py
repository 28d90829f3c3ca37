"""The routes of the server."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, unquote

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp
from starlette.websockets import WebSocket

from stylecli import __version__
from stylecli.config import DEFAULT_MODEL
from stylecli.errors import StyleCliError
from stylecli.page.access import REPORT_CSP, AccessMiddleware, AccessPolicy
from stylecli.page.camera import AT_ONCE, Camera
from stylecli.page.jobs import BackgroundJob, BackgroundJobs
from stylecli.page.photos import (
    MOST_BYTES,
    SCREEN,
    STRIP,
    Look,
    Photo,
    PhotoService,
    require_size,
    result_name,
)
from stylecli.page.refusals import RefusedError, answer_error, status_of
from stylecli.page.styles import (
    Chosen,
    Style,
    find_style,
    list_styles,
    remove_style,
    rename_style,
)
from stylecli.page.workers import Urgency, Workers

STATIC = Path(__file__).parent / "static"
_BLOCK = 2**20  # bytes of an upload that are written at once
_MOST_JSON = 2**16  # bytes
_MOST_WAITING = 200  # pictures
_SIZES = {"strip": (STRIP, Urgency.SMALL), "screen": (SCREEN, Urgency.SCREEN)}
_JPEG, _BYTES = "image/jpeg", "application/octet-stream"
_ROOM = "see whether the disk has room; TMPDIR names another folder"

T = TypeVar("T")


@dataclass
class AppState:
    """What the routes work with.

    Attributes:
        service: photos and networks.
        paint_workers: the threads that paint pictures.
        file_workers: the threads that read and write files.
        jobs: films, ZIPs, trainings, comparisons.
    """

    service: PhotoService
    paint_workers: Workers = field(default_factory=lambda: Workers(AT_ONCE))
    file_workers: Workers = field(default_factory=lambda: Workers(2))

    def __post_init__(self) -> None:
        self.jobs = BackgroundJobs(self.service, self.paint_workers)

    def warm_up(self) -> None:
        """Open the networks that are bundled while nothing else is to be done."""
        for style in list_styles().values():
            if not style.is_own:
                self.paint_workers.submit(partial(self._open, style), Urgency.SPARE)

    def _open(self, style: Style) -> None:
        import numpy as np

        network = self.service.network(Chosen.of(style.id))
        network(np.full((64, 64, 3), 128, np.uint8))  # it is compiled when it is first used

    def close(self) -> None:
        """Stop all jobs; nothing is waited for."""
        self.paint_workers.cancel()
        self.file_workers.cancel()
        self.jobs.stop_all()


def build_app(state: AppState, policy: AccessPolicy) -> ASGIApp:
    """The application.

    Args:
        state: what it works with.
        policy: who is let in.
    """
    photo, job, style = "/api/photos/{id}", "/api/jobs/{id}", "/api/styles/{id}"
    routes = [
        Route("/", _show_page),
        Mount("/static", StaticFiles(directory=STATIC, check_dir=False)),
        Route("/api/state", _tell_state),
        Route("/api/styles", _list_styles),
        Route(f"{style}/painting", _send_painting),
        Route(f"{style}/file", _send_model),
        Route(style, _rename_style, methods=["PATCH"]),
        Route(style, _remove_style, methods=["DELETE"]),
        Route("/api/photos", _take_photo, methods=["POST"]),
        Route(f"{photo}/screen", _send_screen),
        Route(f"{photo}/painted", _paint),
        Route(photo, _remove_photo, methods=["DELETE"]),
        Route("/api/zip", _begin_zip, methods=["POST"]),
        Route("/api/films", _begin_film, methods=["POST"]),
        Route("/api/trainings", _begin_training, methods=["POST"]),
        Route("/api/comparisons", _begin_comparison, methods=["POST"]),
        Route(job, _tell_job),
        Route(f"{job}/stop", _stop, methods=["POST"]),
        Route(f"{job}/preview", _send_preview),
        Route(f"{job}/result", _send_result),
        Route(f"{job}/report/", _send_report),
        WebSocketRoute("/api/tab", _watch_tab),
        WebSocketRoute("/api/camera", _run_camera),
    ]
    app = Starlette(
        routes=routes,
        exception_handlers={
            StyleCliError: _explain,
            ClientDisconnect: _give_up,
            404: _explain_missing,
            405: _explain_missing,
            500: _explain_bug,
        },
    )
    app.state.shared = state
    return AccessMiddleware(app, policy)


def _state(request: Request | WebSocket) -> AppState:
    state: AppState = request.app.state.shared
    return state


async def _explain(request: Request, error: Exception) -> Response:
    assert isinstance(error, StyleCliError)
    return answer_error(status_of(error), error.message, error.hint)


async def _give_up(request: Request, error: Exception) -> Response:
    return Response(status_code=400)  # nobody reads it


async def _explain_missing(request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 404)
    return answer_error(status, f"there is nothing at {request.method} {request.url.path}")


async def _explain_bug(request: Request, error: Exception) -> Response:
    return answer_error(500, f"a bug of stylecli: {error!r}", "please report it")


async def _do(request: Request, function: Callable[[], T]) -> T:
    """The result of a function that reads or writes files, in another thread."""
    return await asyncio.wrap_future(_state(request).file_workers.submit(function))


async def _show_page(request: Request) -> Response:
    return FileResponse(STATIC / "index.html")


async def _tell_state(request: Request) -> Response:
    state = _state(request)
    network = await _do(request, lambda: state.service.network(Chosen.of(DEFAULT_MODEL)))
    return JSONResponse(
        {
            "version": __version__,
            "device": network.description.rpartition(" on ")[2],
            "most_bytes": MOST_BYTES,
        }
    )


async def _list_styles(request: Request) -> Response:
    def describe() -> list[dict[str, object]]:
        return [style.describe() for style in list_styles().values()]

    styles = await _do(request, describe)
    return JSONResponse({"styles": styles, "default": DEFAULT_MODEL})


async def _style(request: Request) -> Style:
    number = request.path_params["id"]
    return await _do(request, lambda: find_style(number))


async def _own_style(request: Request) -> Style:
    style = await _style(request)
    if not style.is_own:
        raise RefusedError(409, f"{style.id} is not one of your own models", "it stays as it is")
    return style


async def _send_painting(request: Request) -> Response:
    style = await _style(request)
    painting = await _do(request, style.painting)
    if painting is None:
        raise RefusedError(404, f"the painting of {style.id} is not known")
    return Response(painting, media_type=_JPEG)


async def _send_model(request: Request) -> Response:
    path = (await _style(request)).choice.path
    return FileResponse(path, filename=path.name, media_type=_BYTES)


async def _rename_style(request: Request) -> Response:
    style, given = await _own_style(request), await _read_json(request)
    name = str(given.get("name", ""))
    renamed = await _do(request, lambda: rename_style(style, name).describe())
    return JSONResponse(renamed)


async def _remove_style(request: Request) -> Response:
    style = await _own_style(request)
    await _do(request, lambda: remove_style(style))
    return Response(status_code=204)


async def _read_json(request: Request) -> dict[str, Any]:
    """The object in a body.

    Raises:
        RefusedError: there is none, or it is long.
    """
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _MOST_JSON:
            raise RefusedError(413, "the request is too long")
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        raise RefusedError(400, "the request is not an object of JSON")
    return given


@asynccontextmanager
async def _store_upload(request: Request) -> AsyncIterator[tuple[str, Path]]:
    """Write a body into a file, as it comes; on an error, the file is removed.

    Yields:
        What the user calls it, and the file.

    Raises:
        RefusedError: it is not a photo or film by its name, it is too large, or the disk is full.
    """
    state = _state(request)
    given = unquote(request.headers.get("x-name", ""))
    length = request.headers.get("content-length", "")
    size = int(length) if length.isdecimal() else 0
    name, path = await _do(request, lambda: state.service.begin_upload(given, size))
    try:
        await _write_body(request, path)
        yield name, path
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            reason = error.strerror or error
            raise StyleCliError(f"cannot store {name}: {reason}", hint=_ROOM) from error
        raise


async def _write_body(request: Request, path: Path) -> None:
    state, done, block = _state(request), 0, bytearray()
    with path.open("xb") as file:
        async for part in request.stream():
            block += part
            done += len(part)
            if len(block) >= _BLOCK:
                require_size(done)
                state.service.require_room()
                full, block = block, bytearray()
                await _do(request, partial(file.write, full))
        await _do(request, lambda: file.write(block))


async def _take_photo(request: Request) -> Response:
    state = _state(request)
    async with _store_upload(request) as (name, path):
        photo = await _do(request, lambda: state.service.add(name, path))
    return JSONResponse(photo.about, status_code=201)


def _photo(request: Request) -> Photo:
    return _state(request).service.find(request.path_params["id"])


async def _send_screen(request: Request) -> Response:
    service, photo = _state(request).service, _photo(request)
    picture = await _do(request, lambda: service.encode_screen(photo))
    return Response(picture, media_type=_JPEG)


async def _remove_photo(request: Request) -> Response:
    service, number = _state(request).service, request.path_params["id"]
    await _do(request, lambda: service.remove(number))
    return Response(status_code=204)


async def _paint(request: Request) -> Response:
    service, photo, given = _state(request).service, _photo(request), dict(request.query_params)
    look = await _do(request, lambda: Look.of(given))
    size = given.get("size", "screen")
    if size == "full":
        painted = await _paint_or_give_up(
            request, Urgency.FULL, lambda: service.paint_full(photo, look)
        )
        saved = f"attachment; filename*=utf-8''{quote(result_name(photo, look))}"
        return Response(painted, headers={"Content-Disposition": saved}, media_type=_BYTES)
    if size not in _SIZES:
        raise RefusedError(400, f"size is {size!r}", "it is strip, screen or full")
    side, urgency = _SIZES[size]
    painted = await _paint_or_give_up(
        request, urgency, lambda: service.paint_small(photo, look, side)
    )
    return Response(painted, media_type=_JPEG)


async def _paint_or_give_up(
    request: Request, urgency: Urgency, paint: Callable[[], bytes]
) -> bytes:
    """Paint by a function; it does not run if the browser closes the connection before.

    Raises:
        RefusedError: too many pictures wait.
        ClientDisconnect: the browser has gone.
    """
    workers = _state(request).paint_workers
    if workers.count >= _MOST_WAITING:
        raise RefusedError(429, f"{_MOST_WAITING} pictures wait already", "ask for fewer")
    picture = asyncio.wrap_future(workers.submit(paint, urgency))
    gone = asyncio.ensure_future(_wait_until_gone(request))
    try:
        either: set[asyncio.Future[Any]] = {picture, gone}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if picture.done() and not picture.cancelled():
            return picture.result()
        raise ClientDisconnect
    finally:
        gone.cancel()
        picture.cancel()


async def _wait_until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _tab(request: Request) -> str:
    """The tab that asks: any text by which the page tells one from another."""
    return request.headers.get("x-tab", "")


async def _look_and_photos(request: Request, key: str) -> tuple[Look, list[Photo]]:
    """What a request wants to be painted, and how; the photos' ids stand under a key."""
    state, given = _state(request), await _read_json(request)
    wanted, ids = given.get("look"), given.get(key)
    if not isinstance(wanted, dict):
        raise RefusedError(400, "the request has no look")
    look = await _do(request, lambda: Look.of(wanted))
    listed = ids if isinstance(ids, list) else [ids]
    return look, [state.service.find(str(one)) for one in listed]


def _answer_with_job(job: BackgroundJob) -> Response:
    return JSONResponse({"job": job.id}, status_code=201)


async def _begin_zip(request: Request) -> Response:
    look, photos = await _look_and_photos(request, "photos")
    return _answer_with_job(_state(request).jobs.begin_zip(photos, look, _tab(request)))


async def _begin_film(request: Request) -> Response:
    look, photos = await _look_and_photos(request, "photo")
    if len(photos) != 1:
        raise RefusedError(400, f"{len(photos)} films were chosen", "choose one")
    return _answer_with_job(_state(request).jobs.begin_film(photos[0], look, _tab(request)))


async def _begin_training(request: Request) -> Response:
    jobs, query = _state(request).jobs, request.query_params
    wanted, minutes = query.get("name", ""), query.get("minutes", "3")
    async with _store_upload(request) as (name, path):
        begin = partial(jobs.begin_training, path, name, wanted, minutes)
        return _answer_with_job(await _do(request, begin))


async def _begin_comparison(request: Request) -> Response:
    state, given, tab = _state(request), await _read_json(request), _tab(request)
    norms, archs = given.get("norms", ["bn", "in"]), given.get("archs", ["residual"])
    if not all(_are_names(one) for one in (norms, archs)):
        raise RefusedError(400, "norms and archs are not lists of names")
    return _answer_with_job(
        await _do(request, lambda: state.jobs.begin_comparison(norms, archs, tab))
    )


def _are_names(given: object) -> bool:
    return isinstance(given, list) and bool(given) and all(isinstance(one, str) for one in given)


def _job(request: Request) -> BackgroundJob:
    return _state(request).jobs.find(request.path_params["id"])


async def _tell_job(request: Request) -> Response:
    return JSONResponse(_job(request).told)


async def _stop(request: Request) -> Response:
    _job(request).stop()
    return Response(status_code=204)


async def _send_preview(request: Request) -> Response:
    state, job = _state(request), _job(request)
    return Response(await _do(request, lambda: state.jobs.preview(job)), media_type=_JPEG)


async def _send_result(request: Request) -> Response:
    job = _job(request)
    if job.result is None or not job.result.is_file():
        raise RefusedError(404, "there is no result", "wait until it is done")
    return FileResponse(job.result, filename=job.name)


async def _send_report(request: Request) -> Response:
    job = _job(request)
    if job.result is None or job.result.suffix != ".html":
        raise RefusedError(404, "there is no report", "wait until it is done")
    headers = {"Content-Security-Policy": REPORT_CSP}
    return FileResponse(job.result, media_type="text/html", headers=headers)


async def _watch_tab(socket: WebSocket) -> None:
    """Wait for the end of a tab, and stop its jobs then."""
    await socket.accept()
    try:
        while (await socket.receive())["type"] != "websocket.disconnect":
            pass
    finally:
        _state(socket).jobs.stop_tab(socket.query_params.get("tab", ""))


async def _run_camera(socket: WebSocket) -> None:
    state = _state(socket)
    with suppress(asyncio.CancelledError):
        await Camera(socket, state.service, state.paint_workers).run()
