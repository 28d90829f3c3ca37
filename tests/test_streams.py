"""What is beside the picture of a film is kept where the container can hold it, or it is said."""

import av
import numpy as np
import pytest
from PIL import Image

from clips import convert, ffmpeg, make_clip, sound_of, start_of_sound
from stylecli.files.video.clips import read_clip_or_picture, write_clip


def streams_of(path):
    """Type, name of the codec, language and whether it is the default, of each stream."""
    with av.open(str(path)) as container:
        return [
            (
                one.type,
                one.codec_context.codec.canonical_name if one.codec_context else one.name,
                one.language,
                bool(one.disposition & 1),
            )
            for one in container.streams
        ]


def make_sound(path, codec):
    ffmpeg(
        "-i", make_clip(path.parent / "plain.mp4", frames=40), "-c:v", "copy", "-c:a", codec, path
    )
    return path


@pytest.mark.parametrize(
    ("codec", "suffix", "becomes"),
    [
        ("libopus", ".mov", "aac"),
        ("flac", ".mov", "aac"),
        ("libvorbis", ".mov", "aac"),
        ("aac", ".webm", "opus"),
        ("pcm_s16le", ".webm", "opus"),
        ("libopus", ".mp4", "opus"),
        ("flac", ".mp4", "flac"),
        ("ac3", ".mov", "ac3"),
        ("libmp3lame", ".mkv", "mp3"),
    ],
)
def test_sound_is_copied_where_it_is_held_and_otherwise_encoded_anew(
    tmp_path, codec, suffix, becomes
):
    source, target = make_sound(tmp_path / "x.mkv", codec), tmp_path / f"y{suffix}"
    name = {"libopus": "opus", "libvorbis": "vorbis", "libmp3lame": "mp3"}.get(codec, codec)
    said = convert(source, target)
    assert (f"its sound ({name}) becomes {becomes}" in said) == (name != becomes)
    assert streams_of(target)[1][1] == becomes
    assert (sound_of(target) == sound_of(source)) == (name == becomes)
    with av.open(str(target)) as container:
        frames = [frame for frame in container.decode(audio=0)]
    seconds = sum(frame.samples / frame.sample_rate for frame in frames)
    assert seconds == pytest.approx(1.6, abs=0.07)
    loudest = np.abs(np.concatenate([f.to_ndarray().astype(float).ravel() for f in frames])).max()
    assert loudest > 0


@pytest.mark.parametrize(
    ("channels", "codec", "suffix", "becomes"),
    [
        ("5.1(side)", "ac3", ".webm", "5.1"),  # as on most discs; Opus has another order alone
        ("2.1", "flac", ".webm", "3.0"),
        ("5.0", "pcm_s16le", ".m4v", "5.0"),  # PCM tells how many there are, and not which
        ("16 channels", "pcm_s16le", ".webm", "stereo"),
    ],
)
def test_sound_of_many_channels_keeps_as_many_as_can_be_held(
    tmp_path, channels, codec, suffix, becomes
):
    plain, source = make_clip(tmp_path / "plain.mp4", frames=20), tmp_path / "x.mkv"
    form = "hexadecagonal" if channels == "16 channels" else channels
    filters = f"aformat=channel_layouts={form}"
    said = ffmpeg("-i", plain, "-c:v", "copy", "-af", filters, "-c:a", codec, source)
    assert source.stat().st_size, said
    convert(source, tmp_path / f"y{suffix}")
    with av.open(str(tmp_path / f"y{suffix}")) as container:
        assert container.streams.audio[0].layout.name == becomes
        loudest = max(float(np.abs(one.to_ndarray()).max()) for one in container.decode(audio=0))
    assert loudest > 0.01


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".webm"])
def test_sound_that_begins_late_does_so_in_every_container(tmp_path, suffix):
    plain, source = make_clip(tmp_path / "plain.mp4", frames=40), tmp_path / "x.mkv"
    ffmpeg(
        *("-i", plain, "-itsoffset", "0.5", "-i", plain, "-map", "0:v", "-map", "1:a"),
        *("-c", "copy", source),
    )
    convert(source, tmp_path / f"y{suffix}")
    for path in (source, tmp_path / f"y{suffix}"):
        assert start_of_sound(path) == pytest.approx(0.5, abs=0.06)


def make_languages(folder):
    plain, source = make_clip(folder / "plain.mp4", frames=20), folder / "x.mkv"
    ffmpeg(
        *("-i", plain, "-i", plain, "-map", "0:v", "-map", "0:a", "-map", "1:a", "-c", "copy"),
        *("-metadata:s:a:0", "language=deu", "-metadata:s:a:1", "language=fra"),
        *("-disposition:a:0", "0", "-disposition:a:1", "default", source),
    )
    return source


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".mov", ".webm"])
def test_languages_and_which_sound_is_the_default_are_kept(tmp_path, suffix):
    source = make_languages(tmp_path)
    assert [one[2:] for one in streams_of(source)[1:]] == [("deu", False), ("fra", True)]
    convert(source, tmp_path / f"y{suffix}")
    after = streams_of(tmp_path / f"y{suffix}")[1:]
    german = "ger" if suffix == ".mov" else "deu"  # as QuickTime calls it
    assert [one[2:] for one in after] == [(german, False), ("fra", True)]


@pytest.mark.parametrize("metadata", [True, False])
def test_an_attachment_is_kept_in_matroska_and_elsewhere_said_by_name(tmp_path, metadata):
    (tmp_path / "f.ttf").write_bytes(bytes(range(256)) * 10)
    ffmpeg(
        *("-i", make_clip(tmp_path / "plain.mp4", frames=5), "-attach", tmp_path / "f.ttf"),
        *("-metadata:s:2", "mimetype=application/x-truetype-font", "-c", "copy"),
        tmp_path / "x.mkv",
    )
    clip, said = read_clip_or_picture(tmp_path / "x.mkv", tmp_path / "y.mkv")
    assert said == ""
    write_clip(clip, tmp_path / "y.mkv", clip.frames(), 90, metadata=metadata)
    with av.open(str(tmp_path / "y.mkv")) as container:
        (kept,) = container.streams.attachments
        assert (kept.name, kept.data) == ("f.ttf", (tmp_path / "f.ttf").read_bytes())
    said = convert(tmp_path / "x.mkv", tmp_path / "y.mp4")
    assert said == f"{tmp_path}/x.mkv: {tmp_path}/y.mp4 is without its attachment f.ttf"


@pytest.mark.parametrize("first", [".mp4", ".mkv"])
@pytest.mark.parametrize("second", [".mp4", ".mkv"])
def test_a_cover_picture_is_kept_and_never_taken_for_the_film(tmp_path, first, second):
    Image.new("RGB", (32, 32), (200, 30, 30)).save(tmp_path / "cover.jpg")
    plain, source = make_clip(tmp_path / "plain.mp4", frames=5), tmp_path / f"x{first}"
    if first == ".mp4":
        ffmpeg(
            *("-i", tmp_path / "cover.jpg", "-i", plain, "-map", "0", "-map", "1", "-c", "copy"),
            *("-disposition:v:0", "attached_pic", source),
        )
    else:
        ffmpeg(
            *("-i", plain, "-attach", tmp_path / "cover.jpg", "-metadata:s:2"),
            *("mimetype=image/jpeg", "-c", "copy", source),
        )
    assert convert(source, tmp_path / f"y{second}") == ""
    with av.open(str(tmp_path / f"y{second}")) as container:
        (cover,) = [one for one in container.streams.video if one.disposition & 1024]
        (packet,) = [one for one in container.demux(cover) if one.size]
        assert bytes(packet) == (tmp_path / "cover.jpg").read_bytes()


def test_a_second_film_in_a_file_is_left_out_and_that_is_said(tmp_path):
    plain = make_clip(tmp_path / "plain.mp4", frames=5)
    ffmpeg("-i", plain, "-i", plain, "-map", "0", "-map", "1:v", "-c", "copy", tmp_path / "x.mkv")
    said = convert(tmp_path / "x.mkv", tmp_path / "y.mkv")
    assert said.endswith("y.mkv is without its second picture (h264)")


def test_a_timecode_is_kept(tmp_path):
    plain = make_clip(tmp_path / "plain.mp4", frames=5)
    ffmpeg("-i", plain, "-c", "copy", "-timecode", "01:00:00:00", tmp_path / "x.mov")
    assert convert(tmp_path / "x.mov", tmp_path / "y.mov") == ""
    with av.open(str(tmp_path / "y.mov")) as container:
        assert "01:00:00:00" in {one.metadata.get("timecode") for one in container.streams}
