"""Between pictures in 0..255 and tensors in [0, 1]: the one place that converts."""

import numpy as np
import torch
from torch import Tensor

from stylecli.core.backend import Batch


def to_tensor(photos: Batch, device: torch.device) -> Tensor:
    """(N, H, W, 3) in 0..255 to (N, 3, H, W) RGB in [0, 1], float32."""
    tensor = torch.from_numpy(np.array(photos))  # a copy: not ours
    if device.type == "cuda":  # from pinned memory, a copy to the GPU does not wait
        tensor = tensor.pin_memory()
    tensor = tensor.to(device, non_blocking=True)
    return tensor.permute(0, 3, 1, 2).float().div(255).contiguous()


def to_uint8(images: Tensor) -> Batch:
    """(N, 3, H, W) RGB around [0, 1] to (N, H, W, 3) in 0..255, rounded and clipped."""
    return to_uint8_tensor(images).cpu().numpy()


def to_uint8_tensor(images: Tensor) -> Tensor:
    """The same, as a tensor where it was."""
    return images.permute(0, 2, 3, 1).mul(255).round().clamp(0, 255).to(torch.uint8)
