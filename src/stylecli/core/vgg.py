"""The loss network: VGG's convolution base with named layers, and where its weights come from."""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylecli.core.model_files import bundled_models
from stylecli.core.tensor_files import SUFFIX, load_pickled, load_tensors
from stylecli.core.torch_layers import pad
from stylecli.errors import StyleCliError, choose_from

_CONV = re.compile(r"conv(\d)_(\d)\.weight")
_RGB_MEAN_255 = (123.68, 116.779, 103.939)

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Preprocessing:
    """How RGB in [0, 1] becomes what the weights were trained on: ``(x - mean) / std``."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


# The original Oxford weights (Simonyan and Zisserman 2014): 0..255 minus the mean color.
OXFORD = Preprocessing(
    (_RGB_MEAN_255[0] / 255, _RGB_MEAN_255[1] / 255, _RGB_MEAN_255[2] / 255), (1 / 255,) * 3
)
# Weights that torchvision trained itself.
TORCHVISION = Preprocessing((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

SMALLEST = 32  # px, the short side of a photo: the network halves it several times
DOWNLOADS = {"vgg16-torchvision": OXFORD, "vgg19": TORCHVISION}


class LossNetwork(nn.Module):
    """A VGG that is not trained, up to any of its ReLU layers: ``relu1_1``, ``relu1_2``, …

    Args:
        weights: ``convB_N.weight`` (out, in, 3, 3) and ``convB_N.bias`` (out,), for block B and
            layer N. There is a 2 × 2 max pooling before each block but the first.
        preprocessing: how the images were normalized that the weights were trained on.

    Source: Simonyan and Zisserman, arXiv 1409.1556.
    """

    def __init__(self, weights: Weights, preprocessing: Preprocessing) -> None:
        super().__init__()
        numbers = sorted(match.groups() for match in map(_CONV.fullmatch, weights) if match)
        self.layer_names = tuple(f"relu{block}_{layer}" for block, layer in numbers)
        self.padding = "zeros"
        self.mean: Tensor
        self.std: Tensor
        self.weight0: Tensor
        self._opens_block = [layer == "1" and block != "1" for block, layer in numbers]
        for i, (block, layer) in enumerate(numbers):
            self.register_buffer(f"weight{i}", weights[f"conv{block}_{layer}.weight"])
            self.register_buffer(f"bias{i}", weights[f"conv{block}_{layer}.bias"])
        self.register_buffer("mean", torch.tensor(preprocessing.mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(preprocessing.std).view(3, 1, 1))

    def prepare(
        self, device: torch.device, dtype: torch.dtype, padding: str = "zeros"
    ) -> "LossNetwork":
        """Move the weights to where they are used and convert them, in place.

        Args:
            device: where to compute.
            dtype: of the convolutions.
            padding: of the inputs of convolutions: ``zeros``, as VGG was trained; or
                ``replicate``. Zeros are the mean color, and an image whose edges are close to it
                has a lower loss. So an image that is optimized with zeros gets a gray border.
        """
        self.padding = padding
        for name, buffer in self.named_buffers():
            if name in ("mean", "std"):  # bfloat16 cannot hold all values of 0..255
                setattr(self, name, buffer.to(device))
            else:
                layout = torch.channels_last if buffer.ndim == 4 else torch.preserve_format
                setattr(self, name, buffer.to(device, dtype, memory_format=layout))
        return self

    def check_layers(self, names: tuple[str, ...]) -> None:
        """Raise StyleCliError unless every name is a layer of this network."""
        for name in names:
            if name not in self.layer_names:
                hint = choose_from(name, self.layer_names)
                raise StyleCliError(f"the loss network has no layer {name!r}", hint=hint)

    def forward(self, images: Tensor, names: tuple[str, ...]) -> dict[str, Tensor]:
        """Features of images; layers deeper than the deepest that is asked for are not computed.

        Args:
            images: (N, 3, H, W) RGB in [0, 1].
            names: of the layers.

        Returns:
            Name to (N, C, H / 2^b, W / 2^b) for a layer in block b + 1.
        """
        last = max(self.layer_names.index(name) for name in names)
        x = ((images - self.mean) / self.std).to(self.weight0.dtype)
        features = {}
        for i, name in enumerate(self.layer_names[: last + 1]):
            if self._opens_block[i]:
                x = F.max_pool2d(x, 2)
            weight, bias = self.get_buffer(f"weight{i}"), self.get_buffer(f"bias{i}")
            if self.padding != "zeros":
                x = pad(x, 1, self.padding)
            x = F.relu_(F.conv2d(x, weight, bias, padding=int(self.padding == "zeros")))
            if name in names:
                features[name] = x
        return features


def load_loss_network(source: str = "vgg16") -> LossNetwork:
    """The loss network of that name, or from that file, in float32.

    Args:
        source: ``vgg16``, bundled (Oxford's weights, rounded to float16); ``vgg16-torchvision``
            or ``vgg19``, which torchvision downloads; or a ``.safetensors`` or ``.pth`` file
            with keys ``convB_N.weight`` (as Oxford's) or ``features.N.weight`` (as torchvision).

    Raises:
        StyleCliError: an unknown name, no network to download with, or no such weights in a file.
    """
    if source == "vgg16":
        return _from_file(bundled_models() / "vgg16_features.safetensors")
    if source in DOWNLOADS:
        return LossNetwork(_renamed(_download(source)), DOWNLOADS[source])
    if not Path(source).suffix and not Path(source).exists():
        known = choose_from(source, ["vgg16", *DOWNLOADS])
        raise StyleCliError(f"unknown loss network {source!r}", hint=f"{known}, or a weights file")
    return _from_file(Path(source))


def _from_file(path: Path) -> LossNetwork:
    raw = _read_weights(path)
    # In torchvision's copy of Oxford's weights, the weights of the classifier are NaN.
    classifier = raw.get("classifier.0.weight")
    is_oxford = classifier is not None and bool(classifier.isnan().any())
    if any(_CONV.fullmatch(key) for key in raw):
        weights, preprocessing = _as_float(raw), OXFORD
    else:
        weights, preprocessing = _renamed(raw), OXFORD if is_oxford else TORCHVISION
    convolutions = [key for key in weights if _CONV.fullmatch(key)]
    is_vgg = convolutions and all(
        weights[key].ndim == 4 and key.replace("weight", "bias") in weights for key in convolutions
    )
    if not is_vgg:
        raise StyleCliError(
            f"{path} holds no VGG: expected conv1_1.weight or features.0.weight and so on, "
            "without batch norm",
            hint="use --loss-net vgg16, which is bundled",
        )
    if not all(bool(weights[key].isfinite().all()) for key in convolutions):
        raise StyleCliError(
            f"the weights in {path} are not all finite numbers",
            hint="use --loss-net vgg16, which is bundled",
        )
    return LossNetwork(weights, preprocessing)


def _read_weights(path: Path) -> Weights:
    """The tensors in a file, by name.

    Raises:
        StyleCliError: it is missing, a pipe or a device, damaged, or of another kind.
    """
    try:
        loaded = load_tensors(path) if path.suffix == SUFFIX else load_pickled(path)
        return {name: tensor for name, tensor in loaded.items() if isinstance(tensor, Tensor)}
    except (StyleCliError, AttributeError) as error:
        why = error.message if isinstance(error, StyleCliError) else f"{path} is not a dictionary"
        raise StyleCliError(
            f"a loss network cannot be read: {why}", hint="use --loss-net vgg16, which is bundled"
        ) from error


def _download(source: str) -> Weights:
    from torchvision.models import VGG16_Weights, VGG19_Weights

    weights = {
        "vgg16-torchvision": VGG16_Weights.IMAGENET1K_FEATURES,
        "vgg19": VGG19_Weights.IMAGENET1K_V1,
    }[source]
    try:
        return dict(weights.get_state_dict(progress=False, check_hash=True, weights_only=True))
    except (URLError, OSError, RuntimeError) as error:
        raise StyleCliError(
            f"the weights of {source} could not be downloaded from {weights.url} ({error})",
            hint="fetch that file elsewhere and pass --loss-net FILE, or use the bundled vgg16",
        ) from None


def _renamed(raw: Weights) -> Weights:
    """Weights named ``features.N`` renamed to ``convB_N``.

    N counts all layers. From one convolution to the next it grows by 2 within a block, and by 3
    where a pooling lies between.
    """
    pattern = re.compile(r"features\.(\d+)\.weight")
    indices = sorted(int(match[1]) for match in map(pattern.fullmatch, raw) if match)
    named: Weights = {}
    block, layer, previous = 1, 0, -2
    for index in indices:
        block, layer = (block + 1, 1) if index - previous > 2 else (block, layer + 1)
        previous = index
        for kind in ("weight", "bias"):
            if f"features.{index}.{kind}" in raw:
                named[f"conv{block}_{layer}.{kind}"] = raw[f"features.{index}.{kind}"]
    return _as_float(named)


def _as_float(weights: Weights) -> Weights:
    return {name: tensor.float() for name, tensor in weights.items() if name.startswith("conv")}
