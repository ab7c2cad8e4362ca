"Folders of indexes whose files were damaged: the cloud does not open them, and says so."
import json

import pytest
from contract.lock_variants import VARIANTS

from security.albums import made
from tree_privacy.client.owner import Owner
from tree_privacy.cloud.service import CloudService
from tree_privacy.core import FormatError, TreePrivacyError
from tree_privacy.store.manifest import MANIFEST

every = pytest.mark.parametrize('variant', VARIANTS)


@every
def test_damaged_files_are_refused_by_the_cloud(variant, tmp_path):
    """One flipped byte in a file that is read whole, or a file cut short, is found when the cloud opens the index; so
    is a file that is missing, empty or that of another name."""
    album = made(variant, tmp_path / 'index')
    paths = sorted((album.folder / album.manifest.generation).iterdir())
    assert {path.stem for path in paths} == set(album.manifest.files)
    for path, other in zip(paths, paths[1:] + paths[:1], strict=True):
        whole = path.read_bytes()
        flipped = whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:]
        wrong = [whole[:-1], b'', other.read_bytes(), *([] if path.name.startswith('photos-') else [flipped])]
        for data in wrong:
            path.write_bytes(data)
            with pytest.raises(FormatError, match='truncated or altered|was altered|is empty'):
                CloudService(album.folder)
        path.unlink()
        with pytest.raises(FormatError, match='lacks the file'):
            CloudService(album.folder)
        path.write_bytes(whole)
    assert CloudService(album.folder).manifest == album.manifest


@every
def test_damage_is_found_by_owners_who_open(variant, tmp_path):
    "Records and encoder are compared before an owner takes them over."
    album = made(variant, tmp_path / 'index', 'none')
    for name in ('records', 'encoder'):
        path = album.folder / album.manifest.generation / f'{name}.safetensors'
        whole = path.read_bytes()
        path.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
        with pytest.raises(FormatError, match='was altered'):
            Owner(album.key).open(album.folder)
        path.write_bytes(whole)
    assert len(Owner(album.key).open(album.folder).collection) == 32


@pytest.mark.parametrize('variant', ['split', 'encrypted', 'sealed', 'small buckets'])
def test_manifests_that_were_cut_or_filled(variant, tmp_path):
    "Cut short, nested deeply, of a later format, or with one field left out: refused, and nothing hangs."
    album = made(variant, tmp_path / 'index', 'none')
    path = album.folder / MANIFEST
    text = path.read_text()
    data = json.loads(text)
    wrong = [text[:at] for at in range(0, len(text), 97)] + ['[' * 100_000, 'null', '7', '{}']
    wrong += [json.dumps({k: v for k, v in data.items() if k != name}) for name in data if name != 'signature']
    wrong += [json.dumps(data | dict(format=99)), json.dumps(data | dict(extra=1))]
    for one in wrong:
        path.write_text(one)
        with pytest.raises(TreePrivacyError):
            CloudService(album.folder)
    path.write_text(text)
    assert CloudService(album.folder).manifest == album.manifest
