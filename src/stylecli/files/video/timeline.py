"""When the packets of a film are shown: all are looked at once, before any is decoded."""

from array import array
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise, zip_longest
from typing import Any

import av
from av.container import InputContainer
from av.stream import Stream
from av.video.stream import VideoStream

_NO_TIME = -(2**63)
_BACK = Fraction(1, 10)  # s: a clock that falls back by more begins again
_AHEAD = 10  # s: so does one that leaps, in formats that allow it; FFmpeg's own limit
_NEAR = 500  # packets: in a file, the streams of a part begin about as near as this


@dataclass
class _Track:
    """The packets of one stream, in the order of the file; times are in units.

    Attributes:
        unit: in seconds.
        shown: when each is shown, or decoded where the file does not say.
        decoded: when each is decoded, or ``_NO_TIME``.
        lengths: how long each lasts; 0 where the file does not say.
        places: the number of each in the file.
        first: the bytes of the first, if there is one.
    """

    unit: Fraction
    shown: "array[int]" = field(default_factory=lambda: array("q"))
    decoded: "array[int]" = field(default_factory=lambda: array("q"))
    lengths: "array[int]" = field(default_factory=lambda: array("q"))
    places: "array[int]" = field(default_factory=lambda: array("q"))
    first: bytes = b""

    def end(self, first: int = 0, last: int | None = None) -> Fraction:
        """When the last of some packets ends, in seconds."""
        some = zip(self.shown[first:last], self.lengths[first:last], strict=True)
        return max((time + length for time, length in some), default=0) * self.unit


@dataclass(frozen=True)
class Timeline:
    """How the clock of a film runs.

    Attributes:
        unit: of the picture's times, in seconds.
        start: where it begins, in seconds.
        end: where the last packet of any stream ends.
        count: packets of the picture, which are about as many as frames.
        rate: frames a second.
        shifts: for each stream, from which packet on all are shown how many seconds later; empty
            unless the clock begins again.
        first: the bytes of each stream's first packet; none if it has no packet.
    """

    unit: Fraction
    start: Fraction
    end: Fraction
    count: int
    rate: Fraction
    shifts: dict[int, tuple[tuple[int, Fraction], ...]]
    first: dict[int, bytes]

    @classmethod
    def read(cls, container: InputContainer, picture: VideoStream) -> "Timeline":
        """Look at all packets of a file; none is decoded.

        A file that cannot be read to its end is as one that ends there.

        Args:
            container: at its beginning.
            picture: the stream of the frames.
        """
        tracks = {
            stream.index: _Track(stream.time_base or Fraction(1, 1000))
            for stream in container.streams
        }
        with suppress(av.FFmpegError):
            for place, packet in enumerate(container.demux()):
                _note(tracks[packet.stream.index], packet, place)
        lead = tracks[picture.index]
        flags: Any = container.format.flags
        leaps = bool(flags & av.format.Flags.ts_discont.value)
        rate = rate_of(picture)
        rate = _rate_without_times(lead, rate) if lacks_times(container) else rate
        return cls(
            lead.unit,
            Fraction(container.start_time or 0, av.time_base),
            max(track.end() for track in tracks.values()),
            len(lead.shown),
            rate,
            _shifts(tracks, picture.index, rate, leaps),
            {index: track.first for index, track in tracks.items()},
        )

    def on_one_clock(self, packets: Iterator["av.Packet[Stream]"]) -> Iterator["av.Packet[Stream]"]:
        """All packets of a file, with times that go on where its clock begins again."""
        seen: Counter[int] = Counter()
        for packet in packets:
            index = packet.stream.index
            shift = Fraction(0)
            for first, seconds in self.shifts.get(index, ()):
                shift = seconds if seen[index] >= first else shift
            seen[index] += 1
            move(packet, shift)
            yield packet


def lacks_times(container: InputContainer) -> bool:
    """Whether a container stores the frames alone, and not when they are shown."""
    return container.format.name == "avi"


def rate_of(stream: VideoStream) -> Fraction:
    """Frames a second, as the file says: exact if it is constant, and otherwise their mean."""
    return stream.average_rate or stream.guessed_rate or Fraction(25)


def move(packet: "av.Packet[Any]", seconds: Fraction) -> None:
    """Show a packet so much later."""
    if packet.time_base:
        units = round(seconds / packet.time_base)
        packet.pts = None if packet.pts is None else packet.pts + units
        packet.dts = None if packet.dts is None else packet.dts + units


def _note(track: _Track, packet: "av.Packet[Any]", place: int) -> None:
    shown = packet.pts if packet.pts is not None else packet.dts
    if shown is None and not packet.size:  # each stream ends with an empty one
        return
    track.shown.append(shown if shown is not None else 0)
    track.decoded.append(packet.dts if packet.dts is not None else _NO_TIME)
    track.lengths.append(packet.duration or 0)
    track.places.append(place)
    track.first = track.first or bytes(packet)


def _rate_without_times(track: _Track, rate: Fraction) -> Fraction:
    """Frames a second of a file that stores no times: its own rate may be that of its clock."""
    steps = Counter(after - before for before, after in pairwise(track.decoded))
    usual = max(steps, key=steps.__getitem__, default=0)
    return 1 / (usual * track.unit) if usual > 0 else rate


def _shifts(
    tracks: dict[int, _Track], lead: int, rate: Fraction, leaps: bool
) -> dict[int, tuple[tuple[int, Fraction], ...]]:
    """For each stream: from which packet on, how many seconds later all are shown.

    The picture's times decide: they go on where they broke off. The other streams are moved with
    it, so that they stay together.
    """
    track = tracks[lead]
    begins = _find_beginnings(track, leaps)
    if not begins:
        return {}
    edges = [0, *begins, len(track.shown)]
    seconds: list[Fraction] = []
    for before, first, last in zip(edges, begins, edges[2:], strict=False):
        end = track.end(before, first) + (seconds[-1] if seconds else 0)
        if not any(track.lengths[before:first]):
            end += 1 / rate
        seconds.append(end - min(track.shown[first:last]) * track.unit)
    places = [track.places[first] for first in begins]
    return {
        index: tuple(zip(_find_partners(one, places, leaps), seconds, strict=True))
        for index, one in tracks.items()
    }


def _find_beginnings(track: _Track, leaps: bool) -> list[int]:
    """The numbers of the packets with which a clock begins again.

    One odd time between two good ones is damage, not a beginning.
    """
    back, ahead = _BACK / track.unit, _AHEAD / track.unit
    known = [n for n, time in enumerate(track.decoded) if time != _NO_TIME]
    found: list[int] = []
    before: int | None = None
    for n, after in zip_longest(known, known[1:]):
        time = track.decoded[n]
        if before is not None and (time < before - back or (leaps and time > before + ahead)):
            following = time if after is None else track.decoded[after]
            if abs(following - time) > abs(following - before):
                continue
            found.append(n)
        before = time
    return found


def _find_partners(track: _Track, places: list[int], leaps: bool) -> list[int]:
    """With which packet each part begins in a stream, where it begins at a place in the picture."""
    own = _find_beginnings(track, leaps)
    found = []
    for place in places:
        near = min(own, key=lambda n: abs(track.places[n] - place), default=None)
        if near is not None and abs(track.places[near] - place) <= _NEAR:
            found.append(near)
        else:
            found.append(sum(one < place for one in track.places))
    return found
