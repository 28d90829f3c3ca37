"""Videos: what is not the picture stays as it was."""

from fractions import Fraction

import numpy as np
import pytest

from clips import count_and_seconds, frames_of, make_clip, sound_of
from stylecli.config import DEFAULT_MODEL, StylizeConfig
from stylecli.engine import Stylizer
from stylecli.files.images import ImageError
from stylecli.files.jobs import plan
from stylecli.files.video import Video, exact_rate

AS_IT_IS = StylizeConfig(strength=0)


@pytest.fixture(scope="module")
def stylizer() -> Stylizer:
    return Stylizer(DEFAULT_MODEL, device="cpu")


@pytest.mark.parametrize(
    ("printed", "exact"),
    [
        (23.98, Fraction(24000, 1001)),
        (29.97, Fraction(30000, 1001)),
        (59.94, Fraction(60000, 1001)),
        (119.88, Fraction(120000, 1001)),
        *((rate, Fraction(rate)) for rate in (10, 15, 24, 25, 30, 50, 60, 120)),
        (12.5, Fraction(25, 2)),
        (7.2, Fraction(36, 5)),
    ],
)
def test_a_printed_rate_becomes_the_one_that_was_meant(printed, exact):
    assert exact_rate(float(printed)) == exact


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

    def paint(self, images):
        nonlocal painted, most
        painted += len(images)
        most = max(most, read - painted)
        return list(images)

    monkeypatch.setattr(Video, "frames", counted)
    monkeypatch.setattr(Stylizer, "_paint", paint)
    stylizer.run(source, tmp_path / "out")
    assert painted == 60
    assert most <= 6


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
    results = stylizer.run(folder, tmp_path / "out", AS_IT_IS)
    assert [bool(result.error) for result in results] == [True, False, True]
    assert "a.mp4 is not a video that can be read" in results[0].error
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b.mp4"]


def test_sound_that_a_container_cannot_hold_is_a_clear_error(stylizer, tmp_path):
    source = make_clip(tmp_path / "x.mp4", frames=5)
    (result,) = stylizer.run(source, tmp_path / "x.webm", AS_IT_IS)
    assert "could not put 64 x 48 pictures and the aac sound of" in result.error
    assert not (tmp_path / "x.webm").exists()


def test_the_head_of_a_video(tmp_path):
    video = Video.open(make_clip(tmp_path / "x.mp4", rate="30000/1001", frames=30))
    assert (video.rate, video.count, video.sound) == (Fraction(30000, 1001), 30, "aac")
    with pytest.raises(ImageError, match="no such file"):
        Video.open(tmp_path / "y.mp4")


def test_steady_keeps_what_does_not_move(stylizer, tmp_path, monkeypatch):
    """A photo that stands still under a little noise; the painting of it then flickers less."""
    random = np.random.default_rng(0)
    still = random.integers(0, 255, (48, 64, 3)).astype(int)
    noisy = [(still + random.integers(-3, 4, still.shape)).clip(0, 255) for _ in range(6)]
    monkeypatch.setattr(
        Stylizer,
        "_paint",
        lambda self, images: [(3 * im.astype(int)).clip(0, 255).astype(np.uint8) for im in images],
    )
    import stylecli.engine as engine
    from stylecli.files.images import Picture

    class Still:
        count = 6

        def frames(self):
            return (Picture(frame.astype(np.uint8)) for frame in noisy)

    def flicker(steady):
        painted = stylizer._painted_frames(Still(), StylizeConfig(steady=steady))
        frames = np.stack([picture.rgb.astype(int) for picture in painted])
        return np.abs(np.diff(frames, axis=0)).mean()

    assert engine is not None
    assert flicker(0.9) < 0.4 * flicker(0.0)
