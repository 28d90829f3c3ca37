"""The objective against numpy, and the balance that makes paintings comparable."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from stylecli.config import ObjectiveConfig
from stylecli.core.losses import PerceptualObjective, Weights, gram_matrix, total_variation
from stylecli.core.vgg import load_loss_network


@pytest.fixture(scope="module")
def network():
    return load_loss_network()


def usual(network, *paintings):
    """The objective as the program has it by default."""
    default = ObjectiveConfig()
    weights = Weights(default.content_weight, default.style_weight, default.tv_weight)
    layers = (default.content_layer, default.style_layers)
    return PerceptualObjective(network, paintings, *layers, weights)


def test_gram_matrix_is_the_sum_over_pixels_divided_by_all_elements():
    features = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    expected = np.einsum("nihw,njhw->nij", features, features) / (3 * 4 * 5)
    np.testing.assert_allclose(gram_matrix(torch.from_numpy(features)), expected, rtol=1e-5)


def test_gradient_of_the_gram_matrix_is_that_of_its_formula():
    torch.manual_seed(0)
    features = torch.rand(2, 3, 4, 5, requires_grad=True)
    weights = torch.rand(2, 3, 3)
    formula = torch.einsum("nihw,njhw->nij", features, features) / (3 * 4 * 5)
    (expected,) = torch.autograd.grad((formula * weights).sum(), features)
    (ours,) = torch.autograd.grad((gram_matrix(features) * weights).sum(), features)
    torch.testing.assert_close(ours, expected)


def test_gram_matrix_stays_in_float32_where_half_precision_would_overflow():
    features = torch.full((1, 2, 64, 64), 300.0, dtype=torch.float16)  # 300² is beyond float16
    gram = gram_matrix(features)
    assert gram.dtype == torch.float32
    torch.testing.assert_close(gram, torch.full((1, 2, 2), 300.0**2 / 2))


def test_total_variation_of_a_known_image():
    image = torch.zeros(1, 3, 2, 2)
    image[..., 0, 1] = 1 / 255  # two neighbours differ by 1, in each of 3 channels of 4 pixels
    assert float(total_variation(image)) == pytest.approx(2 * 3 / 12)


def test_terms_are_what_the_paper_says_and_add_up(network):
    torch.manual_seed(0)
    painting, photos, stylized = (
        torch.rand(1, 3, 48, 64),
        torch.rand(2, 3, 40, 40),
        torch.rand(2, 3, 40, 40),
    )
    style_layers = ("relu1_2", "relu2_2")
    objective = PerceptualObjective(
        network, [painting], "relu2_2", style_layers, Weights(2, 3, 0.5)
    )
    objective.scales = {"style": [7.0], "tv": [2.0]}
    terms = objective(stylized, objective.content_target(photos))

    ours = {k: v.double().numpy() for k, v in network(stylized, style_layers).items()}
    theirs = network(photos, ("relu2_2",))["relu2_2"].double().numpy()
    painted = {k: v.double().numpy() for k, v in network(painting, style_layers).items()}
    content = ((ours["relu2_2"] - theirs) ** 2).mean()

    def gram(x):
        flat = x.reshape(*x.shape[:2], -1)
        return flat @ flat.transpose(0, 2, 1) / flat[0].size

    style = sum(((gram(ours[k]) - gram(painted[k])) ** 2).mean() for k in style_layers)
    assert float(terms["content"]) == pytest.approx(2 * content, rel=1e-3)
    assert float(terms["style"]) == pytest.approx(3 * 7 * style, rel=1e-3)
    pixels = 255 * stylized.double().numpy()
    squares = [(np.diff(pixels, axis=axis) ** 2).sum() for axis in (2, 3)]
    assert float(terms["tv"]) == pytest.approx(0.5 * 2 * sum(squares) / pixels.size, rel=1e-3)
    assert float(terms["total"]) == pytest.approx(
        sum(float(terms[k]) for k in ("content", "style", "tv")), rel=1e-6
    )


def test_the_photo_itself_has_no_content_loss_and_the_painting_no_style_loss(network):
    painting = torch.rand(1, 3, 64, 64)
    objective = usual(network, painting)
    terms = objective(painting, objective.content_target(painting))
    assert float(terms["content"]) == 0
    assert float(terms["style"]) == pytest.approx(0, abs=1e-3)


def test_balance_puts_a_faint_and_a_bold_painting_into_the_same_ratio(network):
    torch.manual_seed(0)
    bold = F.interpolate(torch.rand(1, 3, 16, 16), scale_factor=6)
    photos = torch.rand(4, 3, 64, 64)
    ratios = []
    for painting in (bold, 0.2 * bold + 0.4):
        objective = usual(network, painting)
        objective.balance(photos)
        features = network(photos, ("relu3_3",))["relu3_3"]
        terms = objective(photos, objective.content_target(photos))
        energy = float(features.square().mean())
        ratios.append(float(terms["style"]) / energy)
        weighted = 0.2 * float(total_variation(photos)) * energy / 2e5
        assert float(terms["tv"]) == pytest.approx(weighted, rel=1e-3)  # it follows the network
    assert ratios[0] == pytest.approx(ratios[1], rel=1e-3)


def test_several_paintings_give_each_image_the_loss_that_its_own_would_alone(network):
    torch.manual_seed(0)
    paintings = [torch.rand(1, 3, 48, 64), 0.3 * torch.rand(1, 3, 40, 40)]
    photos, stylized = torch.rand(3, 3, 40, 40), torch.rand(3, 3, 40, 40)
    both = usual(network, *paintings)
    both.balance(photos)
    alone = [usual(network, painting) for painting in paintings]
    for objective in alone:
        objective.balance(photos)
    assert both.scales["style"] == pytest.approx([one.scales["style"][0] for one in alone])
    terms = both(stylized, both.content_target(photos), [0, 1, 1])
    each = [
        alone[style](image[None], alone[style].content_target(photo[None]))
        for style, image, photo in zip([0, 1, 1], stylized, photos, strict=True)
    ]
    for name, term in terms.items():
        assert float(term) == pytest.approx(np.mean([float(one[name]) for one in each]), rel=1e-4)
