"""The browser's camera: frames come in over a WebSocket, painted ones go out."""

import asyncio
import json
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO

from PIL import Image
from starlette.websockets import WebSocket, WebSocketDisconnect

from stylecli.errors import StyleCliError
from stylecli.files.pictures import Picture, as_picture, encode_jpeg, shrink
from stylecli.page.refusals import RefusedError
from stylecli.page.studio import Look, Studio
from stylecli.page.workers import Urgency, Workers

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
    """One connection of a camera: of frames that wait, only the newest is painted.

    Args:
        socket: the connection.
        studio: its networks paint.
        painting: the threads that paint.
    """

    def __init__(self, socket: WebSocket, studio: Studio, painting: Workers) -> None:
        self._socket, self._studio, self._painting = socket, studio, painting
        self._asked: str | None = None  # settings that are not looked at yet
        self._frame: bytes | None = None  # the newest that is not painted yet
        self._settings: _Settings | None = None
        self._news = asyncio.Event()

    async def run(self) -> None:
        """Paint frames until the connection ends."""
        await self._socket.accept()
        painter = asyncio.ensure_future(self._paint())
        try:
            await self._listen()
        except WebSocketDisconnect:
            pass
        finally:
            painter.cancel()
            with suppress(asyncio.CancelledError, WebSocketDisconnect, RuntimeError):
                await painter

    async def _listen(self) -> None:
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            if message.get("text") is not None:
                self._asked = message["text"]
            else:
                self._frame = message.get("bytes")
            self._news.set()

    async def _paint(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                answer = await self._answer()
            except StyleCliError as error:
                fault = {"error": error.message, "hint": error.hint}
                await self._socket.send_text(json.dumps(fault))
            else:
                if answer is not None:
                    await self._socket.send_bytes(answer)

    async def _answer(self) -> bytes | None:
        """The newest frame, painted; None if there is none."""
        asked, self._asked = self._asked, None
        frame, self._frame = self._frame, None
        if asked is None and frame is None:
            return None
        return await asyncio.wrap_future(
            self._painting.submit(lambda: self._do(asked, frame), Urgency.FRAME)
        )

    def _do(self, asked: str | None, frame: bytes | None) -> bytes | None:
        if asked is not None:
            self._settings = _Settings.of(asked)
        if frame is None:
            return None
        if self._settings is None:
            raise RefusedError(400, "a frame came before the settings", "send the settings first")
        picture = _shrunk_to_width(_decode(frame), self._settings.width)
        look = self._settings.look
        rgb = self._studio.networks.of(look.chosen)(picture.rgb, **look.settings)
        return encode_jpeg(Picture(rgb), _QUALITY)


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


def _shrunk_to_width(picture: Picture, width: int) -> Picture:
    height, own = picture.rgb.shape[:2]
    return shrink(picture, round(width * max(height, own) / own))
