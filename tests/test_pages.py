"""Pages: every picture whole and in its place, every label there."""

from itertools import groupby, pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stylecli.files.pages import Cell, even_rows, lay_out


@settings(max_examples=25, deadline=None)
@given(
    count=st.integers(1, 12),
    height=st.integers(16, 90),
    width=st.integers(16, 90),
    columns=st.integers(1, 5),
)
def test_with_so_many_columns_every_picture_is_on_the_page_once_unscaled(
    count, height, width, columns
):
    shades = [20 + 15 * i for i in range(count)]
    cells = [Cell(np.full((height, width, 3), (s, 0, 99), np.uint8), "a") for s in shades]
    rgb = lay_out(cells, columns)
    for shade in shades:
        rows, across = np.nonzero((rgb == (shade, 0, 99)).all(-1))
        assert len(rows) == height * width
        assert (np.ptp(rows) + 1, np.ptp(across) + 1) == (height, width)


def places_of(rgb, shades):
    """Of the picture of each shade: top, left, bottom, right."""
    found = [np.argwhere((np.abs(rgb.astype(int) - (s, 0, 99)) < 3).all(-1)) for s in shades]
    return [(*place.min(0), *(place.max(0) + 1)) for place in found]


@settings(max_examples=40, deadline=None)
@given(count=st.integers(1, 17), aspect=st.floats(0.15, 7), paintings=st.booleans())
@example(count=9, aspect=2 / 3, paintings=False)
def test_a_page_of_any_number_of_pictures_has_no_hole(count, aspect, paintings):
    height, width = round(72 / aspect**0.5), round(72 * aspect**0.5)
    shades = [20 + 12 * i for i in range(count)]
    blue = np.full((30, 60, 3), (0, 0, 250), np.uint8) if paintings else None
    cells = [Cell(np.full((height, width, 3), (s, 0, 99), np.uint8), "a", blue) for s in shades]
    rgb = lay_out(cells)
    places = places_of(rgb, shades)
    rows = [[*row] for _, row in groupby(places, key=lambda place: place[0])]
    gap = places[0][1]
    for row in rows:
        assert len(row) in (len(rows[0]), len(rows[0]) + 1)
        assert row[0][1] == gap
        assert abs(row[-1][3] - (rgb.shape[1] - gap)) <= len(row)  # the rest of a division
        for left, right in pairwise(row):
            assert right[1] - left[3] == gap
    for top, left, bottom, right in places:
        assert right - left <= width + 1
        assert (right - left) / (bottom - top) == pytest.approx(width / height, rel=0.2)
    for above, below in pairwise(rows):
        assert 2 * gap < below[0][0] - above[0][2] <= 4 * gap + (width / 6 if paintings else 0)
    assert places[0][3] - places[0][1] == max(right - left for _, left, _, right in places)


@pytest.mark.parametrize(("aspect", "rows"), [(2 / 3, [4, 5]), (3 / 2, [3, 3, 3]), (1, [3, 3, 3])])
def test_a_photo_and_eight_styles_fill_a_page_a_little_wider_than_high(aspect, rows):
    assert even_rows(9, aspect) == rows


def test_a_painting_stands_small_beside_its_label():
    red, blue = np.zeros((2, 200, 300, 3), np.uint8)
    red[..., 0] = blue[..., 2] = 255
    rgb = lay_out([Cell(red, "udnie", blue), Cell(red, "the photo")])
    rows, across = np.nonzero((np.abs(rgb.astype(int) - (0, 0, 255)) < 3).all(-1))
    assert len(rows) == (np.ptp(rows) + 1) * (np.ptp(across) + 1)  # once, whole
    assert (np.ptp(across) + 1) / (np.ptp(rows) + 1) == pytest.approx(1.5, rel=0.05)
    assert 40 <= np.ptp(rows) <= 60
    assert rows.min() >= np.nonzero((rgb == (255, 0, 0)).all(-1))[0].min() + 200
    ink = (rgb < 100).all(-1)[rows.min() : rows.max()]
    assert ink[:, across.max() + 1 :].any()
    assert not ink[:, : across.min()].any()


def test_reading_order_and_columns():
    cells = [Cell(np.full((40, 60, 3), (s, 0, 99), np.uint8), str(s)) for s in (10, 20, 30)]
    rgb = lay_out(cells, 2)
    places = [tuple(np.argwhere((rgb == (s, 0, 99)).all(-1))[0]) for s in (10, 20, 30)]
    assert places[0][0] == places[1][0] < places[2][0]
    assert places[0][1] == places[2][1] < places[1][1]


@pytest.mark.parametrize("label", ["", "sky", "a name that is much too long for its picture" * 3])
def test_a_label_stays_below_its_picture(label):
    rgb = lay_out([Cell(np.zeros((50, 80, 3), np.uint8), label)])
    ink = np.argwhere((rgb < 200).all(-1))
    picture_right, paper_right = 12 + 80, rgb.shape[1]
    assert ink[:, 1].max() <= min(picture_right, paper_right)
    assert (len(ink) > 50 * 80) == bool(label)
