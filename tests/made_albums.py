"Albums that are quickly made."
from pictures import album as paint

from tree_privacy import Album
from tree_privacy.images.encoder import Encoder


def small_encoder():
    "An encoder that twelve pictures are enough for."
    return Encoder(bits=32, binariser='lsh', size=32)


def make_album(home):
    "An album of twelve pictures: photographs, index and key in a folder."
    paint(home / 'Photos', 12)
    return Album.create(home / 'Photos', home / 'cloud', home / 'mine.key', encoder=small_encoder(), cache=False)
