"Small pictures and folder snapshots for the tests of the command line."
import hashlib
from pathlib import Path

import numpy as np
from PIL import Image

from tree_privacy.images.photos import PhotoSet


def picture(seed, size=(40, 30)):
    "A picture of coloured squares, always the same for a seed."
    squares = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    return Image.fromarray(squares).resize(size, Image.Resampling.NEAREST)


def draw(path, seed, **more):
    "Save the picture of a seed, folders included."
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    picture(seed).save(path, **more)


def album(folder, n, categories='abc'):
    "A folder of n pictures in subfolders."
    for i in range(n):
        draw(folder / categories[i % len(categories)] / f'{i:02}.png', i)
    return folder


def snapshot(folder):
    "Every path below a folder, with the checksum of its content."
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() if p.is_file() else None
            for p in sorted(Path(folder).rglob('*'))}


def places(home):
    "Where an index and its key lie in a folder, as options of the command."
    return ['--index', home / 'cloud', '--key', home / 'mine.key']


class Made(PhotoSet):
    "Photographs that two functions give: open(i, size) a PIL image, read(i) bytes."

    def __init__(self, names, labels, open, read=None):
        super().__init__(names, labels)
        self._open, self._read = open, read

    def open(self, i, size=None):
        return self._open(i, size)

    def read(self, i):
        return self._read(i)
