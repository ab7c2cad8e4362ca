"Made-up pictures and features for the tests of this folder."

import numpy as np

from tree_privacy.images.photos import from_arrays


def noise(n, labels=None, seed=0):
    "Pictures of noise, the same every time."
    return from_arrays(np.random.default_rng(seed).integers(0, 256, (n, 24, 40, 3), dtype=np.uint8), labels, 'noise')


def clusters(n, kinds=3, f=32, seed=0):
    "Features around a few centres, and which centre each has."
    rng = np.random.default_rng(seed)
    which = np.arange(n) % kinds
    return (rng.standard_normal((kinds, f))[which] + 0.3 * rng.standard_normal((n, f))).astype(
        np.float32
    ), which.astype(str)


BAD_LABELS = {
    'none': (lambda y: None, 'learns from labels, and there are none'),
    'too few': (lambda y: y[:-1], 'there are 59 labels for 60 pictures'),
    'too many': (lambda y: [*y, '0'], 'there are 61 labels for 60 pictures'),
    'nothing': (lambda y: [], 'there are 0 labels for 60 pictures'),
    'one category': (lambda y: ['cat'] * 60, "one category only .'cat'."),
    'one category in sets': (lambda y: [{'cat'}] * 60, "one category only .'cat'."),
    'one picture': (lambda y: ['cat', *y[1:]], "the category 'cat' has 1 picture"),
    'one picture of several': (lambda y: [{'0', 'cat'}, *y[1:]], "the category 'cat' has 1 picture"),
    'without': (lambda y: [*y[:7], (), *y[8:]], '1 of 60 pictures have no label, the first is number 7'),
    'without, a table': (
        lambda y: np.eye(3, dtype=bool)[y.astype(int)] & (np.arange(60) != 7)[:, None],
        '1 of 60 pictures have no label, the first is number 7',
    ),
    'without, None': (lambda y: [*y[:7], None, None, *y[9:]], '2 of 60 pictures have no label, the first is number 7'),
    'empty column': (lambda y: np.eye(4, dtype=bool)[y.astype(int)], 'the category 3 has 0 picture'),
    'numbers in a table': (lambda y: np.eye(3, dtype=int)[y.astype(int)], 'int64 array of shape .60, 3.'),
}
