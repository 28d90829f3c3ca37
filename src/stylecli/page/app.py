"""The routes of the server."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp
from starlette.websockets import WebSocket

from stylecli import __version__
from stylecli.collection import remove_model
from stylecli.config import DEFAULT_MODEL
from stylecli.errors import StyleCliError
from stylecli.files.pictures import encode_jpeg
from stylecli.page.access import REPORT_CSP, AccessMiddleware, AccessPolicy
from stylecli.page.camera import Camera
from stylecli.page.jobs import BackgroundJob, BackgroundJobs
from stylecli.page.photos import MOST_BYTES, SCREEN, STRIP, Look, PhotoService, require_size
from stylecli.page.refusals import RefusedError, answer_error, parse_object
from stylecli.page.styles import (
    find_own_style,
    find_style,
    list_styles,
    parse_style,
    rename_style,
)
from stylecli.page.workers import Urgency

STATIC = Path(__file__).parent / "static"
_MOST_JSON = 2**16  # bytes
_PATIENCE = 0.1  # seconds after which it is seen that a browser has gone
_SIZES = {"strip": (STRIP, Urgency.SMALL), "screen": (SCREEN, Urgency.SCREEN)}
_JPEG = "image/jpeg"
_ROOM = "see whether the disk has room; TMPDIR names another folder"

T = TypeVar("T")


def build_app(service: PhotoService, jobs: BackgroundJobs, policy: AccessPolicy) -> ASGIApp:
    """The application; Starlette runs the routes that are not coroutines in threads.

    Args:
        service: photos and networks.
        jobs: pictures at full size, films, ZIPs, trainings, comparisons.
        policy: who is let in.
    """
    photo, job, style = "/api/photos/{id}", "/api/jobs/{id}", "/api/styles/{id}"
    routes = [
        Route("/", _show_page),
        Mount("/static", StaticFiles(directory=STATIC, check_dir=False)),
        Route("/api/state", _send_state),
        Route("/api/styles", _list_styles),
        Route(f"{style}/painting", _send_painting),
        Route(f"{style}/file", _send_model),
        Route(style, _rename_style, methods=["PATCH"]),
        Route(style, _remove_style, methods=["DELETE"]),
        Route("/api/photos", _take_photo, methods=["POST"]),
        Route(f"{photo}/screen", _send_screen),
        Route(f"{photo}/painted", _paint),
        Route(photo, _remove_photo, methods=["DELETE"]),
        Route("/api/paintings", _begin_painting, methods=["POST"]),
        Route("/api/trainings", _begin_training, methods=["POST"]),
        Route("/api/comparisons", _begin_comparison, methods=["POST"]),
        Route(job, _send_status),
        Route(f"{job}/stop", _stop, methods=["POST"]),
        Route(f"{job}/preview", _send_preview),
        Route(f"{job}/result", _send_result),
        WebSocketRoute("/api/tab", _watch_tab),
        WebSocketRoute("/api/camera", _run_camera),
    ]
    handlers: dict[Any, Any] = dict.fromkeys([StyleCliError, ClientDisconnect, 500], _explain)
    app = Starlette(routes=routes, exception_handlers=handlers)
    app.state.service, app.state.jobs = service, jobs
    return AccessMiddleware(app, policy)


def _service(request: Request | WebSocket) -> PhotoService:
    service: PhotoService = request.app.state.service
    return service


def _jobs(request: Request | WebSocket) -> BackgroundJobs:
    jobs: BackgroundJobs = request.app.state.jobs
    return jobs


def _id(request: Request) -> str:
    number: str = request.path_params["id"]
    return number


async def _explain(request: Request, error: Exception) -> Response:
    if isinstance(error, ClientDisconnect):
        return Response(status_code=400)  # nobody reads it
    if not isinstance(error, StyleCliError):
        error = RefusedError(500, f"a bug of stylecli: {error!r}", "please report it")
    return answer_error(error)


def _show_page(request: Request) -> Response:
    return FileResponse(STATIC / "index.html")


def _send_state(request: Request) -> Response:
    device = _service(request).network(parse_style(DEFAULT_MODEL)).description
    device = device.rpartition(" on ")[2]
    return JSONResponse({"version": __version__, "device": device, "most_bytes": MOST_BYTES})


def _list_styles(request: Request) -> Response:
    styles = [style.describe() for style in list_styles().values()]
    return JSONResponse({"styles": styles, "default": DEFAULT_MODEL})


def _send_painting(request: Request) -> Response:
    painting = find_style(_id(request)).painting()
    if painting is None:
        raise RefusedError(404, f"the painting of {_id(request)} is not known")
    return Response(painting, media_type=_JPEG)


def _send_model(request: Request) -> Response:
    path = find_style(_id(request)).choice.path
    return FileResponse(path, filename=path.name)


async def _rename_style(request: Request) -> Response:
    name = str((await _read_json(request)).get("name", ""))

    def rename() -> dict[str, object]:
        return rename_style(find_own_style(_id(request)), name).describe()

    return JSONResponse(await run_in_threadpool(rename))


def _remove_style(request: Request) -> Response:
    remove_model(find_own_style(_id(request)).choice.path.stem)
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
    return parse_object(body)


async def _store_upload(request: Request, use: Callable[[str, Path], T]) -> T:
    """Write a body into a file, as it comes, and use it; on an error, the file is removed.

    Args:
        request: with the file's name in the header ``X-Name``.
        use: is called in a thread with what the user calls the file, and its path.

    Raises:
        StyleCliError: it is not a photo or film by its name, it is too large, or the disk is full.
    """
    given = unquote(request.headers.get("x-name", ""))
    length = request.headers.get("content-length", "")
    name, path = _service(request).begin_upload(given, int(length) if length.isdecimal() else 0)
    try:
        with path.open("xb") as file:
            async for part in request.stream():
                await run_in_threadpool(file.write, part)
                require_size(file.tell())
        return await run_in_threadpool(use, name, path)
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            reason = error.strerror or error
            raise StyleCliError(f"cannot store {name}: {reason}", hint=_ROOM) from error
        raise


async def _take_photo(request: Request) -> Response:
    photo = await _store_upload(request, _service(request).add)
    return JSONResponse(photo.describe(), status_code=201)


def _send_screen(request: Request) -> Response:
    service = _service(request)
    return Response(encode_jpeg(service.screen(service.find(_id(request)))), media_type=_JPEG)


def _remove_photo(request: Request) -> Response:
    _service(request).remove(_id(request))
    return Response(status_code=204)


async def _paint(request: Request) -> Response:
    """Paint a photo; the painter does not begin if the browser closes the connection before."""
    service, given = _service(request), dict(request.query_params)
    photo = service.find(_id(request))
    size = given.get("size", "screen")
    if size not in _SIZES:
        raise RefusedError(400, f"size is {size!r}", "it is strip or screen")
    side, urgency = _SIZES[size]
    painting = service.painters.submit(lambda: service.paint(photo, Look.of(given), side), urgency)
    painted = asyncio.wrap_future(painting)
    while not painted.done():
        if await request.is_disconnected():
            painted.cancel()
            raise ClientDisconnect
        await asyncio.wait([painted], timeout=_PATIENCE)
    return Response(painted.result(), media_type=_JPEG)


def _tab(request: Request) -> str:
    """The tab that asks: any text by which the page tells one from another."""
    return request.headers.get("x-tab", "")


def _answer_with_job(job: BackgroundJob) -> Response:
    return JSONResponse({"job": job.id}, status_code=201)


async def _begin_painting(request: Request) -> Response:
    service, given = _service(request), await _read_json(request)
    look, numbers = given.get("look"), given.get("photos")
    if not (isinstance(look, dict) and isinstance(numbers, list) and numbers):
        raise RefusedError(400, "the request has no look or no photos")

    def begin() -> BackgroundJob:
        photos = [service.find(str(number)) for number in numbers]
        return _jobs(request).begin_painting(photos, Look.of(look), _tab(request))

    return _answer_with_job(await run_in_threadpool(begin))


async def _begin_training(request: Request) -> Response:
    jobs, query = _jobs(request), request.query_params

    def begin(name: str, path: Path) -> BackgroundJob:
        return jobs.begin_training(path, name, query.get("name", ""), query.get("minutes", "3"))

    return _answer_with_job(await _store_upload(request, begin))


async def _begin_comparison(request: Request) -> Response:
    begin, given = _jobs(request).begin_comparison, await _read_json(request)
    return _answer_with_job(await run_in_threadpool(begin, given, _tab(request)))


def _job(request: Request) -> BackgroundJob:
    return _jobs(request).find(_id(request))


def _send_status(request: Request) -> Response:
    return JSONResponse(_job(request).status)


def _stop(request: Request) -> Response:
    _job(request).stop()
    return Response(status_code=204)


def _send_preview(request: Request) -> Response:
    preview = _job(request).preview
    if preview is None or not preview.is_file():
        raise RefusedError(404, "there is no preview yet", "wait some seconds")
    return Response(preview.read_bytes(), media_type="image/png")


def _send_result(request: Request) -> Response:
    job = _job(request)
    if job.result is None or not job.result.is_file():
        raise RefusedError(404, "there is no result", "wait until it is done")
    if job.result.suffix == ".html":  # a report, which the page shows in a frame
        return FileResponse(job.result, headers={"Content-Security-Policy": REPORT_CSP})
    return FileResponse(job.result, filename=job.name)


async def _watch_tab(socket: WebSocket) -> None:
    """Wait for the end of a tab, and stop its jobs then."""
    await socket.accept()
    try:
        async for _ in socket.iter_text():
            pass
    finally:
        _jobs(socket).stop_tab(socket.query_params.get("tab", ""))


async def _run_camera(socket: WebSocket) -> None:
    with suppress(asyncio.CancelledError):
        await Camera(socket, _service(socket)).run()
