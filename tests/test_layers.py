"""Imports go down the layers, or sideways to a lower notebook number; what is imported is public.

The layers are those that nbs/development.ipynb names. The number of a module is that of the notebook that writes it.
"""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = 'tree_privacy'
LAYERS = [  # from the lowest up; a module without a folder is its own
    {'core', 'bits', 'wire', 'kernels', 'output'},
    {'images', 'tree', 'crypto', 'store'},
    {'pir'},
    {'locks'},
    {'client', 'cloud'},
    {'attacks'},
    {'evaluate'},
    {'album'},
    {'apps'},
    {'cli'},
]
STRANGERS = [('client', 'cloud'), ('cloud', 'client')]  # neither imports the other
ONLY_IN = {  # other packages that few modules may import, and these modules
    'torch': r'images\..*',
    'torchvision': r'images\..*',
    'PIL': r'(images|album|apps)\..*',
    'numba': r'kernels',
    'seal': r'crypto\.ring',
}
HEAVY = ['torch', 'torchvision', 'matplotlib', 'ipywidgets', 'scipy', 'sklearn', 'PIL', 'numba', 'seal']


@dataclass(frozen=True)
class Module:
    "A module's source, and the number of its notebook."

    source: str
    number: int


@dataclass(frozen=True)
class Import:
    "One name that a module imports; `name` is None where the module itself is imported."

    module: str
    name: str | None
    typing_only: bool = False


def package_modules() -> dict[str, Module]:
    "All modules of the package by their dotted name, without the package's own."
    numbers = {}
    for path in (ROOT / 'nbs').rglob('*.ipynb'):
        cells = json.loads(path.read_text(encoding='utf-8'))['cells']
        found = re.search(r'^#\| *default_exp +([\w.]+)', '\n'.join(''.join(c['source']) for c in cells), flags=re.M)
        if found:
            numbers[found[1]] = int(path.stem[:2])
    files = [p for p in (ROOT / PACKAGE).rglob('*.py') if p.name not in ('__init__.py', '_modidx.py')]
    names = {p: '.'.join(p.relative_to(ROOT / PACKAGE).with_suffix('').parts) for p in files}
    lost = set(names.values()) - set(numbers)
    assert not lost, f'no notebook writes {", ".join(sorted(lost))}'
    return {name: Module(p.read_text(encoding='utf-8'), numbers[name]) for p, name in names.items()}


def layer(name: str) -> int:
    "The layer of a module, from 0 up."
    folder = name.split('.')[0]
    return next(i for i, folders in enumerate(LAYERS) if folder in folders)


def absolute(node: ast.ImportFrom, name: str) -> str:
    "The dotted name that a relative import means."
    if not node.level:
        return node.module or ''
    here = [PACKAGE, *name.split('.')]
    return '.'.join([*here[: -node.level], *filter(None, [node.module])])


def type_checking(tree: ast.AST) -> set[int]:
    "The nodes below `if TYPE_CHECKING:`."
    blocks = [n for n in ast.walk(tree) if isinstance(n, ast.If) and 'TYPE_CHECKING' in ast.unparse(n.test)]
    return {id(inner) for block in blocks for part in block.body for inner in ast.walk(part)}


def imports(name: str, source: str) -> Iterator[Import]:
    "Everything that a module imports, inside of functions too."
    tree = ast.parse(source)
    typing = type_checking(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, None, id(node) in typing) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = absolute(node, name)
            yield from (Import(module, alias.name, id(node) in typing) for alias in node.names)


def public_names(source: str) -> set[str]:
    "The names in a module's `__all__`."
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == '__all__' for t in node.targets):
            return set(ast.literal_eval(node.value))
    return set()


def inner_imports(name: str, modules: dict[str, Module]) -> Iterator[tuple[str, str | None]]:
    "(module, name or None) of what a module imports from the package, and of modules that it names in a text."
    for found in imports(name, modules[name].source):
        if found.module.split('.')[0] != PACKAGE:
            continue
        target = found.module.removeprefix(PACKAGE).lstrip('.')
        if found.name and f'{target}.{found.name}'.lstrip('.') in modules:  # from tree_privacy.store import manifest
            yield f'{target}.{found.name}'.lstrip('.'), None
        else:
            yield target, found.name


def named_modules(name: str, modules: dict[str, Module]) -> Iterator[str]:
    "Modules of the package whose names are texts in a module, as in a table of what to import on first use."
    for node in ast.walk(ast.parse(modules[name].source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            target = node.value.removeprefix(f'{PACKAGE}.')
            if target != node.value and target in modules:
                yield target


def attributes(name: str, modules: dict[str, Module]) -> Iterator[tuple[str, str]]:
    "(module, attribute) of what is taken from modules that were imported as a whole."
    tree = ast.parse(modules[name].source)
    whole = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            whole |= {a.asname: a.name.removeprefix(f'{PACKAGE}.') for a in node.names if a.asname}
        elif isinstance(node, ast.ImportFrom):
            inside = absolute(node, name).removeprefix(PACKAGE).lstrip('.')
            whole |= {a.asname or a.name: f'{inside}.{a.name}'.lstrip('.') for a in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and whole.get(node.value.id) in modules:
            yield whole[node.value.id], node.attr


def arrow_faults(name: str, modules: dict[str, Module]) -> Iterator[str]:
    "Imports that go up, to a higher number, or to a stranger."
    for target in {target for target, _ in inner_imports(name, modules)} | set(named_modules(name, modules)):
        if not target:
            continue  # the package's own names, such as its version
        if target not in modules:
            yield f'{name} imports {target}, which is no module'
            continue
        if layer(target) > layer(name):
            yield f'{name} imports {target}, which is in a higher layer'
        if (name.split('.')[0], target.split('.')[0]) in STRANGERS:
            yield f'{name} imports {target}: client and cloud do not know each other'
    for target in {target for target, _ in inner_imports(name, modules) if target in modules}:
        if modules[target].number >= modules[name].number:
            yield f'{name} ({modules[name].number}) imports {target} ({modules[target].number}), a higher number'


def name_faults(name: str, modules: dict[str, Module]) -> Iterator[str]:
    "Imported names that are not public."
    taken = [(t, n) for t, n in inner_imports(name, modules) if n] + list(attributes(name, modules))
    for target, what in dict.fromkeys(taken):
        if target in modules and (what.startswith('_') or what not in public_names(modules[target].source)):
            yield f'{name} takes {what} from {target}, where it is not public'


def foreign_faults(name: str, modules: dict[str, Module]) -> Iterator[str]:
    "Imports of large packages where they do not belong."
    for found in imports(name, modules[name].source):
        top = found.module.split('.')[0]
        if top in ONLY_IN and not found.typing_only and not re.fullmatch(ONLY_IN[top], name):
            yield f'{name} imports {top}, which belongs to {ONLY_IN[top]}'


def faults(modules: dict[str, Module]) -> list[str]:
    "Everything that is wrong with the imports of these modules."
    return [
        fault
        for name in sorted(modules)
        for rule in (arrow_faults, name_faults, foreign_faults)
        for fault in sorted(rule(name, modules))
    ]


def test_imports_go_down():
    found = faults(package_modules())
    assert not found, '\n'.join(found)


def test_folders_have_a_docstring_and_nothing_else():
    "Importing a folder imports none of its modules."
    for path in (ROOT / PACKAGE).glob('*/__init__.py'):
        tree = ast.parse(path.read_text(encoding='utf-8'))
        assert ast.get_docstring(tree) and len(tree.body) == 1, f'{path.relative_to(ROOT)}: wanted one docstring'
    folders = {p.parent for p in (ROOT / PACKAGE).glob('*/*.py')}
    assert all((folder / '__init__.py').exists() for folder in folders)


@pytest.mark.skipif(not (ROOT / PACKAGE / 'cloud' / 'service.py').exists(), reason='there is no cloud yet')
def test_a_cloud_is_light():
    "A machine that only answers searches needs neither torch nor pictures, and loads numba and SEAL when it uses them."
    code = f'import sys, {PACKAGE}.cloud.service; print(*(m for m in {HEAVY} if m in sys.modules))'
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()) == (0, []), done.stdout + done.stderr


# The rules themselves: each notices what it is there for.

GOOD = {
    'core': Module('__all__ = ["f"]\ndef f(): pass\ndef _g(): pass', 0),
    'kernels': Module('def run():\n    import numba', 3),
    'images.photos': Module('import torch\nfrom ..core import f', 5),
    'store.reader': Module('from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from PIL import Image', 33),
    'locks.base': Module('__all__ = ["A"]\nfrom tree_privacy.core import f\nT = {"b": "tree_privacy.locks.b"}', 45),
    'locks.b': Module('from .base import A\nfrom .. import core\ncore.f()', 46),
    'client.user': Module('import tree_privacy.locks.base as b\nfrom ..core import f\nb.A', 59),
    'cloud.service': Module('from ..locks import base\nbase.A', 60),
}
BAD = [
    ('core', 'from .kernels import run', 'higher number'),
    ('core', 'from .images.photos import x', 'higher layer'),
    ('core', 'def f():\n    import tree_privacy.images.photos', 'higher layer'),
    ('locks.base', 'T = {"a": "tree_privacy.cloud.service"}', 'higher layer'),
    ('locks.base', 'from .b import x', 'higher number'),
    ('locks.base', 'from . import b', 'higher number'),
    ('cloud.service', 'from ..client.user import x', 'do not know each other'),
    ('client.user', 'from tree_privacy.cloud import service', 'do not know each other'),
    ('locks.b', 'from ..core import _g', 'takes _g from core'),
    ('locks.b', 'from ..core import os', 'takes os from core'),
    ('locks.b', 'from tree_privacy import core\ncore._g()', 'takes _g from core'),
    ('locks.b', 'import tree_privacy.core as c\nc._g()', 'takes _g from core'),
    ('locks.b', 'from ..nowhere import x', 'no module'),
    ('locks.b', 'def f():\n    from torch import nn', 'belongs to'),
    ('store.reader', 'import numba', 'belongs to'),
    ('store.reader', 'from PIL import Image', 'belongs to'),
]


def test_good_imports_pass():
    assert faults(GOOD) == []


@pytest.mark.parametrize('name, source, fault', BAD, ids=range(len(BAD)))
def test_bad_imports_are_noticed(name, source, fault):
    changed = GOOD | {name: Module(source, GOOD[name].number)}
    assert any(fault in found and found.startswith(name) for found in faults(changed)), faults(changed)


def test_no_module_is_long():
    "A module is read at one sitting: 400 lines at most."
    long = {name: module.source.count('\n') for name, module in package_modules().items()}
    assert not {name: lines for name, lines in long.items() if lines > 400}
