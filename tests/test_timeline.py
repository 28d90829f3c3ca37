"""The clock of a film: it may begin late, begin again, or be odd for a moment."""

from fractions import Fraction

import pytest

from clips import convert, ffmpeg, make_clip, open_film, packets, shown_at
from stylecli.files.video.films import open_video
from stylecli.files.video.timeline import Timeline


def make_parts(folder, *offsets, frames=20):
    """Streams of one clip that were put one after another: each has a clock of its own."""
    plain = make_clip(folder / "plain.mp4", frames=frames)
    parts = []
    for number, offset in enumerate(offsets):
        part = folder / f"{number}.ts"
        ffmpeg("-i", plain, "-c", "copy", "-output_ts_offset", offset, part)
        parts.append(part.read_bytes())
    joined = folder / "joined.ts"
    joined.write_bytes(b"".join(parts))
    return joined


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("offsets", [(0, 0), (0, 0, 0), (100, 3), (3, 100)])
def test_where_a_clock_begins_again_pictures_and_sound_go_on_and_it_is_said(
    tmp_path, offsets, suffix
):
    joined = make_parts(tmp_path, *offsets)
    said = convert(joined, tmp_path / f"x{suffix}")
    assert said.count("its clock begins again, and its times go on where they broke off") == 1
    times = shown_at(tmp_path / f"x{suffix}")
    expected = [n / 25 for n in range(20 * len(offsets))]
    assert [time - times[0] for time in times] == pytest.approx(expected, abs=2e-3)
    sound = packets(tmp_path / f"x{suffix}", "0:a")
    end = max(packet.time + packet.seconds for packet in sound)
    assert float(end) == pytest.approx(0.8 * len(offsets), abs=0.1)


def test_one_packet_with_an_odd_time_is_not_a_beginning(tmp_path):
    """In a copy of the list of packets, the time of one is two seconds early."""
    path = make_clip(tmp_path / "x.ts", frames=100)
    with open_video(path) as (container, stream):

        class Odd:
            streams, format, start_time = container.streams, container.format, container.start_time

            def demux(self):
                for number, packet in enumerate(container.demux(stream)):
                    if number == 60:
                        packet.dts -= 180_000
                    yield packet

        timeline = Timeline.read(Odd(), stream)
    assert not timeline.shifts


@pytest.mark.parametrize(("name", "codec"), [("x.mkv", "copy"), ("x.webm", "libvpx-vp9")])
def test_a_film_whose_clock_begins_late_is_whole_and_begins_at_once(tmp_path, name, codec):
    plain = make_clip(tmp_path / "plain.mp4", frames=40, sound=False)
    ffmpeg("-i", plain, "-c", codec, "-output_ts_offset", 50, tmp_path / name)
    assert open_film(tmp_path / name).count == 40
    convert(tmp_path / name, tmp_path / f"y{name}")
    assert shown_at(tmp_path / f"y{name}") == [n / 25 for n in range(40)]


def test_a_film_whose_clock_begins_late_and_that_ends_early_is_damaged(tmp_path):
    plain, path = make_clip(tmp_path / "plain.mp4", frames=200), tmp_path / "x.mkv"
    ffmpeg("-i", plain, "-c", "copy", "-output_ts_offset", 5, path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    with pytest.raises(Exception, match=r"x\.mkv is damaged"):
        open_film(path)


def test_what_a_timeline_tells_of_a_plain_film(tmp_path):
    with open_video(make_clip(tmp_path / "x.mp4", rate="30000/1001", frames=30)) as streams:
        timeline = Timeline.read(*streams)
    assert (timeline.count, timeline.rate) == (30, Fraction(30000, 1001))
    assert not timeline.shifts
    assert timeline.first.keys() == {0, 1}
