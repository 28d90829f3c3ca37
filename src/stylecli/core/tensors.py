"""Conversion between pictures in 0..255 and tensors in [0, 1]; nothing else converts."""

import numpy as np
import torch
from torch import Tensor

from stylecli.core.backend import Batch


def to_tensor(photos: Batch, device: torch.device) -> Tensor:
    """(N, H, W, 3) in 0..255 to (N, 3, H, W) RGB in [0, 1], float32."""
    tensor = torch.from_numpy(np.array(photos))  # copied, as torch needs memory it may write to
    if device.type == "cuda":  # a copy from pinned memory to the GPU does not block
        tensor = tensor.pin_memory()
    tensor = tensor.to(device, non_blocking=True)
    return tensor.permute(0, 3, 1, 2).float().div(255).contiguous()


def to_uint8(images: Tensor) -> Batch:
    """(N, 3, H, W) RGB around [0, 1] to (N, H, W, 3) in 0..255, rounded and clipped."""
    rounded = images.permute(0, 2, 3, 1).mul(255).round().clamp(0, 255).to(torch.uint8)
    return rounded.cpu().numpy()
