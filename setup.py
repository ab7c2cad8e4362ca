"The package's metadata and dependencies come from settings.ini, its version from tree_privacy/__init__.py."

import re
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

root = Path(__file__).parent
config = ConfigParser(delimiters=['='])
config.read(root / 'settings.ini', encoding='utf-8')
cfg = config['DEFAULT']
lib = cfg['lib_name']

version = re.search(r'^__version__ = "(.+)"', (root / lib / '__init__.py').read_text(encoding='utf-8'), re.M)[1]
ADDS_TO = {'cloud': None, 'photos': 'cloud', 'lab': 'photos', 'dev': 'lab'}  # an extra, and the one that it has in it
extras: dict[str, list[str]] = {}
for name, inner in ADDS_TO.items():
    extras[name] = extras.get(inner, []) + cfg[f'{name}_requirements'].split()
extras['all'] = extras['lab']


def notebooks():
    "The notebooks and their pictures, folder by folder, as `data_files` wants them."
    folders = {}
    for path in sorted((root / 'nbs').rglob('*')):
        if path.suffix in ('.ipynb', '.svg', '.png') and not any(
            part.startswith('.') for part in path.parts[len(root.parts) :]
        ):
            folders.setdefault(path.parent.relative_to(root / 'nbs'), []).append(path.relative_to(root).as_posix())
    return [((Path('share', lib, 'notebooks') / folder).as_posix(), files) for folder, files in folders.items()]


setup(
    name=lib,
    version=version,
    description=cfg['description'],
    long_description=(root / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    author=cfg['author'],
    license={'apache2': 'Apache-2.0'}[cfg['license']],
    keywords=cfg['keywords'],
    python_requires=f'>={cfg["min_python"]}',
    install_requires=cfg['requirements'].split(),
    extras_require=extras,
    packages=find_packages(include=[f'{lib}*']),
    entry_points={
        'console_scripts': cfg['console_scripts'].split(),
        'nbdev': [f'{lib} = {lib}._modidx:d'],
    },
    package_data={lib: ['py.typed']},
    # The notebooks and their pictures travel with the wheel: `tree-privacy notebooks` copies them from there.
    data_files=notebooks(),
    zip_safe=False,
)
