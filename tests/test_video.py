"""Videos: what is not the picture stays as it was."""

import os
import re
import subprocess
import sys
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clips import (
    convert,
    count_and_seconds,
    ffmpeg,
    frames_of,
    make_clip,
    open_film,
    packets,
    shown_at,
    sound_of,
)
from stylecli.config import StylizeConfig
from stylecli.engine.painter import Painter
from stylecli.events import Notice
from stylecli.files.formats import ImageError
from stylecli.files.jobs import Job, plan
from stylecli.files.video.clips import write_clip
from stylecli.files.video.films import Video

AS_IT_IS = StylizeConfig(strength=0)


@pytest.mark.parametrize("name", ["x.mp4", "x.mkv", "x.mov"])
def test_frames_length_sound_and_colors_survive(stylizer, tmp_path, name):
    source = make_clip(tmp_path / name, rate="24000/1001")
    (result,) = stylizer.run(source, tmp_path / "out", AS_IT_IS)
    assert not result.error
    painted = tmp_path / "out" / name
    assert count_and_seconds(painted) == pytest.approx(count_and_seconds(source), abs=1e-3)
    assert sound_of(painted) == sound_of(source) != ""
    before, after = frames_of(source, 64, 48).astype(int), frames_of(painted, 64, 48)
    assert np.abs(after - before).mean() < 8  # of testing colors, at half their resolution
    assert np.abs((after - before).mean((0, 1, 2))).max() < 3  # and no cast


@pytest.mark.parametrize("names", ["x.mp4 y.mp4", "x.mkv y.mp4", "x.avi y.mov"])
@pytest.mark.parametrize("rate", ["30000/1001", "24000/1001", "25"])
def test_a_constant_rate_stays_exact(tmp_path, names, rate):
    """Also from Matroska, which stores milliseconds: 33, 34, 33."""
    first, second = names.split()
    video = open_film(make_clip(tmp_path / first, rate=rate, frames=40, sound=False))
    write_clip(video, tmp_path / second, video.frames(), 90)
    times = sorted(packet.time for packet in packets(tmp_path / second, "0:v"))
    assert times == [n / Fraction(rate) for n in range(40)]
    assert open_film(tmp_path / second).timeline.rate == Fraction(rate)


@pytest.mark.parametrize("name", ["x.mp4", "x.mkv", "x.webm"])
def test_a_variable_rate_keeps_every_time(stylizer, tmp_path, name):
    """Frame n is shown at n² hundredths of a second."""
    source, codec = tmp_path / name, "libvpx-vp9" if name.endswith("webm") else "libx264"
    ffmpeg(
        *("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25", "-frames:v", 12),
        *("-vf", "settb=1/90000,setpts=N*N*900", "-fps_mode", "passthrough"),
        *("-enc_time_base", "1/90000", "-c:v", codec, "-pix_fmt", "yuv420p", source),
    )
    before = sorted(packet.time for packet in packets(source, "0:v"))
    assert before == [Fraction(n * n, 100) for n in range(12)]
    (result,) = stylizer.run(source, tmp_path / "out", AS_IT_IS)
    assert not result.error
    assert sorted(packet.time for packet in packets(tmp_path / "out" / name, "0:v")) == before
    pictures = frames_of(source, 64, 48), frames_of(tmp_path / "out" / name, 64, 48)
    assert np.abs(np.subtract(*pictures, dtype=int)).mean() < 8


@pytest.mark.parametrize("name", ["x.mp4", "x.mkv", "x.mov"])
def test_every_packet_of_sound_is_copied(tmp_path, name):
    source = make_clip(tmp_path / name, frames=50)
    video = open_film(source)
    write_clip(video, tmp_path / f"y{source.suffix}", video.frames(), 90)
    before, after = (
        [(packet.time, packet.content) for packet in packets(path, "0:a")]
        for path in (source, tmp_path / f"y{source.suffix}")
    )
    assert after == before
    assert len(after) > 80


SUBTITLES = "1\n00:00:00,100 --> 00:00:00,500\nHello\n\n2\n00:00:00,700 --> 00:00:01,000\nWorld\n\n"


@pytest.mark.parametrize(
    ("first", "codec", "second", "lost"),
    [
        ("x.mkv", "srt", "y.mkv", ""),
        ("x.mkv", "ass", "y.mkv", ""),
        ("x.mp4", "mov_text", "y.mov", ""),
        ("x.mkv", "ass", "y.mp4", "is without its subtitles (ssa)"),
    ],
)
def test_subtitles_are_copied_or_it_is_said(stylizer, tmp_path, first, codec, second, lost):
    (tmp_path / "s.srt").write_text(SUBTITLES)
    plain, source = make_clip(tmp_path / "plain.mp4", frames=30), tmp_path / first
    ffmpeg(
        *("-i", plain, "-i", tmp_path / "s.srt", "-map", "0", "-map", 1, "-c", "copy"),
        *("-c:s", codec, "-metadata:s:s:0", "language=fra", source),
    )
    seen = []
    jobs = plan([source], tmp_path / second).jobs
    (result,) = stylizer.run_jobs(jobs, seen.append, config=AS_IT_IS)
    assert not result.error
    said = ffmpeg("-i", tmp_path / second, "-map", "0:s:0", "-f", "srt", "-")
    assert ("(fra): Subtitle:" in said) == (not lost)
    assert ("Hello" in said and "00:00:00,700 --> 00:00:01,000" in said) == (not lost)
    notices = [event.text for event in seen if isinstance(event, Notice)]
    assert notices == ([f"{source}: {tmp_path / second} {lost}"] if lost else [])


def test_frames_that_are_stored_in_another_order_stay_in_theirs(stylizer, tmp_path):
    """Two seconds that grow brighter, with B-frames in the file."""
    source = tmp_path / "x.mp4"
    ffmpeg(
        *("-f", "lavfi", "-i", "color=black:size=64x48:rate=25", "-frames:v", 50),
        *("-vf", "geq=lum='40+3*N':cb=128:cr=128", "-pix_fmt", "yuv420p"),
        *("-c:v", "libx264", "-x264-params", "bframes=3:b-adapt=0:scenecut=0", source),
    )
    stylizer.run(source, tmp_path / "out", AS_IT_IS)
    stored = [packet.time for packet in packets(source, "0:v")]
    assert stored != sorted(stored)
    for path in (source, tmp_path / "out" / "x.mp4"):
        times = [packet.time for packet in packets(path, "0:v")]
        assert sorted(times) == [Fraction(n, 25) for n in range(50)]
        steps = np.diff(frames_of(path, 64, 48).mean((1, 2, 3)))
        assert steps.min() > 1 and steps.max() < 6


def test_sound_may_be_longer_than_the_picture(tmp_path):
    ffmpeg(
        *("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25:duration=1"),
        *("-f", "lavfi", "-i", "sine=duration=8", "-c:a", "aac", tmp_path / "x.mkv"),
    )
    assert len(list(open_film(tmp_path / "x.mkv").frames())) == 25


def test_languages_and_chapters_are_kept(stylizer, tmp_path):
    plain, source = make_clip(tmp_path / "plain.mp4", frames=30), tmp_path / "x.mkv"
    chapter = "[CHAPTER]\nTIMEBASE=1/10\nSTART={}\nEND={}\ntitle={}\n"
    tags = (";FFMETADATA1\n", chapter.format(0, 4, "First"), chapter.format(4, 9, "Second"))
    (tmp_path / "tags").write_text("".join(tags))
    ffmpeg(
        *("-i", plain, "-i", tmp_path / "tags", "-map_metadata", 1, "-c", "copy"),
        *("-metadata:s:a:0", "language=fra", source),
    )
    stylizer.run(source, tmp_path / "y.mp4", AS_IT_IS)
    said = ffmpeg("-i", tmp_path / "y.mp4")
    assert "(fra): Audio" in said
    assert re.search(r"start 0.40*, end 0.90*\s+Metadata:\s+title +: Second", said)


def test_a_silent_webm(stylizer, tmp_path):
    source = make_clip(tmp_path / "x.mp4", frames=3, sound=False)
    (result,) = stylizer.run(source, tmp_path / "x.webm", AS_IT_IS)
    assert not result.error
    assert frames_of(tmp_path / "x.webm", 64, 48).shape == (3, 48, 64, 3)


def test_every_frame_is_painted_as_a_photo_is(stylizer, tmp_path):
    source = make_clip(tmp_path / "x.mp4", frames=3, sound=False)
    stylizer.run(source, tmp_path / "painted.mp4", StylizeConfig(quality=100))
    painted = frames_of(tmp_path / "painted.mp4", 64, 48).astype(int)
    for frame, photo in zip(painted, frames_of(source, 64, 48), strict=True):
        assert np.abs(frame - stylizer(photo)).mean() < 15


def test_no_more_than_a_few_frames_are_in_memory(stylizer, tmp_path, monkeypatch):
    source = make_clip(tmp_path / "x.mp4", frames=60, sound=False)
    read = painted = most = 0
    frames = Video.frames

    def counted(self):
        nonlocal read
        for frame in frames(self):
            read += 1
            yield frame

    def paint(self, images, config, scratch):
        nonlocal painted, most
        painted += len(images)
        most = max(most, read - painted)
        return list(images)

    monkeypatch.setattr(Video, "frames", counted)
    monkeypatch.setattr(Painter, "__call__", paint)
    stylizer.run(source, tmp_path / "out")
    assert painted == 60
    # 4 are decoded ahead, 1 is handed over, and 1 more than may be painted at once waits for that.
    assert most <= 4 + 1 + stylizer._paint.at_once + 1


def test_a_stopped_video_leaves_nothing(stylizer, tmp_path):
    source = make_clip(tmp_path / "x.mp4", frames=30)
    seen = []
    jobs = plan([source], tmp_path / "out").jobs
    results = stylizer.run_jobs(jobs, seen.append, lambda: len(seen) > 2)
    assert results == []
    assert len(seen) == 3
    assert list((tmp_path / "out").iterdir()) == []
    assert not stylizer.run(source, tmp_path / "out", AS_IT_IS)[0].error  # and again, to the end


def test_what_is_no_video_is_named_and_the_rest_is_done(stylizer, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    whole = make_clip(folder / "b.mp4", frames=5).read_bytes()
    (folder / "a.mp4").write_text("no video")
    (folder / "c.mp4").write_bytes(whole[: len(whole) // 3])
    film = make_clip(folder / "d.mkv", frames=200).read_bytes()
    (folder / "d.mkv").write_bytes(film[: len(film) // 3])
    results = stylizer.run(folder, tmp_path / "out", AS_IT_IS)
    assert [bool(result.error) for result in results] == [True, False, True, True]
    assert "a.mp4 is not a video that can be read" in results[0].error
    assert re.search(r"d.mkv is damaged: \d+ of about 200 frames", results[3].error)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b.mp4"]


def test_the_head_of_a_video(tmp_path):
    video = open_film(make_clip(tmp_path / "x.mp4", frames=30))
    assert (video.count, video.pixel_shape) == (30, 1)
    with pytest.raises(ImageError, match=r"y\.mp4: No such file"):
        open_film(tmp_path / "y.mp4")


def test_a_full_disk_leaves_nothing_and_is_said(tmp_path):
    (tmp_path / "in").mkdir()
    make_clip(tmp_path / "in" / "x.mkv", frames=100)
    command = f"ulimit -f 20; exec {sys.executable} -m stylecli stylize in out --strength 0"
    done = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "error: cannot write out/x.mkv" in done.stderr
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(("strip", "kept"), [(False, True), (True, False)])
@pytest.mark.parametrize("sound", [False, True])
def test_metadata_is_kept_or_stripped(stylizer, tmp_path, strip, kept, sound):
    plain = make_clip(tmp_path / "plain.mp4", frames=3, sound=sound)
    source = tmp_path / "x.mp4"
    ffmpeg("-i", plain, "-c", "copy", "-metadata", "title=Secret", source)
    stylizer.run(source, tmp_path / "out", StylizeConfig(strip_metadata=strip))
    assert ("Secret" in ffmpeg("-i", tmp_path / "out" / "x.mp4")) == kept


def test_pixels_that_are_not_square_stay_so(stylizer, tmp_path):
    plain = make_clip(tmp_path / "plain.mp4", frames=3)
    source = tmp_path / "x.mp4"
    ffmpeg("-i", plain, "-vf", "setsar=16/11", source)
    stylizer.run(source, tmp_path / "out", AS_IT_IS)
    assert "SAR 16:11" in ffmpeg("-i", tmp_path / "out" / "x.mp4")


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
@pytest.mark.parametrize("flips", [[], ["-display_hflip"], ["-display_vflip"]])
def test_a_video_turned_or_mirrored_in_any_way_is_read_as_it_is_shown(tmp_path, turn, flips):
    plain, source = make_clip(tmp_path / "plain.mp4", frames=1, sound=False), tmp_path / "x.mp4"
    ffmpeg("-display_rotation", turn, *flips, "-i", plain, "-c", "copy", source)
    (frame,) = [one.picture for one in open_film(source).frames()]
    width, height = (48, 64) if turn % 180 else (64, 48)
    (shown,) = frames_of(source, width, height)
    assert np.abs(frame.rgb.astype(int) - shown).mean() < 2


def test_a_turned_video_is_painted_upright(stylizer, tmp_path):
    plain = make_clip(tmp_path / "plain.mp4", frames=3)
    ffmpeg("-display_rotation", "90", "-i", plain, "-c", "copy", tmp_path / "x.mp4")
    stylizer.run(tmp_path / "x.mp4", tmp_path / "out", AS_IT_IS)
    upright = frames_of(tmp_path / "out/x.mp4", 48, 64)
    expected = np.rot90(frames_of(plain, 64, 48), axes=(1, 2))
    assert np.abs(upright.astype(int) - expected).mean() < 12


def test_a_name_with_a_colon_and_photos_told_before_a_video_begins(stylizer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_clip(tmp_path / "x:y.mp4", frames=3)
    for name in ("a.png", "b.png"):
        Image.new("RGB", (40, 30)).save(name)
    seen = []
    jobs = plan([Path("a.png"), Path("b.png"), Path("x:y.mp4")], Path("o:ut")).jobs
    stylizer.run_jobs(jobs, seen.append)
    assert [getattr(event, "error", None) for event in seen] == ["", "", None, None, None, ""]


LINEAR = "format=gbrp,setparams=colorspace=gbr:color_primaries=bt709:color_trc=bt709:range=pc"
LINEAR += ",zscale=t=linear:npl=203,format=gbrpf32le"


def make_hdr(path, transfer):
    """The testing colors of ``make_clip`` as a phone would record them in HDR."""
    ffmpeg(
        *("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25", "-frames:v", 3),
        *("-vf", f"{LINEAR},zscale=p=bt2020:t={transfer}:m=bt2020nc:r=tv:npl=203"),
        *("-pix_fmt", "yuv420p10le", "-c:v", "libx265", "-color_trc", transfer),
        *("-color_primaries", "bt2020", "-colorspace", "bt2020nc", path),
    )
    return path


@pytest.mark.parametrize("transfer", ["arib-std-b67", "smpte2084"])
def test_hdr_keeps_its_contrast_and_colors(tmp_path, transfer):
    """Shown as if it were not HDR, it is gray: half the contrast, and half the color."""
    plain = frames_of(make_clip(tmp_path / "plain.mp4", frames=3), 64, 48).astype(int)
    video = open_film(make_hdr(tmp_path / "x.mp4", transfer))
    hdr = np.stack([frame.picture.rgb for frame in video.frames()]).astype(int)

    def contrast_and_color(frames):
        return frames.std(), (frames.max(-1) - frames.min(-1)).mean()

    for got, wanted in zip(contrast_and_color(hdr), contrast_and_color(plain), strict=True):
        assert got > 0.68 * wanted
    assert hdr.mean() == pytest.approx(plain.mean(), rel=0.1)


def make_clear(path, codec):
    """A clip whose left half is hidden, and whose colors there are not gray."""
    clear = "format=rgba,geq=r='r(X,Y)':g='g(X,Y)':b='b(X,Y)':a='if(lt(X,32),0,255)'"
    ffmpeg(
        *("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25", "-frames:v", 3, "-vf", clear),
        *("-c:v", codec, "-pix_fmt", "yuva420p" if "vp" in codec else "argb"),
        *(["-auto-alt-ref", "0"] if codec == "libvpx" else []),
        path,
    )
    return path


@pytest.mark.parametrize(
    ("name", "codec"), [("x.webm", "libvpx-vp9"), ("x.webm", "libvpx"), ("x.mov", "qtrle")]
)
def test_a_transparent_video_stays_so_in_webm_and_elsewhere_it_is_said(
    stylizer, tmp_path, name, codec
):
    source = make_clear(tmp_path / name, codec)
    frame = next(open_film(source).frames()).picture
    assert frame.alpha.shape == (48, 64)
    assert (frame.alpha[:, :28].max(), frame.alpha[:, 36:].min()) == (0, 255)
    assert (frame.rgb[:, :28] == 128).all()

    seen = []
    webm, mp4 = tmp_path / "out.webm", tmp_path / "out.mp4"
    for target in (webm, mp4):
        (result,) = stylizer.run_jobs(plan([source], target).jobs, seen.append, config=AS_IT_IS)
        assert not result.error
    (again,) = {(frame.picture.alpha < 128).mean().round(2) for frame in open_film(webm).frames()}
    assert again == pytest.approx(0.5, abs=0.05)
    (notice,) = (event.text for event in seen if isinstance(event, Notice))
    assert notice == f"{source}: its transparency is lost in {mp4}; a .webm would keep it"
    assert np.abs(frames_of(mp4, 64, 48)[:, :, :28].astype(int) - 128).mean() < 4


def test_only_video_containers_are_opened_whatever_the_name(tmp_path):
    """By its content, ffmpeg would read a list of addresses, and fetch each."""
    make_clip(tmp_path / "secret.mp4", frames=3)
    ffmpeg("-i", tmp_path / "secret.mp4", "-c", "copy", "-f", "mpegts", tmp_path / "secret.ts")
    (tmp_path / "hls.mp4").write_text("#EXTM3U\n#EXTINF:1,\nsecret.ts\n#EXT-X-ENDLIST\n")
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile secret.mp4\n")
    for name in ("hls.mp4", "list.mp4"):
        with pytest.raises(ImageError, match=f"{name} is not a video that can be read"):
            open_film(tmp_path / name)


def test_the_same_video_becomes_the_same_bytes_in_every_run(stylizer, tmp_path):
    source = make_clip(tmp_path / "x.mkv", frames=3)
    for name in ("x.mkv", "x.mp4"):
        for folder in ("a", "b"):
            (tmp_path / folder).mkdir(exist_ok=True)
            stylizer.run(source, tmp_path / folder / name, AS_IT_IS)
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_pipe_with_the_name_of_a_video_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "x.mp4")
    with pytest.raises(ImageError, match=r"x\.mp4 is a named pipe"):
        open_film(tmp_path / "x.mp4")


def test_a_folder_that_cannot_be_written_is_said_as_such(stylizer, tmp_path):
    source = make_clip(tmp_path / "x.mp4", frames=3)
    (tmp_path / "file").touch()
    (result,) = stylizer.run_jobs([Job(source, tmp_path / "file" / "x.mp4")], config=AS_IT_IS)
    assert f"{tmp_path}/file is not a folder, or lies in a file" in result.error


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".m4v", ".webm"])
def test_each_picture_keeps_its_time_beside_the_sound(tmp_path, suffix, codec):
    source = tmp_path / "x.mkv"
    ffmpeg(
        *("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25", "-f", "lavfi", "-i", "sine"),
        *("-frames:v", 30, "-t", "1.2", "-c:v", codec, "-bf", "2", "-c:a", "libmp3lame", source),
    )
    convert(source, tmp_path / f"y{suffix}")
    assert shown_at(tmp_path / f"y{suffix}") == [n / 25 for n in range(30)]
    before, after = (frames_of(path, 64, 48) for path in (source, tmp_path / f"y{suffix}"))
    assert np.abs(after.astype(int) - before).mean() < 12


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_an_avi_whose_pictures_are_stored_in_another_order_is_read_in_theirs(
    tmp_path, suffix, codec
):
    """It holds no times, and the last frames come after the last packet."""
    source = tmp_path / "x.avi"
    ffmpeg(
        *("-f", "lavfi", "-i", "color=black:size=64x48:rate=25", "-frames:v", 30),
        *("-vf", "geq=lum='40+5*N':cb=128:cr=128", "-pix_fmt", "yuv420p", "-c:v", codec),
        *("-bf", 2, *(["-x264-params", "b-adapt=0:scenecut=0"] if codec == "libx264" else [])),
        source,
    )
    convert(source, tmp_path / f"y{suffix}")
    assert np.diff(shown_at(tmp_path / f"y{suffix}")) == pytest.approx(1 / 25, abs=1e-3)
    assert np.diff(frames_of(tmp_path / f"y{suffix}", 64, 48).mean((1, 2, 3))).min() > 1


def test_frames_that_leave_out_steps_of_a_coarse_clock_keep_their_times(tmp_path):
    """Ten frames a second on a clock of 25: steps of 3 and 2 are no constant rate."""
    source = tmp_path / "x.avi"
    ffmpeg(
        *("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=10", "-frames:v", 12),
        *("-vf", "settb=1/25,setpts=trunc(N*2.5)", "-fps_mode", "passthrough"),
        *("-enc_time_base", "1/25", "-c:v", "mjpeg", "-pix_fmt", "yuvj420p", source),
    )
    times = shown_at(source)
    assert {round(25 * (b - a)) for a, b in pairwise(times)} == {2, 3}
    convert(source, tmp_path / "y.mp4")
    assert shown_at(tmp_path / "y.mp4") == times


@pytest.mark.parametrize("suffix", [".mkv", ".gif"])
def test_frames_of_another_size_keep_their_proportions(stylizer, tmp_path, suffix):
    """A white square in each: it stays square, and what is beside the narrow frames is black."""
    parts = []
    for name, size in (("a.ts", "96x64"), ("b.ts", "48x64")):
        box = "drawbox=x=(iw-16)/2:y=(ih-16)/2:w=16:h=16:color=white:t=fill"
        ffmpeg(
            *("-f", "lavfi", "-i", f"color=gray:size={size}:rate=10:duration=1", "-vf", box),
            *("-c:v", "libx264", tmp_path / name),
        )
        parts.append((tmp_path / name).read_bytes())
    (tmp_path / "both.ts").write_bytes(b"".join(parts))
    ffmpeg("-i", tmp_path / "both.ts", "-c", "copy", tmp_path / "x.mkv")
    assert {frame.picture.rgb.shape for frame in open_film(tmp_path / "x.mkv").frames()} == {
        (64, 96, 3),
        (64, 48, 3),
    }
    (result,) = stylizer.run(tmp_path / "x.mkv", tmp_path / f"y{suffix}", AS_IT_IS)
    assert not result.error
    last = frames_of(tmp_path / f"y{suffix}", 96, 64)[-1].mean(-1)
    assert last[:, :22].max() < 40 and last[:, -22:].max() < 40
    tall, wide = np.flatnonzero((last > 200).any(1)), np.flatnonzero((last > 200).any(0))
    assert 14 <= len(tall) <= 18 and 14 <= len(wide) <= 18


@pytest.mark.parametrize(("name", "codec"), [("x.mp4", "libx264"), ("x.mpg", "mpeg2video")])
@pytest.mark.parametrize("first", ["tff", "bff"])
def test_fields_become_whole_frames(tmp_path, name, codec, first):
    """A bar that moves: its lines of two moments form a comb, in which neighbors differ."""
    source = tmp_path / name
    moving = "geq=lum='if(between(X,8*N,8*N+12),235,40)':cb=128:cr=128"
    ffmpeg(
        *("-f", "lavfi", "-i", "color=black:size=160x96:rate=50:duration=0.4"),
        *("-vf", f"{moving},interlace=scan={first},setfield={first}", "-c:v", codec),
        *("-flags", "+ildct+ilme", "-qscale:v", "2", "-pix_fmt", "yuv420p", source),
    )

    def comb(frames):
        gray = frames.astype(int).mean(-1)
        return np.abs(gray[:, 1:-1] - (gray[:, :-2] + gray[:, 2:]) / 2).mean()

    read = np.stack([frame.picture.rgb for frame in open_film(source).frames()])
    raw = frames_of(source, 160, 96)
    assert len(read) == len(raw) == 10
    assert comb(read) < 0.25 * comb(raw)
    convert(source, tmp_path / "y.mp4")
    assert np.diff(shown_at(tmp_path / "y.mp4")) == pytest.approx(0.04, abs=1e-3)


@pytest.mark.parametrize(
    ("suffix", "codecs"),
    [
        *((suffix, ("libx264", "aac")) for suffix in (".ts", ".mts", ".m2ts", ".flv", ".3gp")),
        *((suffix, ("mpeg2video", "mp2")) for suffix in (".mpg", ".mpeg", ".vob", ".mxf")),
        *((suffix, ("wmv2", "wmav2")) for suffix in (".wmv", ".asf")),
        (".avi", ("mpeg4", "pcm_s16le")),
        (".ogv", ("libtheora", "libvorbis")),
    ],
)
def test_a_container_that_is_read_and_not_written_becomes_mp4_and_it_is_said(
    stylizer, tmp_path, suffix, codecs
):
    plain, source = make_clip(tmp_path / "plain.mp4", frames=20), tmp_path / "in" / f"x{suffix}"
    source.parent.mkdir()
    sound = "pcm_s16le" if suffix == ".mxf" else codecs[1]
    ffmpeg(
        *("-i", plain, "-c:v", codecs[0], "-c:a", sound, "-ar", 48000),
        *("-f", "vob", source) if suffix == ".vob" else (source,),
    )
    seen = []
    jobs = plan([source.parent], tmp_path / "out").jobs
    (result,) = stylizer.run_jobs(jobs, seen.append, config=AS_IT_IS)
    assert not result.error
    notices = [event.text for event in seen if isinstance(event, Notice)]
    target = tmp_path / "out" / "x.mp4"
    assert notices[0] == f"{source} becomes {target}: {suffix} is read, and not written"
    times = shown_at(target)
    steps = [(time - times[0]) * 25 for time in times]
    assert steps == pytest.approx(np.round(steps), abs=0.03)
    assert round(steps[-1]) == 19 and times[0] < 0.1
    assert len(times) == 20 or suffix == ".ogv"  # whose encoder leaves out what is alike
    assert sound_of(target)
    (named,) = plan([source], tmp_path / f"named{suffix}").jobs
    assert named.target == tmp_path / "named.mp4" and "not written" in named.note
