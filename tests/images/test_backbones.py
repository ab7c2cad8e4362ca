"Backbones: every kind of network, what they give, and what is refused."

import numpy as np
import pytest
import torchvision

from tree_privacy.core import InputError
from tree_privacy.images.backbones import efficientnet_lite0, pretrained, torchvision_backbone
from tree_privacy.images.features import features
from tree_privacy.images.photos import from_arrays


def noise(n, size=(8, 8), seed=0):
    "Pictures of noise, the same every time."
    return from_arrays(np.random.default_rng(seed).integers(0, 256, (n, *size, 3), dtype=np.uint8), None, 'noise')


@pytest.mark.parametrize(
    'name, dimension', [('resnet18', 512), ('mobilenet_v3_small', 1024), ('efficientnet_b0', 1280)]
)
def test_models_of_torchvision(monkeypatch, name, dimension):
    "A model of torchvision gives the inputs of its last layer. Without its weights here: nothing may be downloaded."
    real = torchvision.models.get_model
    monkeypatch.setattr(torchvision.models, 'get_model', lambda name, weights: real(name, weights=None))
    backbone = torchvision_backbone(name)
    found, kept = features(noise(3, (24, 40)), backbone)
    assert (
        backbone.dimension == dimension
        and found.shape == (3, dimension)
        and np.isfinite(found).all()
        and kept.tolist() == [0, 1, 2]
    )


@pytest.mark.parametrize(
    'name, size, keyword',
    [
        ('small-cnn', 112, 'trained with the labels'),
        ('nope', 112, "no backbone 'nope'"),
        ('squeezenet1_0', 112, 'no fully connected layer'),
        ('efficientnet-lite0', 31, '32 to 1024'),
        ('efficientnet-lite0', 1025, '32 to 1024'),
    ],
)
def test_networks_that_cannot_be(name, size, keyword):
    with pytest.raises(InputError, match=keyword):
        pretrained(name, size)


def test_the_cache_gives_what_the_network_gave(tmp_path):
    "With the real network too, to the last bit; and it is not asked again."
    backbone, calls = efficientnet_lite0(32), []
    run = backbone.module.forward
    backbone.module.forward = lambda x: calls.append(len(x)) or run(x)
    first, second = (features(noise(5, (24, 40)), backbone, tmp_path)[0] for _ in range(2))
    assert (first == second).all() and calls == [5] and first.shape == (5, 1280)
