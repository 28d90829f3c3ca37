"""The loss network: torchvision's VGG up to any of its ReLU layers, and where its weights are."""

import re
from pathlib import Path
from urllib.error import URLError

import torch
from torch import Tensor, nn

from stylecli.core.model_files import bundled_models
from stylecli.core.tensor_files import load_weights
from stylecli.core.torch_layers import pad
from stylecli.errors import StyleCliError, choose_from

_CONVOLUTION = re.compile(r"(conv\d_\d|features\.\d+)\.weight")
_USE_BUNDLED = "use --loss-net vgg16, which is bundled"

Weights = dict[str, Tensor]


# Mean and standard deviation of the colors, RGB in [0, 1]: (x - mean) / std is what weights were
# trained on. Oxford's (Simonyan and Zisserman 2014) took 0..255 minus the mean color.
Normalization = tuple[tuple[float, ...], tuple[float, ...]]
OXFORD: Normalization = (123.68 / 255, 116.779 / 255, 103.939 / 255), (1 / 255,) * 3
TORCHVISION: Normalization = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

DOWNLOADS = ("vgg19",)
SMALLEST = 32  # px, the short side of a photo: the network halves it several times


class LossNetwork(nn.Module):
    """A VGG that is not trained, up to any of its ReLU layers: ``relu1_1``, ``relu1_2``, …

    Args:
        features: the first layers of torchvision's VGG, with their weights.
        normalization: of the images that the weights were trained on.

    Source: Simonyan and Zisserman, arXiv 1409.1556.
    """

    def __init__(self, features: nn.Sequential, normalization: Normalization) -> None:
        super().__init__()
        self.features = features.requires_grad_(False)
        self.layer_names = tuple(f"relu{number}" for number in _number_convolutions(features))
        self.dtype = torch.float32
        self.padding = "zeros"
        self.mean: Tensor
        self.std: Tensor
        for name, values in zip(("mean", "std"), normalization, strict=True):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1))

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
        self.dtype, self.padding = dtype, padding
        self.to(device)  # mean and std stay in float32: bfloat16 cannot hold all values of 0..255
        self.features.to(device, dtype)
        self.features.to(memory_format=torch.channels_last)
        for layer in self.features:
            if isinstance(layer, nn.Conv2d):
                layer.padding = (1, 1) if padding == "zeros" else (0, 0)
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

        Raises:
            StyleCliError: the images are too small for such a deep layer.
        """
        x = ((images - self.mean) / self.std).to(self.dtype)
        features: dict[str, Tensor] = {}
        left = iter(self.layer_names)
        for layer in self.features:
            if isinstance(layer, nn.Conv2d) and self.padding != "zeros":
                x = pad(x, 1, self.padding)
            if isinstance(layer, nn.MaxPool2d) and min(x.shape[2:]) < 2:
                deepest = max(names, key=self.layer_names.index)
                size = " x ".join(str(side) for side in images.shape[:1:-1])
                raise StyleCliError(
                    f"images of {size} px are too small for {deepest} of the loss network",
                    hint="pass a larger --size and --style-size, or only layers before it",
                )
            x = layer(x)
            if isinstance(layer, nn.ReLU) and (name := next(left)) in names:
                features[name] = x
                if len(features) == len(set(names)):
                    break
        return features


def load_loss_network(source: str = "vgg16") -> LossNetwork:
    """The loss network of that name, or from that file, in float32.

    Args:
        source: ``vgg16``, bundled (Oxford's weights, rounded to float16); ``vgg19``, which
            torchvision downloads; or a ``.safetensors`` or ``.pth`` file of a VGG without batch
            norm, with keys ``convB_N.weight`` (as Oxford's) or ``features.N.weight`` (as
            torchvision's).

    Raises:
        StyleCliError: an unknown name, no network to download with, or no such weights in a file.
    """
    if source == "vgg16":
        return _from_file(bundled_models() / "vgg16_features.safetensors")
    if source in DOWNLOADS:
        return LossNetwork(_build(_download_vgg19(), source), TORCHVISION)
    if not Path(source).suffix and not Path(source).exists():
        known = choose_from(source, ["vgg16", *DOWNLOADS])
        raise StyleCliError(f"unknown loss network {source!r}", hint=f"{known}, or a weights file")
    return _from_file(Path(source))


def _from_file(path: Path) -> LossNetwork:
    try:
        weights = load_weights(path)
    except StyleCliError as error:
        message = f"a loss network cannot be read: {error.message}"
        raise StyleCliError(message, hint=_USE_BUNDLED) from error
    # In torchvision's copy of Oxford's weights, the weights of the classifier are NaN.
    classifier = weights.get("classifier.0.weight", torch.zeros(1))
    is_oxford = "conv1_1.weight" in weights or bool(classifier.isnan().any())
    features = _build(weights, str(path))
    if not all(bool(one.isfinite().all()) for one in features.parameters()):
        raise StyleCliError(f"the weights in {path} are not all finite numbers", hint=_USE_BUNDLED)
    return LossNetwork(features, OXFORD if is_oxford else TORCHVISION)


def _build(weights: Weights, source: str) -> nn.Sequential:
    """The first layers of the VGG of torchvision that has the names and shapes of these weights."""
    from torchvision.models import vgg11, vgg13, vgg16, vgg19  # takes as long to import as torch

    count = sum(1 for name in weights if _CONVOLUTION.fullmatch(name))
    for network in (vgg11, vgg13, vgg16, vgg19):
        with torch.device("meta"):  # nothing is allocated for weights that are replaced
            layers: nn.Sequential = network(weights=None, init_weights=False).features
        places = list(_number_convolutions(layers).items())[:count]
        named = {
            f"{place}.{kind}": weights[name].float()
            for number, place in places
            for kind in ("weight", "bias")
            for name in (f"conv{number}.{kind}", f"features.{place}.{kind}")
            if name in weights
        }
        features = layers[: places[-1][1] + 2] if places else layers  # to the last one's ReLU
        expected = {name: tensor.shape for name, tensor in features.state_dict().items()}
        if len(places) == count and {name: t.shape for name, t in named.items()} == expected:
            features.load_state_dict(named, assign=True)
            return features
    raise StyleCliError(
        f"{source} does not hold a VGG: expected conv1_1.weight or features.0.weight and so on, "
        "without batch norm",
        hint=_USE_BUNDLED,
    )


def _number_convolutions(layers: nn.Sequential) -> dict[str, int]:
    """The block and number of each convolution, such as ``3_1``, to its place among the layers."""
    places, block, number = {}, 1, 0
    for place, layer in enumerate(layers):
        if isinstance(layer, nn.MaxPool2d):
            block, number = block + 1, 0
        elif isinstance(layer, nn.Conv2d):
            number += 1
            places[f"{block}_{number}"] = place
    return places


def _download_vgg19() -> Weights:
    from torchvision.models import VGG19_Weights

    weights = VGG19_Weights.IMAGENET1K_V1
    try:
        return dict(weights.get_state_dict(progress=False, check_hash=True, weights_only=True))
    except (URLError, OSError, RuntimeError) as error:
        raise StyleCliError(
            f"the weights of vgg19 could not be downloaded from {weights.url} ({error})",
            hint="fetch that file elsewhere and pass --loss-net FILE, or use the bundled vgg16",
        ) from None
