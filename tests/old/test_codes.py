"Codes: every kind of binariser, what is stored, what is skipped, and what is refused."
import json
import random
import struct
import warnings
import weakref

import numpy as np
import pytest
import torch
from safetensors.numpy import load, save

from fakes import Fake
from pictures import album, draw
from tree_privacy import codes
from tree_privacy.backbones import one_thread
from tree_privacy.codes import (BINARISERS, ITQ, PCA, Encoder, HashLayer, RandomProjection, codes_to_bytes, fit_binariser, hash_centres,
                                load_codes, load_encoder)
from tree_privacy.data import Images, InputError, digits, fashion_mnist, folder, from_arrays, select
from tree_privacy.measures import hamming

KINDS = list(BINARISERS)


def noise(n, labels=None, seed=0):
    "Pictures of noise, the same every time."
    return from_arrays(np.random.default_rng(seed).integers(0, 256, (n, 24, 40, 3), dtype=np.uint8), labels, 'noise')


def clusters(n, kinds=3, f=32, seed=0):
    "Features around a few centres, and which centre each has."
    rng = np.random.default_rng(seed)
    which = np.arange(n) % kinds
    return (rng.standard_normal((kinds, f))[which] + .3 * rng.standard_normal((n, f))).astype(np.float32), which.astype(str)


@pytest.fixture
def fake(monkeypatch):
    "The network of every encoder takes no time."
    monkeypatch.setattr(codes, 'pretrained', lambda name, size: Fake(size=8, dimension=32))


# Binarisers

@pytest.mark.parametrize('kind', KINDS)
def test_binarisers_are_seeded(kind):
    "The same seed gives the same map, another one another map (but for PCA, which has none), and nothing outside is changed."
    x, y = clusters(200)
    torch.manual_seed(5), np.random.seed(5)
    state, legacy = torch.get_rng_state(), np.random.get_state()[1].tolist()
    a, b, c = (fit_binariser(x, 16, seed, kind, y) for seed in (1, 1, 2))
    assert type(a) is BINARISERS[kind] and (a.weight_ == b.weight_).all() and (a.bias_ == b.bias_).all()
    assert (a.weight_ == c.weight_).all() == (kind == 'pca')
    assert (torch.get_rng_state() == state).all() and np.random.get_state()[1].tolist() == legacy
    assert a.transform(x).dtype == np.uint8 and a.transform(x).shape == (200, 2) and (a.transform(x) == b.transform(x)).all()


@pytest.mark.parametrize('kind', KINDS)
def test_codes_depend_on_the_direction_of_features_alone(kind):
    "Features are scaled to length one: twice the features have the same codes, one at a time as well as together."
    x, y = clusters(200)
    b = fit_binariser(x, 16, 0, kind, y)
    assert (b.transform(4 * x) == b.transform(x)).all()
    assert (np.concatenate([b.transform(x[i:i + 1]) for i in range(200)]) == b.transform(x)).mean() > .999


@pytest.mark.parametrize('kind', KINDS)
def test_binarisers_refuse(kind):
    "Bits that cannot be, features that are no numbers, no features."
    x, y = clusters(200)
    for bits in (0, 7, 12, -8):
        with pytest.raises(InputError, match='multiple of 8'): fit_binariser(x, bits, 0, kind, y)
    with pytest.raises(InputError, match='more than the 32 features: use 32 or fewer'): fit_binariser(x, 40, 0, kind, y)
    with pytest.raises(InputError, match='more than the 33 features: use 32 or fewer'): fit_binariser(clusters(200, f=33)[0], 40, 0, kind, y)
    for wrong in (x[:0], x[0], x[None]):
        with pytest.raises(InputError, match='wanted .n, f.'): fit_binariser(wrong, 16, 0, kind, y)
    for value in (np.nan, np.inf):
        spoilt = x.copy()
        spoilt[[7, 9], 3] = value
        with pytest.raises(InputError, match='2 of 200 feature vectors hold NaN or infinity, the first is number 7'): fit_binariser(spoilt, 16, 0, kind, y)
        with pytest.raises(InputError, match='NaN'): fit_binariser(x, 16, 0, kind, y).transform(spoilt)


def test_there_is_no_other_binariser():
    with pytest.raises(InputError, match="no binariser 'best': wanted itq, pca, lsh, hash"): fit_binariser(clusters(50)[0], 16, kind='best')
    with pytest.raises(InputError, match="no binariser 'best'"): Encoder(16, size=32, binariser='best').fit(noise(3))


def test_too_few_or_too_alike():
    "ITQ and PCA give way to random projections, with a warning; they take what they can learn from without one."
    x, _ = clusters(160)
    alike = np.repeat(x[:10], 16, axis=0)
    for kind in ('itq', 'pca'):
        for wrong in (x[:159], alike):
            with pytest.warns(UserWarning, match='using random projections'): assert type(fit_binariser(wrong, 16, kind=kind)) is RandomProjection
        with warnings.catch_warnings():
            warnings.simplefilter('error')
            assert type(fit_binariser(x, 16, kind=kind)) is BINARISERS[kind]


def test_pca_is_the_covariance_s():
    "PCA's directions are those of the largest variance, with nothing between them; ITQ only turns them, and its loss never grows."
    x, _ = clusters(300, 20)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    pca, itq = PCA(16).fit(x), ITQ(16).fit(x)
    y = unit @ pca.weight_ + pca.bias_
    spread = np.cov(y.T)
    assert np.abs(spread - np.diag(spread.diagonal())).max() < 1e-5 and (np.diff(spread.diagonal()) <= 1e-6).all()
    assert spread.trace() == pytest.approx(np.sort(np.linalg.eigvalsh(np.cov(unit.T)))[-16:].sum(), rel=1e-3)
    turn = pca.weight_.T @ itq.weight_
    assert np.abs(turn.T @ turn - np.eye(16)).max() < 1e-4 and (np.diff(itq.loss_) <= 1e-9).all()


# The hash layer

def test_a_hash_layer_learns_its_labels():
    "Codes tell the category of features that the layer has not seen, where it shows in one direction only and ITQ hardly sees it."
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, 32)).astype(np.float32)
    y = np.where(x[:, 0] > 0, 'right', 'left')
    def right(b): return (y[:300][hamming(b.transform(x[300:]), b.transform(x[:300])).argmin(1)] == y[300:]).mean()
    assert right(HashLayer(16, hidden=64).fit(x[:300], y[:300])) > max(.75, right(ITQ(16).fit(x[:300])) + .1)


def test_the_hash_layer_does_not_depend_on_the_threads():
    "The same seed gives the same bits, however many threads torch happens to use."
    (x, y), before, made = clusters(100), torch.get_num_threads(), []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try: made.append(HashLayer(16, epochs=2).fit(x, y))
        finally: torch.set_num_threads(before)
    assert (made[0].weight_ == made[1].weight_).all() and (made[0].hidden_weight_ == made[1].hidden_weight_).all()


@pytest.mark.parametrize('several', [list, tuple, set, np.array])
def test_several_labels(several):
    "A picture may have several labels, in whatever they come; one label in a set is one label, and a table of yes and no says the same."
    x, y = clusters(60)
    labels = [several(['all', k, *(['first'] if i < 30 else [])]) for i, k in enumerate(y)]
    table = np.array([[True, i < 30, *(k == c for c in '012')] for i, k in enumerate(y)])[:, [2, 3, 4, 0, 1]]
    layer = HashLayer(16, hidden=32).fit(x, labels)
    assert (layer.weight_ == HashLayer(16, hidden=32).fit(x, table).weight_).all()
    one = HashLayer(16, hidden=32).fit(x, [several([k]) for k in y])
    assert (one.weight_ == HashLayer(16, hidden=32).fit(x, y).weight_).all() and not (one.weight_ == layer.weight_).all()


BAD_LABELS = {'none': (lambda y: None, 'learns from labels, and there are none'),
              'too few': (lambda y: y[:-1], 'there are 59 labels for 60 pictures'),
              'too many': (lambda y: [*y, '0'], 'there are 61 labels for 60 pictures'),
              'nothing': (lambda y: [], 'there are 0 labels for 60 pictures'),
              'one category': (lambda y: ['cat'] * 60, "one category only .'cat'."),
              'one category in sets': (lambda y: [{'cat'}] * 60, "one category only .'cat'."),
              'one picture': (lambda y: ['cat', *y[1:]], "the category 'cat' has 1 picture"),
              'one picture of several': (lambda y: [{'0', 'cat'}, *y[1:]], "the category 'cat' has 1 picture"),
              'without': (lambda y: [*y[:7], (), *y[8:]], '1 of 60 pictures have no label, the first is number 7'),
              'without, a table': (lambda y: np.eye(3, dtype=bool)[y.astype(int)] & (np.arange(60) != 7)[:, None], '1 of 60 pictures have no label, the first is number 7'),
              'without, None': (lambda y: [*y[:7], None, None, *y[9:]], '2 of 60 pictures have no label, the first is number 7'),
              'empty column': (lambda y: np.eye(4, dtype=bool)[y.astype(int)], 'the category 3 has 0 picture'),
              'numbers in a table': (lambda y: np.eye(3, dtype=int)[y.astype(int)], 'int64 array of shape .60, 3.')}


@pytest.mark.parametrize('how', BAD_LABELS)
def test_labels_that_cannot_be_learned_from(how, fake):
    "Each is refused with what is wrong, by the layer and, before any picture is opened, by the encoder."
    wrong, keyword = BAD_LABELS[how]
    x, y = clusters(60)
    with pytest.raises(InputError, match=keyword): HashLayer(16, hidden=0, epochs=1).fit(x, wrong(y))
    def opener(i, size): raise AssertionError('a picture was opened')
    with pytest.raises(InputError, match=keyword): Encoder(16, binariser='hash').fit(Images([str(i) for i in range(60)], None, opener, None), wrong(y))


def test_nothing_to_learn_from(fake):
    "A collection without a picture is refused, whatever the binariser."
    for kind in KINDS:
        with pytest.raises(InputError): Encoder(16, binariser=kind).fit(select(noise(3, list('aab')), []))


def test_centres_of_categories():
    "Words of +1 and -1, all different, with at least so many bits between any two; more categories than words are refused."
    for c, bits, least in ((2, 8, 6), (10, 16, 6), (32, 16, 4), (10, 64, 28), (100, 64, 22), (5, 24, 11), (300, 64, 18)):
        words = hash_centres(c, bits)
        assert words.shape == (c, bits) and (np.abs(words) == 1).all() and (words == hash_centres(c, bits)).all()
        assert ((bits - words @ words.T) / 2 + bits * np.eye(c)).min() >= least
    assert not (hash_centres(9, 16, 1) == hash_centres(9, 16, 2)).all() and len(np.unique(hash_centres(200, 8), axis=0)) == 200
    with pytest.raises(InputError, match='300 categories are too many for 8 bits'): hash_centres(300, 8)


# Encoders

@pytest.mark.parametrize('backbone', ['small-cnn', 'efficientnet-lite0'])
def test_a_stored_encoder_is_the_same_encoder(backbone):
    "The encoder that comes out of bytes gives the same codes, and holds no pickle."
    some = select(digits(), range(90))
    encoder = Encoder(32, backbone, size=32)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        found, _ = encoder.fit_transform(some)
    data = encoder.to_bytes()
    assert (load_encoder(data).transform(some)[0] == found).all() and load_encoder(data).to_bytes() == data
    for cut in (0, 7, 8, 100, len(data) - 1):
        with pytest.raises(InputError): load_encoder(data[:cut])


@pytest.fixture(scope='module')
def stored():
    "Bytes of a fitted encoder of every kind, and the codes that it gave to 200 pictures."
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codes, 'pretrained', lambda name, size: Fake(size=8, dimension=32))
        images, made = noise(200, [str(i % 3) for i in range(200)]), {}
        for kind in KINDS:
            encoder = Encoder(16, seed=3, binariser=kind)
            made[kind] = encoder.fit_transform(images)[0], encoder.to_bytes()
        encoder.binariser_ = HashLayer(16, hidden=0).fit(clusters(100)[0], clusters(100)[1])
        made['hash without hidden units'] = encoder.transform(images)[0], encoder.to_bytes()
    return images, made


@pytest.mark.parametrize('kind', [*KINDS, 'hash without hidden units'])
def test_every_kind_survives_storing(kind, stored, fake):
    "Codes, kind, bits and seed come back, and the same bytes."
    images, (found, data) = stored[0], stored[1][kind]
    again = load_encoder(data)
    assert (again.transform(images)[0] == found).all() and again.to_bytes() == data and len(np.unique(found, axis=0)) > 1
    assert type(again.binariser_) is BINARISERS[kind.split()[0]] and (again.bits, again.seed, again.binariser) == (16, 3, kind.split()[0])


def refused_or_sound(data, images):
    "Bytes give an encoder that makes codes, or `InputError`; says which."
    try:
        encoder = load_encoder(data)
        found, numbers = encoder.transform(images)
    except InputError: return 'refused'
    assert found.dtype == np.uint8 and found.shape == (len(images), encoder.bits // 8) and len(numbers) == len(images)
    return 'sound'


@pytest.mark.parametrize('kind', ['itq', 'hash'])
def test_damaged_encoders(kind, stored, fake):
    "Cut anywhere, longer, or with a bit flipped: `InputError`, or an encoder that works."
    images, data, dice = select(stored[0], range(3)), stored[1][kind][1], random.Random(0)
    start = 8 + struct.unpack('<Q', data[:8])[0]
    for n in [*range(0, start, 7), *(dice.randrange(start, len(data)) for _ in range(20)), len(data) - 1]: assert refused_or_sound(data[:n], images) == 'refused'
    assert refused_or_sound(data + b'x', images) == refused_or_sound(b'', images) == refused_or_sound(dice.randbytes(500), images) == 'refused'
    wrong = []
    for i in [*range(start), *(dice.randrange(start, len(data)) for _ in range(50))]:
        flipped = data[:i] + bytes([data[i] ^ 1 << dice.randrange(8)]) + data[i + 1:]
        try: refused_or_sound(flipped, images)
        except Exception as error: wrong.append(f'{flipped[max(8, i - 20):i + 20]}: {type(error).__name__}: {error}')
    assert not wrong, '\n'.join(wrong)


def rewritten(data, about=None, arrays=None):
    "The bytes of an encoder with other things in its header or other arrays; None takes one out."
    header = json.loads(json.loads(data[8:8 + struct.unpack('<Q', data[:8])[0]])['__metadata__']['encoder'])
    header, kept = ({k: v for k, v in (a | (b or {})).items() if v is not None} for a, b in ((header, about), (load(data), arrays)))
    return save(kept, {'encoder': json.dumps(header)})


STRANGE = [-1, 0, 1, 12, 1.5, 10 ** 30, 'x', '', [], {}, True, 'small-cnn', 'HashLayer', 'ITQ', 'Binariser', [['x']]]


@pytest.mark.parametrize('kind', ['itq', 'hash'])
def test_encoders_with_strange_values(kind, stored, fake):
    "Whatever a stranger writes into an encoder that is otherwise sound: `InputError`, or an encoder that works."
    images, data, wrong = select(stored[0], range(3)), stored[1][kind][1], []
    changes = [(dict(about={name: value})) for name in ('format', 'bits', 'backbone', 'size', 'seed', 'trained', 'binariser', 'fitted') for value in [None, *STRANGE]]
    for name, a in load(data).items():
        others = dict(missing=None, none=a[:0], half=a[:len(a) // 2], double=np.concatenate([a, a]), flat=a.reshape(-1), scalar=np.array(a.flat[0]), zero=a * 0, nan=a * np.nan,
                      narrow=a[..., :8], deep=a[None], whole=np.full(a.shape, 3), yes=a > 0, huge=np.full_like(a, 1e30))
        changes += [dict(arrays={name: other}) for other in others.values()]
        changes += [dict(about=dict(bits=8), arrays={k: v[..., :8] for k, v in load(data).items()})]
    for change in changes:
        try: refused_or_sound(rewritten(data, **change), images)
        except Exception as error: wrong.append(f'{str(change)[:70]!r}: {type(error).__name__}: {error}')
    assert not wrong, '\n'.join(wrong)


@pytest.mark.parametrize('use', [lambda e: e.transform(noise(3)), lambda e: e.to_bytes()])
def test_an_encoder_that_has_learned_nothing(use):
    with pytest.raises(InputError, match='has not been fitted'): use(Encoder(32))


def test_an_encoder_of_another_version(stored, fake):
    data = stored[1]['itq'][1]
    assert rewritten(data) == data
    for number in (1, 3):
        with pytest.raises(InputError, match=f'format {number}'): load_encoder(rewritten(data, dict(format=number)))


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
        with pytest.warns(UserWarning, match='random projections'): found, _ = (e := Encoder(32, size=32)).fit_transform(some)
        assert (found == found[0]).all() and (e.transform(select(some, [0]))[0] == found[0]).all()


@pytest.mark.parametrize('kind', KINDS)
def test_fitting_to_a_sample(kind, fake):
    "A large collection is learned from in part, with codes for all of it in its order; the same seed takes the same part."
    images = noise(400, [str(i % 3) for i in range(400)])
    def fitted(seed):
        encoder = Encoder(16, seed=seed, binariser=kind, sample=170)
        found, numbers = encoder.fit_transform(images)
        assert numbers.tolist() == list(range(400)) and (encoder.transform(images)[0] == found).all()
        return found
    assert (fitted(1) == fitted(1)).all() and not (fitted(1) == fitted(2)).all()


def test_categories_that_come_into_the_sample_once(fake):
    "A hash layer leaves out what it saw once; the pictures get codes all the same."
    labels = [str(i // 2) if i < 40 else 'many' if i % 2 else 'more' for i in range(400)]
    with pytest.warns(UserWarning, match='left out of training'): found, numbers = Encoder(16, binariser='hash', sample=100).fit_transform(noise(400), labels)
    assert found.shape == (400, 2) and len(numbers) == 400


def test_encoding_holds_the_sample_and_little_more(monkeypatch):
    "Features of a large collection are let go as soon as they have become codes."
    lock, alive = [0], []
    def gone(n): lock[0] -= n
    class Counting(Fake):
        def __call__(self, pixels):
            found = super().__call__(pixels)
            lock[0] += len(found)
            alive.append(lock[0])
            weakref.finalize(found, gone, len(found))
            return found
    monkeypatch.setattr(codes, 'pretrained', lambda name, size: Counting(size=8, dimension=32))
    monkeypatch.setattr('os.cpu_count', lambda: 2)
    found, _ = Encoder(16, sample=200).fit_transform(noise(2000))
    assert len(found) == 2000 and len(alive) >= 125 and max(alive) <= 200 + 10 * 16


def broken(images, *numbers):
    "The same pictures, of which some cannot be read."
    def opener(i, size):
        if i in numbers: raise OSError('broken')
        return images.opener(i, size)
    return Images(images.names, images.labels, opener, images.reader)


@pytest.mark.filterwarnings('ignore:skipped')
@pytest.mark.parametrize('kind', KINDS)
def test_pictures_that_cannot_be_read_have_no_code(kind, fake):
    "The others keep their labels and their codes."
    images = noise(200, [str(i % 3) for i in range(200)])
    found, numbers = (encoder := Encoder(16, binariser=kind)).fit_transform(broken(images, 0, 5, 199))
    assert numbers.tolist() == [i for i in range(200) if i not in (0, 5, 199)]
    assert (encoder.transform(select(images, numbers))[0] == found).all()
    assert (Encoder(16, binariser=kind).fit_transform(select(images, numbers))[0] == found).all() or kind in ('itq', 'pca')


@pytest.mark.filterwarnings('ignore:skipped', 'ignore:.*left out of training')
def test_too_few_labels_are_left_among_what_can_be_read(fake):
    "Where broken pictures take away a category, the message names what is left."
    images = noise(8, list('aaaaabbb'))
    with pytest.raises(InputError, match="one category only .'a'."): Encoder(16, binariser='hash').fit(broken(images, 5, 6))
    with pytest.raises(InputError, match='categor'): Encoder(16, binariser='hash').fit(broken(noise(4, list('aabb')), 0, 2))
    with pytest.raises(InputError, match='none of the 8 pictures can be read'): Encoder(16, binariser='hash').fit(broken(images, *range(8)))


@pytest.mark.parametrize('kind', KINDS)
def test_features_that_are_no_numbers(kind, monkeypatch):
    "A network that gives NaN is noticed when the encoder is fitted, beyond the sample, and when it is used."
    images, spoilt = noise(400, [str(i % 3) for i in range(400)]), []
    class Broken(Fake):
        def __call__(self, pixels): return np.where(len(self.calls) in spoilt, np.nan, super().__call__(pixels))
    monkeypatch.setattr(codes, 'pretrained', lambda name, size: Broken(size=8, dimension=32))
    encoder = Encoder(16, binariser=kind, sample=200).fit(images)
    encoder.backbone_.calls.clear()
    for spoilt[:], work in (([3], lambda: Encoder(16, binariser=kind, sample=200).fit(images)), ([20], lambda: Encoder(16, binariser=kind, sample=200).fit(images)),
                            ([3], lambda: encoder.transform(images))):
        with pytest.raises(InputError, match='NaN'): work()


def test_labels_that_are_given_count_more_than_those_of_the_images(fake):
    "Pictures without labels, or with others, are learned from with the labels that are given."
    wanted = [str(i % 3) for i in range(60)]
    other = noise(60, ['x'] * 30 + ['y'] * 30)
    made = [Encoder(16, binariser='hash').fit(images, labels).to_bytes() for images, labels in ((noise(60, wanted), None), (noise(60), wanted), (other, wanted), (other, None))]
    assert made[0] == made[1] == made[2] != made[3]


def test_the_small_cnn_takes_the_labels_that_are_given():
    "As any other part of an encoder."
    some, none = select(digits(), range(60)), select(digits(), range(60))
    none.labels = None
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        assert Encoder(16, 'small-cnn').fit(none, some.labels).to_bytes() == Encoder(16, 'small-cnn').fit(some).to_bytes()


def test_the_small_cnn_wants_two_categories():
    for some in (noise(4), noise(4, ['a'] * 4), broken(noise(4, list('aabb')), 2, 3)):
        with pytest.raises(InputError, match='small-cnn'): Encoder(16, 'small-cnn').fit(some)


def test_encoders_use_the_cache(fake, monkeypatch, tmp_path):
    "What was encoded once is not sent through the network again, by whatever encoder with this network; a trained network is never cached."
    made = []
    monkeypatch.setattr(codes, 'pretrained', lambda name, size: made.append(Fake(size=8, dimension=32)) or made[-1])
    images = noise(200, [str(i % 3) for i in range(200)])
    first = Encoder(16).fit_transform(images, cache=tmp_path)[0]
    again = Encoder(16).fit_transform(images, cache=tmp_path)[0]
    Encoder(8, binariser='hash').fit_transform(images, cache=tmp_path)
    encoder = Encoder(16).fit(images)
    assert (first == again).all() and [sum(b.calls) for b in made] == [200, 0, 0, 200]
    assert (encoder.transform(images, tmp_path)[0] == first).all() and sum(made[3].calls) == 200
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        (e := Encoder(16, 'small-cnn')).fit_transform(images, cache=tmp_path), e.transform(images, tmp_path)
    assert [p.name.split('-')[0] for p in tmp_path.iterdir()] == ['fake']


def test_fine_tuning():
    "Network and hash layer are trained together, are stored together, and do not go into the cache of the network as it came."
    images = noise(24, [str(i % 2) for i in range(24)])
    with one_thread():
        encoder = Encoder(16, size=32).fine_tune(images, epochs=1)
        found, data = encoder.transform(images)[0], encoder.to_bytes()
        again = load_encoder(data)
        assert (again.transform(images)[0] == found).all() and again.to_bytes() == data and again.binariser == 'hash' and again.trained_
        assert Encoder(16, size=32).fine_tune(images, epochs=1).to_bytes() == data
    before, after = codes.pretrained('efficientnet-lite0', 32).module.state_dict(), encoder.backbone_.module.state_dict()
    assert any(not torch.equal(before[k], after[k].cpu()) for k in before)


@pytest.mark.parametrize('labels, keyword', [(None, 'there are none'), (['a'] * 6, 'one category'), (list('aaaaab'), "'b' has 1 picture"), (list('aabb'), '4 labels for 6')])
def test_fine_tuning_refuses_labels(labels, keyword):
    with pytest.raises(InputError, match=keyword): Encoder(16, size=32).fine_tune(noise(6), labels)


def test_a_folder_that_changes_while_it_is_encoded(tmp_path, monkeypatch):
    "A photograph that goes, comes or is written anew ends the encoding with an error, in the sample and after it."
    changes = dict(gone=lambda: (tmp_path / 'a/00.png').unlink(), new=lambda: draw(tmp_path / 'a/new.png', 99), another=lambda: draw(tmp_path / 'a/00.png', 99))
    for sample in (1000, 20):
        for what, change in changes.items():
            album(tmp_path, 60), (tmp_path / 'a/new.png').unlink(missing_ok=True)
            backbone = Fake(lambda pixels: len(backbone.calls) == 3 and change(), dimension=32)
            monkeypatch.setattr(codes, 'pretrained', lambda name, size: backbone)
            encoder = Encoder(16, sample=sample)
            with warnings.catch_warnings(), pytest.raises(InputError, match=f'changed while it was read: .* {what}'):
                warnings.simplefilter('ignore')
                encoder.fit_transform(folder(tmp_path))


def test_fashion_mnist_of_the_distribution():
    "Debian's Fashion-MNIST, where it is installed: 10,000 test pictures, a thousand of each kind."
    try: images = fashion_mnist(train=False)
    except InputError as error: pytest.skip(str(error))
    kinds, count = np.unique(images.labels, return_counts=True)
    assert len(images) == 10_000 and len(kinds) == 10 and (count == 1000).all()
    assert images[0].size == (28, 28) and images.labels[0] == 'Ankle boot'


# Files of codes

@pytest.mark.parametrize('kind', KINDS)
def test_a_file_of_codes(kind, stored, fake):
    "Names of any letters, codes and encoder come back; the encoder makes the same codes."
    images, (found, data) = stored[0], stored[1][kind]
    names = ['中文/照片.png', 'bad\udcff.png', 'new\nline.png', '', *images.names[4:]]
    again = load_codes(codes_to_bytes(names, found, load_encoder(data)))
    assert again.names == names and (again.codes == found).all() and again.encoder.to_bytes() == data
    assert (again.encoder.transform(images)[0] == again.codes).all()


def test_damaged_files_of_codes(stored, fake):
    "Cut anywhere, longer, flipped, or with other arrays: `InputError`, or a file that fits together."
    found, data = stored[1]['itq']
    good, dice, wrong = codes_to_bytes(stored[0].names, found, load_encoder(data)), random.Random(0), []
    arrays = load(good)
    cut = [good[:dice.randrange(len(good))] for _ in range(30)] + [b'', good + b'x', data, good[:-1]]
    for some in cut:
        with pytest.raises(InputError, match='no file of codes'): load_codes(some)
    changes = [{k: v for k, v in (arrays | {name: other}).items() if other is not None or k != name} for name, a in arrays.items()
               for other in (None, a[:0], a[:-1], a.astype(np.float32), a[None], np.frombuffer(b'3', np.uint8), np.frombuffer(b'"' + b'x' * 200 + b'"', np.uint8),
                             np.frombuffer(json.dumps([1] * 200).encode(), np.uint8), np.frombuffer(json.dumps({str(i): 1 for i in range(200)}).encode(), np.uint8), np.frombuffer(b'[' * 100000, np.uint8))]
    for some in changes + [dict(load(good), codes=arrays['codes'].reshape(-1)), {}]:
        try: sound = load_codes(save(some))
        except InputError: continue
        except Exception as error: wrong.append(f'{type(error).__name__}: {error}')
        else:
            if not isinstance(sound.names, list) or not all(isinstance(n, str) for n in sound.names): wrong.append(f'taken for names: {sound.names!r:.60}')
    assert not wrong, '\n'.join(wrong)
