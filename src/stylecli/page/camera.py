"""The browser's camera: frames come in over a WebSocket, painted ones go out."""

import asyncio
from concurrent.futures import Future
from contextlib import suppress
from functools import lru_cache, partial
from io import BytesIO

from PIL import Image
from starlette.websockets import WebSocket, WebSocketDisconnect

from stylecli.config import LookConfig
from stylecli.errors import StyleCliError
from stylecli.files.colors import Rgb
from stylecli.files.pictures import Picture, as_picture, encode_jpeg
from stylecli.page.photos import Look, PhotoService
from stylecli.page.refusals import RefusedError, parse_object
from stylecli.page.workers import AT_ONCE, Urgency

MOST_BYTES = 4 * 2**20  # of a frame
_MOST_PIXELS = 4_000_000
_QUALITY = 80


class Camera:
    """One connection of a camera: texts are settings, and bytes are frames.

    While as many frames are painted as can be at once, nothing is read: the page sends the next
    frame when one comes back.

    Args:
        socket: the connection.
        service: its networks paint.
    """

    def __init__(self, socket: WebSocket, service: PhotoService) -> None:
        self._socket, self._service = socket, service
        self._parse = lru_cache(1)(lambda text: Look.of(parse_object(text)))
        self._free = asyncio.Semaphore(AT_ONCE)
        self._answers: asyncio.Queue[Future[bytes]] = asyncio.Queue()

    async def run(self) -> None:
        """Paint frames until the connection ends."""
        await self._socket.accept()
        tasks = [asyncio.ensure_future(do()) for do in (self._receive, self._send)]
        try:  # the first that ends is the one that receives, or cannot send any more
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            with suppress(WebSocketDisconnect):
                done.pop().result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _receive(self) -> None:
        look = None
        while (message := await self._socket.receive())["type"] != "websocket.disconnect":
            if message.get("text") is not None:
                look = message["text"]
                continue
            await self._free.acquire()
            paint = partial(self._paint, look, message["bytes"])
            self._answers.put_nowait(self._service.painters.submit(paint, Urgency.FRAME))

    async def _send(self) -> None:
        """Send the painted frames in their order."""
        while True:
            answer = await self._answers.get()
            try:
                await self._socket.send_bytes(await asyncio.wrap_future(answer))
            except StyleCliError as error:
                await self._socket.send_json({"error": error.message, "hint": error.hint})
            self._free.release()

    def _paint(self, text: str | None, frame: bytes) -> bytes:
        """Paint a frame as the settings say, which are JSON: a JPEG.

        Raises:
            StyleCliError: there are no settings, they are not valid, or the frame is not.
        """
        if text is None:
            raise RefusedError(400, "a frame came before the settings", "send the settings first")
        look = self._parse(text)
        network, settings = self._service.network(look.style), look.config.values_of(LookConfig)
        return encode_jpeg(Picture(network(_decode(frame), **settings)), _QUALITY)


def _decode(frame: bytes) -> Rgb:
    """Decode a frame, a JPEG of at most 4 megapixels: (H, W, 3) in 0..255.

    Raises:
        RefusedError: it is not one.
    """
    try:
        with Image.open(BytesIO(frame), formats=["JPEG"]) as image:
            if image.width * image.height <= _MOST_PIXELS:
                image.load()
                return as_picture(image).rgb
    except Exception as error:  # Pillow raises many kinds of error on damaged files
        raise RefusedError(400, "a frame is not a JPEG", "send JPEGs") from error
    raise RefusedError(413, "a frame has more than 4 megapixels", "send smaller ones")
