"""The cloud half of every lock in an environment that has the cloud's packages only.

Three steps, each a process; FOLDER is made by the first:
    full/python cloud_alone.py make FOLDER       an index, a search and a fetch under every variant of a lock, recorded
    cloud/python cloud_alone.py answer FOLDER    answer the recorded requests, without networks and pictures
    full/python cloud_alone.py compare FOLDER    the answers are those of the full environment, but for times
"""
import importlib.util
import json
import sys
from pathlib import Path

import numpy as np

from tree_privacy.wire import read_message

ABSENT = ['torch', 'torchvision', 'matplotlib', 'ipywidgets', 'scipy', 'sklearn', 'PIL']


def make(home):
    "Indexes with small pictures, and every request that a search and a fetch sent, with its reply."
    from contract.lock_variants import VARIANTS
    from parties import codes_of, ways, with_photos
    for variant in VARIANTS:
        place = home / variant.replace(' ', '-')
        place.mkdir(parents=True)
        world = with_photos(variant, place / 'index', 'thumbs')
        line = world.line
        line.exchanges.clear()
        world.user = type(world.user).connect(world.key.grant(), line)
        hits = world.search(codes_of(variant)[0], 5)
        world.fetch([hit.id for hit in hits][:2], ways(variant)[-1])
        for i, exchange in enumerate(line.exchanges):
            (place / f'{i:02}.request').write_bytes(exchange.request)
            (place / f'{i:02}.full').write_bytes(exchange.reply)
        print(f'{place.name}: {len(hits)} results, {len(line.exchanges)} requests')


def answer(home):
    "Answer every request; prove first that what a cloud does without is not here."
    here = [name for name in ABSENT if importlib.util.find_spec(name)]
    assert not here, f'this environment has more than a cloud needs: {here}'
    print('not importable:', *ABSENT)
    from tree_privacy.cloud.service import CloudService
    for place in sorted(home.iterdir()):
        cloud = CloudService(place / 'index')
        requests = sorted(place.glob('*.request'))
        for request in requests:
            request.with_suffix('.alone').write_bytes(cloud.handle(request.read_bytes()))
        print(f'{place.name}: {len(requests)} requests answered')
    loaded = sorted({name.split('.')[0] for name in sys.modules} & {'seal', 'numba', 'tqdm'})
    print('loaded:', *loaded)


def same(one, two):
    "Whether two replies say the same: everything but how long the cloud took."
    one, two = read_message(one), read_message(two)
    headers = [{k: v for k, v in m.header.items() if k != 'ms'} for m in (one, two)]
    if one.kind != two.kind or headers[0] != headers[1] or one.arrays.keys() != two.arrays.keys():
        return False
    pairs = [(x, two.arrays[name]) for name, x in one.arrays.items()]
    return all(x.dtype == y.dtype and x.shape == y.shape for x, y in pairs) and all(
        np.allclose(x, y, rtol=1e-9, atol=0) if x.dtype.kind == 'f' else (x == y).all() for x, y in pairs)


def compare(home):
    "Every answer is there, and says the same."
    counts = {}
    for place in sorted(home.iterdir()):
        full = sorted(place.glob('*.full'))
        different = [p.name for p in full if not same(p.read_bytes(), p.with_suffix('.alone').read_bytes())]
        assert full and not different, f'{place.name}: other answers than in the full environment: {different}'
        counts[place.name] = len(full)
    assert counts, f'{home} holds no answers'
    print('answers equal to those of the full environment:', json.dumps(counts))


if __name__ == '__main__':
    dict(make=make, answer=answer, compare=compare)[sys.argv[1]](Path(sys.argv[2]))
