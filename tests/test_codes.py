"Codes: every kind of backbone, what is stored, and what is skipped."
import warnings

import numpy as np
import pytest
import torchvision

from tree_privacy.codes import Encoder, cached_features, efficientnet_lite0, features, load_encoder, torchvision_backbone
from tree_privacy.data import InputError, digits, fashion_mnist, folder, from_arrays, select


def noise(n, labels=None):
    "Pictures of noise, the same every time."
    return from_arrays(np.random.default_rng(0).integers(0, 256, (n, 24, 40, 3), dtype=np.uint8), labels, 'noise')


@pytest.mark.parametrize('name, dimension', [('resnet18', 512), ('mobilenet_v3_small', 1024), ('efficientnet_b0', 1280)])
def test_models_of_torchvision(monkeypatch, name, dimension):
    "A model of torchvision gives the inputs of its last layer; its weights are left out here, because nothing may be downloaded."
    real = torchvision.models.get_model
    monkeypatch.setattr(torchvision.models, 'get_model', lambda name, weights: real(name, weights=None))
    backbone = torchvision_backbone(name)
    found, kept = features(noise(3), backbone)
    assert backbone.dimension == dimension and found.shape == (3, dimension) and np.isfinite(found).all() and kept.tolist() == [0, 1, 2]


def test_the_cache_knows_pictures_by_content(tmp_path):
    "A second run reads what the first one stored; one other pixel is another collection."
    backbone, calls = efficientnet_lite0(32), []
    run = backbone.module.forward
    backbone.module.forward = lambda x: calls.append(len(x)) or run(x)
    first, second = (cached_features(noise(5), backbone, tmp_path)[0] for _ in range(2))
    assert (first == second).all() and calls == [5]
    arrays = np.random.default_rng(0).integers(0, 256, (5, 24, 40, 3), dtype=np.uint8)
    arrays[4, 0, 0, 0] ^= 1
    cached_features(from_arrays(arrays, None, 'noise'), backbone, tmp_path)
    assert calls == [5, 5]


@pytest.mark.parametrize('backbone', ['small-cnn', 'efficientnet-lite0'])
def test_a_stored_encoder_is_the_same_encoder(backbone):
    "The encoder that comes out of bytes gives the same codes, and holds no pickle."
    some = select(digits(), range(90))
    encoder = Encoder(32, backbone, size=32)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        codes, _ = encoder.fit_transform(some)
    data = encoder.to_bytes()
    assert (load_encoder(data).transform(some)[0] == codes).all() and (load_encoder(data).to_bytes() == data)
    for cut in (0, 7, 8, 100, len(data) - 1):
        with pytest.raises(InputError): load_encoder(data[:cut])


def test_the_same_seed_gives_the_same_bytes():
    "Fitting is seeded, and says so in its bytes."
    some = select(digits(), range(60))
    def fitted(seed):
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            return Encoder(16, 'small-cnn', seed=seed).fit(some).to_bytes()
    assert fitted(1) == fitted(1) != fitted(2)


def test_random_projections_take_over_where_there_is_too_little():
    "One picture, or many that are all alike, still get codes, with a warning; a copy of a picture has its code."
    for some in (noise(1), select(noise(1), [0] * 400)):
        with pytest.warns(UserWarning, match='random projections'): codes, _ = (e := Encoder(32, size=32)).fit_transform(some)
        assert (codes == codes[0]).all() and (e.transform(select(some, [0]))[0] == codes[0]).all()


def test_fashion_mnist_of_the_distribution():
    "Debian's Fashion-MNIST, where it is installed: 10,000 test pictures, a thousand of each kind."
    try: images = fashion_mnist(train=False)
    except InputError as error: pytest.skip(str(error))
    kinds, count = np.unique(images.labels, return_counts=True)
    assert len(images) == 10_000 and len(kinds) == 10 and (count == 1000).all()
    assert images[0].size == (28, 28) and images.labels[0] == 'Ankle boot'


def test_a_folder_that_changes_while_it_is_read(tmp_path):
    "A photograph that has gone when its turn comes is skipped, with a warning that names it."
    for i in range(3): noise(3)[i].save(tmp_path / f'{i}.png')
    images = folder(tmp_path)
    (tmp_path / '1.png').unlink()
    with pytest.warns(UserWarning, match='1.png'): _, kept = features(images, efficientnet_lite0(32))
    assert kept.tolist() == [0, 2]
