"Encoders: what is stored, what is skipped, what is refused, and files of codes."

import json
import random
import struct
import warnings
import weakref

import numpy as np
import pytest
import torch
from fakes import Fake
from pictures import Made, album, draw
from safetensors.numpy import load, save

from tree_privacy.core import FormatError, InputError, NotFittedError
from tree_privacy.images import encoder as encoder_module
from tree_privacy.images.backbones import one_thread
from tree_privacy.images.encoder import Encoder, codes_to_bytes, load_codes, load_encoder
from tree_privacy.images.hash_layer import BINARISERS, HashLayer
from tree_privacy.images.photos import digits, folder, select

from .made import BAD_LABELS, clusters, noise

KINDS = list(BINARISERS)


@pytest.fixture
def fake(monkeypatch):
    "The network of every encoder takes no time."
    monkeypatch.setattr(encoder_module, 'pretrained', lambda name, size: Fake(size=8, dimension=32))


@pytest.mark.parametrize('how', BAD_LABELS)
def test_labels_that_cannot_be_learned_from(how, fake):
    "Each is refused with what is wrong, before any picture is opened."
    wrong, keyword = BAD_LABELS[how]

    def opener(i, size):
        raise AssertionError('a picture was opened')

    with pytest.raises(InputError, match=keyword):
        Encoder(16, binariser='hash').fit(Made([str(i) for i in range(60)], None, opener), wrong(clusters(60)[1]))


def test_there_is_no_other_binariser():
    with pytest.raises(InputError, match="no binariser 'best'"):
        Encoder(16, size=32, binariser='best').fit(noise(3))


def test_nothing_to_learn_from(fake):
    "A collection without a picture is refused, whatever the binariser."
    for kind in KINDS:
        with pytest.raises(InputError):
            Encoder(16, binariser=kind).fit(select(noise(3, list('aab')), []))


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
        with pytest.raises(FormatError):
            load_encoder(data[:cut])


@pytest.fixture(scope='module')
def stored():
    "Bytes of a fitted encoder of every kind, and the codes that it gave to 200 pictures."
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder_module, 'pretrained', lambda name, size: Fake(size=8, dimension=32))
        photos, made = noise(200, [str(i % 3) for i in range(200)]), {}
        for kind in KINDS:
            encoder = Encoder(16, seed=3, binariser=kind)
            made[kind] = encoder.fit_transform(photos)[0], encoder.to_bytes()
        encoder.binariser_ = HashLayer(16, hidden=0).fit(clusters(100)[0], clusters(100)[1])
        made['hash without hidden units'] = encoder.transform(photos)[0], encoder.to_bytes()
    return photos, made


@pytest.mark.parametrize('kind', [*KINDS, 'hash without hidden units'])
def test_every_kind_survives_storing(kind, stored, fake):
    "Codes, kind, bits and seed come back, and the same bytes."
    photos, (found, data) = stored[0], stored[1][kind]
    again = load_encoder(data)
    assert (
        (again.transform(photos)[0] == found).all() and again.to_bytes() == data and len(np.unique(found, axis=0)) > 1
    )
    assert type(again.binariser_) is BINARISERS[kind.split()[0]] and (again.bits, again.seed, again.binariser) == (
        16,
        3,
        kind.split()[0],
    )


def refused_or_sound(data, photos):
    "Bytes give an encoder that makes codes, or an error; says which."
    try:
        encoder = load_encoder(data)
        found, numbers = encoder.transform(photos)
    except (FormatError, InputError):
        return 'refused'
    assert found.dtype == np.uint8 and found.shape == (len(photos), encoder.bits // 8) and len(numbers) == len(photos)
    return 'sound'


@pytest.mark.parametrize('kind', ['itq', 'hash'])
def test_damaged_encoders(kind, stored, fake):
    "Cut anywhere, longer, or with a bit flipped: `FormatError`, or an encoder that works."
    photos, data, dice = select(stored[0], range(3)), stored[1][kind][1], random.Random(0)
    start = 8 + struct.unpack('<Q', data[:8])[0]
    for n in [*range(0, start, 7), *(dice.randrange(start, len(data)) for _ in range(20)), len(data) - 1]:
        assert refused_or_sound(data[:n], photos) == 'refused'
    assert (
        refused_or_sound(data + b'x', photos)
        == refused_or_sound(b'', photos)
        == refused_or_sound(dice.randbytes(500), photos)
        == 'refused'
    )
    wrong = []
    for i in [*range(start), *(dice.randrange(start, len(data)) for _ in range(50))]:
        flipped = data[:i] + bytes([data[i] ^ 1 << dice.randrange(8)]) + data[i + 1 :]
        try:
            refused_or_sound(flipped, photos)
        except Exception as error:
            wrong.append(f'{flipped[max(8, i - 20) : i + 20]}: {type(error).__name__}: {error}')
    assert not wrong, '\n'.join(wrong)


def rewritten(data, about=None, arrays=None):
    "The bytes of an encoder with other things in its header or other arrays; None takes one out."
    header = json.loads(json.loads(data[8 : 8 + struct.unpack('<Q', data[:8])[0]])['__metadata__']['encoder'])
    header, kept = (
        {k: v for k, v in (a | (b or {})).items() if v is not None} for a, b in ((header, about), (load(data), arrays))
    )
    return save(kept, {'encoder': json.dumps(header)})


STRANGE = [-1, 0, 1, 12, 1.5, 10**30, 'x', '', [], {}, True, 'small-cnn', 'HashLayer', 'ITQ', 'Binariser', [['x']]]


@pytest.mark.parametrize('kind', ['itq', 'hash'])
def test_encoders_with_strange_values(kind, stored, fake):
    "Whatever a stranger writes into an encoder that is otherwise sound: `FormatError`, or an encoder that works."
    photos, data, wrong = select(stored[0], range(3)), stored[1][kind][1], []
    changes = [
        (dict(about={name: value}))
        for name in ('format', 'bits', 'backbone', 'size', 'seed', 'trained', 'binariser', 'fitted')
        for value in [None, *STRANGE]
    ]
    for name, a in load(data).items():
        others = dict(
            missing=None,
            none=a[:0],
            half=a[: len(a) // 2],
            double=np.concatenate([a, a]),
            flat=a.reshape(-1),
            scalar=np.array(a.flat[0]),
            zero=a * 0,
            nan=a * np.nan,
            narrow=a[..., :8],
            deep=a[None],
            whole=np.full(a.shape, 3),
            yes=a > 0,
            huge=np.full_like(a, 1e30),
        )
        changes += [dict(arrays={name: other}) for other in others.values()]
        changes += [dict(about=dict(bits=8), arrays={k: v[..., :8] for k, v in load(data).items()})]
    for change in changes:
        try:
            refused_or_sound(rewritten(data, **change), photos)
        except Exception as error:
            wrong.append(f'{str(change)[:70]!r}: {type(error).__name__}: {error}')
    assert not wrong, '\n'.join(wrong)


@pytest.mark.parametrize('use', [lambda e: e.transform(noise(3)), lambda e: e.to_bytes()])
def test_an_encoder_that_has_learned_nothing(use):
    with pytest.raises(NotFittedError, match='has not been fitted'):
        use(Encoder(32))


def test_an_encoder_of_another_version(stored, fake):
    data = stored[1]['itq'][1]
    assert rewritten(data) == data
    for number in (1, 3):
        with pytest.raises(FormatError, match=f'format {number}'):
            load_encoder(rewritten(data, dict(format=number)))


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
        with pytest.warns(UserWarning, match='random projections'):
            found, _ = (e := Encoder(32, size=32)).fit_transform(some)
        assert (found == found[0]).all() and (e.transform(select(some, [0]))[0] == found[0]).all()


@pytest.mark.parametrize('kind', KINDS)
def test_fitting_to_a_sample(kind, fake):
    "A large collection is learned from in part, with codes for all of it; the same seed takes the same part."
    photos = noise(400, [str(i % 3) for i in range(400)])

    def fitted(seed):
        encoder = Encoder(16, seed=seed, binariser=kind, sample=170)
        found, numbers = encoder.fit_transform(photos)
        assert numbers.tolist() == list(range(400)) and (encoder.transform(photos)[0] == found).all()
        return found

    assert (fitted(1) == fitted(1)).all() and not (fitted(1) == fitted(2)).all()


def test_categories_that_come_into_the_sample_once(fake):
    "A hash layer leaves out what it saw once; the pictures get codes all the same."
    labels = [str(i // 2) if i < 40 else 'many' if i % 2 else 'more' for i in range(400)]
    with pytest.warns(UserWarning, match='left out of training'):
        found, numbers = Encoder(16, binariser='hash', sample=100).fit_transform(noise(400), labels)
    assert found.shape == (400, 2) and len(numbers) == 400


def test_encoding_holds_the_sample_and_little_more(monkeypatch):
    "Features of a large collection are let go as soon as they have become codes."
    lock, alive = [0], []

    def gone(n):
        lock[0] -= n

    class Counting(Fake):
        def __call__(self, pixels):
            found = super().__call__(pixels)
            lock[0] += len(found)
            alive.append(lock[0])
            weakref.finalize(found, gone, len(found))
            return found

    monkeypatch.setattr(encoder_module, 'pretrained', lambda name, size: Counting(size=8, dimension=32))
    monkeypatch.setattr('os.cpu_count', lambda: 2)
    found, _ = Encoder(16, sample=200).fit_transform(noise(2000))
    assert len(found) == 2000 and len(alive) >= 125 and max(alive) <= 200 + 10 * 16


def broken(photos, *numbers):
    "The same pictures, of which some cannot be read."

    def opener(i, size):
        if i in numbers:
            raise OSError('broken')
        return photos.open(i, size)

    return Made(photos.names, photos.labels, opener, photos.read)


@pytest.mark.filterwarnings('ignore:skipped')
@pytest.mark.parametrize('kind', KINDS)
def test_pictures_that_cannot_be_read_have_no_code(kind, fake):
    "The others keep their labels and their codes."
    photos = noise(200, [str(i % 3) for i in range(200)])
    found, numbers = (encoder := Encoder(16, binariser=kind)).fit_transform(broken(photos, 0, 5, 199))
    assert numbers.tolist() == [i for i in range(200) if i not in (0, 5, 199)]
    assert (encoder.transform(select(photos, numbers))[0] == found).all()
    assert (Encoder(16, binariser=kind).fit_transform(select(photos, numbers))[0] == found).all() or kind in (
        'itq',
        'pca',
    )


@pytest.mark.filterwarnings('ignore:skipped', 'ignore:.*left out of training')
def test_too_few_labels_are_left_among_what_can_be_read(fake):
    "Where broken pictures take away a category, the message names what is left."
    photos = noise(8, list('aaaaabbb'))
    with pytest.raises(InputError, match="one category only .'a'."):
        Encoder(16, binariser='hash').fit(broken(photos, 5, 6))
    with pytest.raises(InputError, match='categor'):
        Encoder(16, binariser='hash').fit(broken(noise(4, list('aabb')), 0, 2))
    with pytest.raises(InputError, match='none of the 8 pictures can be read'):
        Encoder(16, binariser='hash').fit(broken(photos, *range(8)))


@pytest.mark.parametrize('kind', KINDS)
def test_features_that_are_no_numbers(kind, monkeypatch):
    "A network that gives NaN is noticed when the encoder is fitted, beyond the sample, and when it is used."
    photos, spoilt = noise(400, [str(i % 3) for i in range(400)]), []

    class Broken(Fake):
        def __call__(self, pixels):
            return np.where(len(self.calls) in spoilt, np.nan, super().__call__(pixels))

    monkeypatch.setattr(encoder_module, 'pretrained', lambda name, size: Broken(size=8, dimension=32))
    encoder = Encoder(16, binariser=kind, sample=200).fit(photos)
    encoder.backbone_.calls.clear()
    for spoilt[:], work in (
        ([3], lambda: Encoder(16, binariser=kind, sample=200).fit(photos)),
        ([20], lambda: Encoder(16, binariser=kind, sample=200).fit(photos)),
        ([3], lambda: encoder.transform(photos)),
    ):
        with pytest.raises(InputError, match='NaN'):
            work()


def test_labels_that_are_given_count_more_than_those_of_the_photos(fake):
    "Pictures without labels, or with others, are learned from with the labels that are given."
    wanted = [str(i % 3) for i in range(60)]
    other = noise(60, ['x'] * 30 + ['y'] * 30)
    made = [
        Encoder(16, binariser='hash').fit(photos, labels).to_bytes()
        for photos, labels in ((noise(60, wanted), None), (noise(60), wanted), (other, wanted), (other, None))
    ]
    assert made[0] == made[1] == made[2] != made[3]


def test_the_small_cnn_takes_the_labels_that_are_given():
    "As any other part of an encoder."
    some, none = select(digits(), range(60)), select(digits(), range(60))
    none.labels = None
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        assert (
            Encoder(16, 'small-cnn').fit(none, some.labels).to_bytes() == Encoder(16, 'small-cnn').fit(some).to_bytes()
        )


def test_the_small_cnn_wants_two_categories():
    for some in (noise(4), noise(4, ['a'] * 4), broken(noise(4, list('aabb')), 2, 3)):
        with pytest.raises(InputError, match='small-cnn'):
            Encoder(16, 'small-cnn').fit(some)


def test_encoders_use_the_cache(fake, monkeypatch, tmp_path):
    "No picture goes through the same pretrained network twice; a network of our own is never cached."
    made = []
    monkeypatch.setattr(
        encoder_module, 'pretrained', lambda name, size: made.append(Fake(size=8, dimension=32)) or made[-1]
    )
    photos = noise(200, [str(i % 3) for i in range(200)])
    first = Encoder(16).fit_transform(photos, cache=tmp_path)[0]
    again = Encoder(16).fit_transform(photos, cache=tmp_path)[0]
    Encoder(8, binariser='hash').fit_transform(photos, cache=tmp_path)
    encoder = Encoder(16).fit(photos)
    assert (first == again).all() and [sum(b.calls) for b in made] == [200, 0, 0, 200]
    assert (encoder.transform(photos, tmp_path)[0] == first).all() and sum(made[3].calls) == 200
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        (e := Encoder(16, 'small-cnn')).fit_transform(photos, cache=tmp_path), e.transform(photos, tmp_path)
    assert [p.name.split('-')[0] for p in tmp_path.iterdir()] == ['fake']


def test_fine_tuning():
    "Network and hash layer are trained and stored together; the network as it came is not changed."
    photos = noise(24, [str(i % 2) for i in range(24)])
    with one_thread():
        encoder = Encoder(16, size=32).fine_tune(photos, epochs=1)
        found, data = encoder.transform(photos)[0], encoder.to_bytes()
        again = load_encoder(data)
        assert (
            (again.transform(photos)[0] == found).all()
            and again.to_bytes() == data
            and again.binariser == 'hash'
            and again.trained_
        )
        assert Encoder(16, size=32).fine_tune(photos, epochs=1).to_bytes() == data
    before, after = (
        encoder_module.pretrained('efficientnet-lite0', 32).module.state_dict(),
        encoder.backbone_.module.state_dict(),
    )
    assert any(not torch.equal(before[k], after[k].cpu()) for k in before)


@pytest.mark.parametrize(
    'labels, keyword',
    [
        (None, 'there are none'),
        (['a'] * 6, 'one category'),
        (list('aaaaab'), "'b' has 1 picture"),
        (list('aabb'), '4 labels for 6'),
    ],
)
def test_fine_tuning_refuses_labels(labels, keyword):
    with pytest.raises(InputError, match=keyword):
        Encoder(16, size=32).fine_tune(noise(6), labels)


def changing(change):
    "A network that makes a change while its third batch is computed."
    backbone = Fake(lambda pixels: len(backbone.calls) == 3 and change(), dimension=32)
    return backbone


def test_a_folder_that_changes_while_it_is_encoded(tmp_path, monkeypatch):
    "A photograph that goes, comes or is written anew ends the encoding with an error, in the sample and after it."
    changes = dict(
        gone=lambda: (tmp_path / 'a/00.png').unlink(),
        new=lambda: draw(tmp_path / 'a/new.png', 99),
        another=lambda: draw(tmp_path / 'a/00.png', 99),
    )
    for sample in (1000, 20):
        for what, change in changes.items():
            album(tmp_path, 60), (tmp_path / 'a/new.png').unlink(missing_ok=True)
            backbone = changing(change)
            monkeypatch.setattr(encoder_module, 'pretrained', lambda name, size, b=backbone: b)
            encoder = Encoder(16, sample=sample)
            with warnings.catch_warnings(), pytest.raises(InputError, match=f'changed while it was read: .* {what}'):
                warnings.simplefilter('ignore')
                encoder.fit_transform(folder(tmp_path))


# Files of codes


@pytest.mark.parametrize('kind', KINDS)
def test_a_file_of_codes(kind, stored, fake):
    "Names of any letters, codes and encoder come back; the encoder makes the same codes."
    photos, (found, data) = stored[0], stored[1][kind]
    names = ['中文/照片.png', 'bad\udcff.png', 'new\nline.png', '', *photos.names[4:]]
    again = load_codes(codes_to_bytes(names, found, load_encoder(data)))
    assert again.names == names and (again.codes == found).all() and again.encoder.to_bytes() == data
    assert (again.encoder.transform(photos)[0] == again.codes).all()


def test_damaged_files_of_codes(stored, fake):
    "Cut anywhere, longer, flipped, or with other arrays: `FormatError`, or a file that fits together."
    found, data = stored[1]['itq']
    good, dice, wrong = codes_to_bytes(stored[0].names, found, load_encoder(data)), random.Random(0), []
    arrays = load(good)
    cut = [good[: dice.randrange(len(good))] for _ in range(30)] + [b'', good + b'x', data, good[:-1]]
    for some in cut:
        with pytest.raises(FormatError, match='no file of codes'):
            load_codes(some)
    changes = [
        {k: v for k, v in (arrays | {name: other}).items() if other is not None or k != name}
        for name, a in arrays.items()
        for other in (
            None,
            a[:0],
            a[:-1],
            a.astype(np.float32),
            a[None],
            np.frombuffer(b'3', np.uint8),
            np.frombuffer(b'"' + b'x' * 200 + b'"', np.uint8),
            np.frombuffer(json.dumps([1] * 200).encode(), np.uint8),
            np.frombuffer(json.dumps({str(i): 1 for i in range(200)}).encode(), np.uint8),
            np.frombuffer(b'[' * 100000, np.uint8),
        )
    ]
    for some in changes + [dict(load(good), codes=arrays['codes'].reshape(-1)), {}]:
        try:
            sound = load_codes(save(some))
        except FormatError:
            continue
        except Exception as error:
            wrong.append(f'{type(error).__name__}: {error}')
        else:
            if not isinstance(sound.names, list) or not all(isinstance(n, str) for n in sound.names):
                wrong.append(f'taken for names: {sound.names!r:.60}')
    assert not wrong, '\n'.join(wrong)
