"""The browser's camera: frames come in over a WebSocket, painted ones go out."""

import asyncio
import json
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from io import BytesIO

from PIL import Image
from starlette.websockets import WebSocket, WebSocketDisconnect

from stylecli.errors import StyleCliError
from stylecli.files.pictures import Picture, as_picture, encode_jpeg, shrink
from stylecli.page.cache import LruCache
from stylecli.page.photos import Look, PhotoService
from stylecli.page.refusals import RefusedError
from stylecli.page.workers import Urgency, Workers

AT_ONCE = 2  # frames that are painted at the same time, each on its own core; as in camera.js
MOST_BYTES = 4 * 2**20  # of a frame
_MOST_PIXELS = 4_000_000
_WIDEST = 1920  # px
_QUALITY = 80


@dataclass(frozen=True)
class _Settings:
    """How frames are painted.

    Attributes:
        look: style and strokes.
        width: to which wider frames are scaled down before they are painted, px.
    """

    look: Look
    width: int

    @classmethod
    def of(cls, text: str) -> "_Settings":
        """What the page asks for, in JSON.

        Raises:
            StyleCliError: it is not JSON, there is no such style, or a setting is out of range.
        """
        try:
            given = json.loads(text)
            width = int(given.get("width", _WIDEST))
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
            raise RefusedError(400, "the settings of the camera are not JSON of it") from None
        return cls(Look.of(given), min(max(width, 32), _WIDEST))


class Camera:
    """One connection of a camera. If frames wait, only the newest are painted.

    Args:
        socket: the connection.
        service: its networks paint.
        paint_workers: the threads that paint.
    """

    def __init__(self, socket: WebSocket, service: PhotoService, paint_workers: Workers) -> None:
        self._socket, self._service, self._workers = socket, service, paint_workers
        self._text: str | None = None  # the settings that were sent last
        self._frames: deque[bytes | None] = deque(maxlen=AT_ONCE)  # the newest that wait
        self._known = LruCache[str, _Settings](1)
        self._news, self._free = asyncio.Event(), asyncio.Semaphore(AT_ONCE)
        self._answers: asyncio.Queue[Future[bytes | None]] = asyncio.Queue()

    async def run(self) -> None:
        """Paint frames until the connection ends."""
        await self._socket.accept()
        tasks = {asyncio.ensure_future(do()) for do in (self._listen, self._begin, self._send)}
        try:  # the first that ends is the one that listens, or cannot send any more
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            with suppress(WebSocketDisconnect):
                done.pop().result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _listen(self) -> None:
        while (message := await self._socket.receive())["type"] != "websocket.disconnect":
            if message.get("text") is not None:
                self._text = message["text"]
            else:
                self._frames.append(message.get("bytes"))
            self._news.set()

    async def _begin(self) -> None:
        """Give the frames to threads, as soon as one is free."""
        while True:
            await self._news.wait()
            await self._free.acquire()
            frame = self._frames.popleft() if self._frames else None
            if not self._frames:
                self._news.clear()
            do = partial(self._paint, self._text, frame)
            await self._answers.put(self._workers.submit(do, Urgency.FRAME))

    async def _send(self) -> None:
        """Send the painted frames in their order."""
        while True:
            answer = await self._answers.get()
            try:
                painted = await asyncio.wrap_future(answer)
            except StyleCliError as error:
                fault = {"error": error.message, "hint": error.hint}
                await self._socket.send_text(json.dumps(fault))
            else:
                if painted is not None:
                    await self._socket.send_bytes(painted)
            self._free.release()

    def _paint(self, text: str | None, frame: bytes | None) -> bytes | None:
        """A painted frame; None if none was sent, but only settings, which are checked."""
        if text is None:
            raise RefusedError(400, "a frame came before the settings", "send the settings first")
        settings = self._known.get(text, lambda: _Settings.of(text))
        if frame is None:
            return None
        picture = _shrink_to_width(_decode(frame), settings.width)
        network = self._service.network(settings.look.chosen)
        return encode_jpeg(Picture(settings.look.paint(network, picture.rgb)), _QUALITY)


def _decode(frame: bytes) -> Picture:
    """A frame: a JPEG of at most 4 megapixels.

    Raises:
        RefusedError: it is not one.
    """
    try:
        with Image.open(BytesIO(frame), formats=["JPEG"]) as image:
            if image.width * image.height > _MOST_PIXELS:
                raise RefusedError(413, "a frame has more than 4 megapixels", "send smaller ones")
            image.load()
            return as_picture(image)
    except RefusedError:
        raise
    except Exception as error:  # Pillow raises many kinds of error on damaged files
        raise RefusedError(400, "a frame is not a JPEG", "send JPEGs") from error


def _shrink_to_width(picture: Picture, width: int) -> Picture:
    height, own = picture.rgb.shape[:2]
    return shrink(picture, round(width * max(height, own) / own))
