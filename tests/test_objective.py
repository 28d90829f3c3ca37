"""The objective against numpy, and the balance that makes style images comparable."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from stylecli.config import ObjectiveConfig
from stylecli.core.objective import (
    PerceptualObjective,
    Scales,
    build_objective,
    prepare_network,
    style_targets,
    total_variation,
)
from stylecli.core.vgg import load_loss_network
from stylecli.errors import StyleCliError

SETTINGS = ObjectiveConfig()


@pytest.fixture(scope="module")
def network():
    return load_loss_network()


def test_terms_are_what_the_paper_says_and_add_up(network):
    torch.manual_seed(0)
    style_image, photos, stylized = (
        torch.rand(1, 3, 48, 64),
        torch.rand(2, 3, 40, 40),
        torch.rand(2, 3, 40, 40),
    )
    layers = ("relu1_2", "relu2_2")
    weights = {"content_weight": 2.0, "style_weight": 3.0, "tv_weight": 0.5}
    settings = ObjectiveConfig(content_layer="relu2_2", style_layers=layers, **weights)
    objective = build_objective(settings, network, [style_image], Scales((7.0,), 2.0))
    terms = objective(stylized, objective.content_target(photos))

    ours = {k: v.double().numpy() for k, v in network(stylized, layers).items()}
    theirs = network(photos, ("relu2_2",))["relu2_2"].double().numpy()
    painted = {k: v.double().numpy() for k, v in network(style_image, layers).items()}
    content = ((ours["relu2_2"] - theirs) ** 2).mean()

    def gram(x):
        flat = x.reshape(*x.shape[:2], -1)
        return flat @ flat.transpose(0, 2, 1) / flat[0].size

    style = sum(((gram(ours[k]) - gram(painted[k])) ** 2).mean() for k in layers)
    assert float(terms["content"]) == pytest.approx(2 * content, rel=1e-3)
    assert float(terms["style"]) == pytest.approx(3 * 7 * style, rel=1e-3)
    pixels = 255 * stylized.double().numpy()
    squares = [(np.diff(pixels, axis=axis) ** 2).sum() for axis in (2, 3)]
    assert float(terms["tv"]) == pytest.approx(0.5 * 2 * sum(squares) / pixels.size, rel=1e-3)
    assert float(terms["total"]) == pytest.approx(
        sum(float(terms[k]) for k in ("content", "style", "tv")), rel=1e-6
    )


def test_the_photo_itself_has_no_content_loss_and_the_style_image_no_style_loss(network):
    image = torch.rand(1, 3, 64, 64)
    objective = build_objective(SETTINGS, network, [image], Scales((1.0,), 1.0))
    terms = objective(image, objective.content_target(image))
    assert float(terms["content"]) == 0
    assert float(terms["style"]) == pytest.approx(0, abs=1e-3)


def test_balance_puts_a_faint_and_a_bold_style_image_into_the_same_ratio(network):
    torch.manual_seed(0)
    bold = F.interpolate(torch.rand(1, 3, 16, 16), scale_factor=6)
    photos = torch.rand(4, 3, 64, 64)
    ratios = []
    for image in (bold, 0.2 * bold + 0.4):
        objective = build_objective(SETTINGS, network, [image], photos)
        features = network(photos, ("relu3_3",))["relu3_3"]
        terms = objective(photos, objective.content_target(photos))
        energy = float(features.square().mean())
        ratios.append(float(terms["style"]) / energy)
        weighted = 0.2 * float(total_variation(photos)) * energy / 2e5
        assert float(terms["tv"]) == pytest.approx(weighted, rel=1e-3)  # it follows the network
    assert ratios[0] == pytest.approx(ratios[1], rel=1e-3)


def test_several_style_images_give_each_image_the_loss_that_its_own_would_alone(network):
    torch.manual_seed(0)
    images = [torch.rand(1, 3, 48, 64), 0.3 * torch.rand(1, 3, 40, 40)]
    photos, stylized = torch.rand(3, 3, 40, 40), torch.rand(3, 3, 40, 40)
    both = build_objective(SETTINGS, network, images, photos)
    alone = [build_objective(SETTINGS, network, [image], photos) for image in images]
    assert both.scales.style == pytest.approx([one.scales.style[0] for one in alone])
    terms = both(stylized, both.content_target(photos), [0, 1, 1])
    each = [
        alone[style](image[None], alone[style].content_target(photo[None]))
        for style, image, photo in zip([0, 1, 1], stylized, photos, strict=True)
    ]
    for name, term in terms.items():
        assert float(term) == pytest.approx(np.mean([float(one[name]) for one in each]), rel=1e-4)


def test_scales_come_back_from_a_file_as_they_were_and_give_the_same_losses(network):
    torch.manual_seed(0)
    images, photos = [torch.rand(1, 3, 40, 40)], torch.rand(2, 3, 40, 40)
    balanced = build_objective(SETTINGS, network, images, photos)
    scales = Scales.from_json(balanced.scales.as_json())
    assert scales == balanced.scales
    again = build_objective(SETTINGS, network, images, scales)
    content = again.content_target(photos)
    stylized = photos.flip(0)
    assert again(stylized, content) == balanced(stylized, content)


def test_there_is_a_scale_for_each_style_image(network):
    layers = SETTINGS.style_layers
    targets = style_targets(network, [torch.rand(1, 3, 32, 32)] * 2, layers)
    with pytest.raises(ValueError, match="3 scales"):
        PerceptualObjective(network, targets, Scales((1.0, 2.0, 3.0), 1.0), SETTINGS)


@pytest.mark.parametrize("change", [{"content_layer": "relu9_9"}, {"style_layers": ("relu9_9",)}])
def test_a_layer_that_there_is_not_is_refused_before_anything_is_computed(change):
    with pytest.raises(StyleCliError, match="no layer 'relu9_9'"):
        prepare_network(ObjectiveConfig(**change), torch.device("cpu"), torch.float32)
