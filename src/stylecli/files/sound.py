"""Sound encoded anew, where a container cannot hold it as it is."""

from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from typing import Any

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import OutputContainer

_USUAL_RATE = 48_000  # Hz
_BITS = 96_000  # a second and channel
_MOST_BITS = 320_000


class Sound:
    """A stream of sound that is decoded and encoded; pauses become silence.

    Args:
        output: the container to write.
        stream: of the film that is read.
        encoder: FFmpeg's name of an encoder.
        start: where the film's clock begins, in seconds, if the sound is to begin there; None to
            begin it where it begins.
    """

    def __init__(
        self, output: OutputContainer, stream: AudioStream, encoder: str, start: Fraction | None
    ) -> None:
        codec = av.codec.Codec(encoder, "w")
        rates = codec.audio_rates
        own = stream.codec_context
        self.rate = own.sample_rate if not rates or own.sample_rate in rates else _USUAL_RATE
        layout = "mono" if own.layout.nb_channels == 1 else "stereo"
        if encoder != "libmp3lame" and own.layout.nb_channels > 2:
            layout = own.layout.name
        made: Any = output.add_stream(encoder, self.rate)
        self.stream: AudioStream = made
        self.stream.layout = layout
        self.stream.bit_rate = min(_MOST_BITS, _BITS * self.stream.layout.nb_channels)
        self._decoder = own
        self._start = start
        self._graph: av.filter.Graph | None = None

    def encode(self, packet: "av.Packet[Any]") -> Iterator["av.Packet[Any]"]:
        """The packets that are ready after a packet of the film; an empty one ends it."""
        frames: list[AudioFrame] = []
        with suppress(av.FFmpegError):  # a packet that is damaged becomes silence
            frames = self._decoder.decode(packet if packet.size else None)
        for frame in frames:
            if frame.pts is None:
                continue
            if self._graph is None:
                self._graph = self._even(frame)
            unit = Fraction(1, frame.sample_rate)
            frame.pts = round(frame.pts * (frame.time_base or unit) / unit)
            frame.time_base = unit
            self._graph.push(frame)
            yield from self._encode_ready()
        if not packet.size and self._graph is not None:
            self._graph.push(None)
            yield from self._encode_ready()
            yield from self.stream.encode(None)

    def _encode_ready(self) -> Iterator["av.Packet[Any]"]:
        assert self._graph is not None
        with suppress(av.BlockingIOError, av.EOFError):
            while True:
                frame: Any = self._graph.pull()
                yield from self.stream.encode(frame)

    def _even(self, first: AudioFrame) -> av.filter.Graph:
        """Filters after which samples follow each other without a gap, as the encoder wants."""
        graph = av.filter.Graph()
        fill = f"{self.rate}:async=1:min_hard_comp=0.02"
        if self._start is not None:
            fill += f":first_pts={round(self._start * self.rate)}"
        context = self.stream.codec_context
        graph.link_nodes(
            graph.add_abuffer(
                sample_rate=first.sample_rate, format=first.format, layout=first.layout
            ),
            graph.add("aresample", fill),
            graph.add(
                "aformat",
                f"sample_fmts={context.format.name}:channel_layouts={context.layout.name}",
            ),
            graph.add("abuffersink"),
        ).configure()
        return graph
