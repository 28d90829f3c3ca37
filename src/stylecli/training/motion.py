"""A term that keeps films still: a photo that moves a little is to become the same picture, moved.

Source: Wang et al. 2020, "Consistent Video Style Transfer via Relaxation and Regularization"
(ReReVST): the movement is smooth and random, so no video is needed.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

# The movement of a training step: of everything, and of the points of a coarse grid besides.
_SHIFT = 10.0  # px, at most, along each axis
_BEND = 8.0  # px, standard deviation
_GRID = 100  # px between points of the grid
_GRAIN = 0.01  # standard deviation of the noise of a camera, of a range of 1

# The factor of the term, for the energy of photos in Oxford's VGG-16. For Udnie, the term is a
# quarter of the total at first, and costs 2.4 % of the objective: docs/videos.md.
STABILITY_WEIGHT = 2e6


class Motion:
    """A random smooth movement of images of one size.

    Args:
        seed: of the training.
        step: its number; the same two numbers give the same movement.
        images: (N, C, H, W) of the size, and where they are computed with.
    """

    def __init__(self, seed: int, step: int, images: Tensor) -> None:
        height, width = images.shape[2:]
        device = images.device
        # Other random numbers of a step have another third number.
        random = np.random.default_rng([seed, step, 3])
        points = random.normal(0, _BEND, (1, 2, height // _GRID + 2, width // _GRID + 2))
        shift = random.uniform(-_SHIFT, _SHIFT, (1, 2, 1, 1))
        bend = torch.tensor(points, dtype=torch.float32, device=device)
        bend = F.interpolate(bend, (height, width), mode="bicubic", align_corners=True)
        flow = bend + torch.tensor(shift, dtype=torch.float32, device=device)  # (1, 2, H, W), x y
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        source = torch.stack((x, y)).to(flow)[None] + flow  # where each pixel comes from, px
        sides = torch.tensor((width, height), dtype=torch.float32, device=device).view(1, 2, 1, 1)
        self._source = (2 * (source + 0.5) / sides - 1).permute(
            0, 2, 3, 1
        )  # -1 to 1: from edge to edge
        self.inside = (self._source.abs() <= 1).all(-1)[:, None]  # (1, 1, H, W)

    def __call__(self, images: Tensor) -> Tensor:
        """Move images, (N, C, H, W); what comes from beyond their edges repeats these."""
        source = self._source.expand(len(images), -1, -1, -1)
        return F.grid_sample(images, source, padding_mode="border", align_corners=False)


def with_grain(photos: Tensor, seed: int, first: int) -> Tensor:
    """Photos with the noise of a camera.

    Args:
        photos: (N, 3, H, W) in [0, 1].
        seed: of the training.
        first: the number of the first photo among all that are trained on. The noise of a photo
            depends on its number, and so not on how many processes share a batch.
    """
    shape = photos.shape[1:]
    grains = [
        np.random.default_rng([seed, first + i, 4]).normal(0, _GRAIN, shape)
        for i in range(len(photos))
    ]
    return photos + torch.tensor(np.stack(grains), dtype=photos.dtype, device=photos.device)


def stability_loss(motion: Motion, stylized: Tensor, stylized_after: Tensor) -> Tensor:
    """Mean absolute difference of moved pictures from those of moved photos, a scalar.

    Args:
        motion: what moved the photos.
        stylized: (N, 3, H, W) of the photos.
        stylized_after: (N, 3, H, W) of the moved photos.
    """
    difference = (motion(stylized) - stylized_after).abs() * motion.inside
    return difference.sum() / (motion.inside.sum() * stylized[:, :, 0, 0].numel())
