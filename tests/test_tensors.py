"""Pictures in 0..255 and tensors in [0, 1]."""

import numpy as np
import torch

from stylecli.core.devices import to_tensor, to_uint8


def test_every_value_comes_back_as_it_was():
    photos = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, -1)
    tensor = to_tensor(photos, torch.device("cpu"))
    assert tensor.shape == (1, 3, 16, 16)
    assert (tensor.min(), tensor.max(), tensor.dtype) == (0, 1, torch.float32)
    np.testing.assert_array_equal(to_uint8(tensor), photos)
    tensor.zero_()  # it is a copy
    assert photos.max() == 255


def test_what_lies_outside_is_clipped_and_what_lies_between_is_rounded():
    values = torch.tensor([-0.3, 1.4, 100.4 / 255, 100.6 / 255])
    image = values.view(1, 1, 1, 4).expand(1, 3, 1, 4)
    assert to_uint8(image)[0, 0, :, 0].tolist() == [0, 255, 100, 101]
