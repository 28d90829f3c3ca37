"""The page: every picture whole and in its place, every label there."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stylecli.files.grid import Cell, page


@settings(max_examples=25, deadline=None)
@given(
    count=st.integers(1, 12),
    height=st.integers(16, 90),
    width=st.integers(16, 90),
    columns=st.none() | st.integers(1, 5),
)
def test_every_picture_is_on_the_page_once_unscaled(count, height, width, columns):
    shades = [20 + 15 * i for i in range(count)]
    cells = [Cell(np.full((height, width, 3), (s, 0, 99), np.uint8), "a") for s in shades]
    rgb = page(cells, columns)
    for shade in shades:
        rows, across = np.nonzero((rgb == (shade, 0, 99)).all(-1))
        assert len(rows) == height * width
        assert (np.ptp(rows) + 1, np.ptp(across) + 1) == (height, width)


def test_reading_order_and_columns():
    cells = [Cell(np.full((40, 60, 3), (s, 0, 99), np.uint8), str(s)) for s in (10, 20, 30)]
    rgb = page(cells, 2)
    places = [tuple(np.argwhere((rgb == (s, 0, 99)).all(-1))[0]) for s in (10, 20, 30)]
    assert places[0][0] == places[1][0] < places[2][0]
    assert places[0][1] == places[2][1] < places[1][1]


@pytest.mark.parametrize("label", ["", "sky", "a name that is much too long for its picture" * 3])
def test_a_label_stays_below_its_picture(label):
    rgb = page([Cell(np.zeros((50, 80, 3), np.uint8), label)])
    ink = np.argwhere((rgb < 200).all(-1))
    picture_right, paper_right = 12 + 80, rgb.shape[1]
    assert ink[:, 1].max() <= min(picture_right, paper_right)
    assert (len(ink) > 50 * 80) == bool(label)
