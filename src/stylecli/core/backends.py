"""A generator behind one call: photos in 0..255 in, stylized photos in 0..255 out."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from stylecli.core.generators import Generator

Batch = npt.NDArray[np.uint8]  # (N, H, W, 3)


def to_tensor(photos: Batch, device: torch.device) -> Tensor:
    """(N, H, W, 3) in 0..255 to (N, 3, H, W) RGB in [0, 1], float32."""
    tensor = torch.from_numpy(np.array(photos)).to(device, non_blocking=True)  # a copy: not ours
    return tensor.permute(0, 3, 1, 2).float().div(255).contiguous()


def to_uint8(images: Tensor) -> Batch:
    """(N, 3, H, W) RGB around [0, 1] to (N, H, W, 3) in 0..255, rounded and clipped."""
    scaled = images.permute(0, 2, 3, 1).mul(255).round().clamp(0, 255)
    return scaled.to(torch.uint8).cpu().numpy()


class TorchBackend:
    """Runs a generator with torch.

    Args:
        generator: the network; it is moved to the device and used in eval mode.
        device: where to compute.
        dtype: of the convolutions.
    """

    def __init__(self, generator: Generator, device: torch.device, dtype: torch.dtype) -> None:
        self.generator = generator.to(device)
        self.device = device
        self.dtype = dtype

    @torch.inference_mode()
    def __call__(self, photos: Batch) -> Batch:
        """Stylize photos of one size: (N, H, W, 3) to (N, H, W, 3), 0..255.

        The generator is in eval mode for the call and then what it was before, so that a
        training can look at its own pictures.
        """
        was_training = self.generator.training
        self.generator.eval()
        try:
            return to_uint8(self._stylized(to_tensor(photos, self.device)))
        finally:
            self.generator.train(was_training)

    def _stylized(self, photos: Tensor) -> Tensor:
        mixed = self.dtype != torch.float32
        with torch.autocast(self.device.type, self.dtype, enabled=mixed):
            stylized: Tensor = self.generator(photos)
        if mixed and not bool(stylized.isfinite().all()):  # half precision overflowed
            return self.generator(photos)  # type: ignore[no-any-return]
        return stylized
