"Every notebook runs and gives the outputs it stores, and is written the way the others are."

import ast
import dataclasses
import importlib
import inspect
import json
import posixpath
import re
import typing
from pathlib import Path

import pytest
import run_notebook
import yaml
from fastcore.docments import docments
from fastcore.nbio import dict2nb, mk_cell, new_nb, read_nb
from forked import run_forked
from IPython.core.inputtransformer2 import TransformerManager

root = Path(__file__).resolve().parent.parent
package = 'tree_privacy'
hide = {'hide', 'hide_input'}
export = {'export', 'exports', 'exporti'}


def number(name):
    "A notebook's number: reading order is import order. `index` comes last."
    stem = name.split('/')[-1]
    return (int(stem[:2]), name) if stem[:2].isdigit() else (100, name)


def name(path):
    "A notebook's path below `nbs`, without its ending."
    return path.relative_to(root / 'nbs').with_suffix('').as_posix()


notebooks = sorted((root / 'nbs').rglob('*.ipynb'), key=lambda path: number(name(path)))


@pytest.mark.parametrize('path', notebooks, ids=name)
def test_runs(path):
    "One process a notebook: nothing leaks from one to the next."
    done = run_forked(run_notebook.main, [str(path), '--answers'], cpu_seconds=60)
    if done.code:
        pytest.fail(f'{path.name} ended with {done.code}\n{done.output}', pytrace=False)


# Each rule takes a notebook and returns what is wrong with it.


def code_cells(nb):
    "The code cells that hold code, not directives alone."
    return [c for c in nb.cells if c.cell_type == 'code' and ''.join(c._partition()[1]).strip()]


def tree(cell):
    "The syntax tree of a code cell, IPython's own syntax translated."
    return ast.parse(TransformerManager().transform_cell(cell.source))


def module_of(nb):
    "The module that a notebook exports to, or None."
    return next(
        (c.directive('default_exp') for c in nb.cells if c.cell_type == 'code' and c.has_directive('default_exp')), None
    )


def pictures(nb):
    "Each (cell, size in bytes) of a stored picture."
    for c in code_cells(nb):
        for o in c.outputs:
            yield from ((c, len(''.join(v)) * 3 // 4) for k, v in o.get('data', {}).items() if k.startswith('image/'))


def opening(nb):
    "The first cell is a title and a subtitle. nbdev keeps nothing else of that cell, so there is nothing else in it."
    first = nb.cells[0]
    if first.cell_type == 'markdown' and re.fullmatch(
        r'# \S[^\n]*\n+> \S[^\n]*(\n+- [\w-]+: [^\n]*)*\s*', first.source
    ):
        return []
    return ['the first cell must be "# Title", an empty line and "> subtitle", and nothing else']


def code_of(cell):
    "A code cell's source without its directives."
    return ''.join(cell._partition()[1]).strip()


def exported_cells(nb):
    "The code cells that go into the module."
    return [c for c in code_cells(nb) if export & c.directives.keys()]


def cell_size(nb):
    "An exported cell has 60 lines at most, which is room for a class, and the body of a function 25."
    res = []
    for c in exported_cells(nb):
        lines = len(code_of(c).splitlines())
        if lines > 60:
            res.append(f'cell {c.id} exports {lines} lines, 60 are the most')
        for f in ast.walk(tree(c)):
            body = f.end_lineno - f.body[0].lineno + 1 if isinstance(f, ast.FunctionDef) else 0
            if body > 25:
                res.append(f'cell {c.id}: the body of {f.name} has {body} lines, 25 are the most')
    return res


def line_length(nb):
    "An exported line has 120 characters at most."
    lines = [(c.id, line) for c in exported_cells(nb) for line in c.source.splitlines()]
    return [
        f'cell {i} exports a line of {len(line)} characters: {line.strip()[:60]}'
        for i, line in lines
        if len(line) > 120
    ]


def own_classes(nb):
    "Names of classes that a notebook defines or imports from the package."
    nodes = [n for c in code_cells(nb) for n in ast.walk(tree(c))]
    inside = [n for n in nodes if isinstance(n, ast.ImportFrom) and (n.module or '').split('.')[0] == package]
    return {n.name for n in nodes if isinstance(n, ast.ClassDef)} | {
        a.asname or a.name for n in inside for a in n.names
    }


def patches(nb):
    "`@patch` is for other people's classes: static tools, and so readers, do not see a patched method."
    res, own = [], own_classes(nb)
    for c in code_cells(nb):
        for f in (n for n in ast.walk(tree(c)) if isinstance(n, ast.FunctionDef)):
            decorators = ' '.join(ast.unparse(d) for d in f.decorator_list if 'patch' in ast.unparse(d))
            note = ast.unparse(f.args.args[0].annotation) if f.args.args and f.args.args[0].annotation else ''
            if decorators and own & set(re.findall(r'\w+', f'{decorators} {note}')):
                res.append(f'cell {c.id} patches {f.name} into a class of ours: write it into the class')
    return res


def rhythm(nb):
    "There is prose after two code cells at the latest."
    res, row, code = [], 0, {c.id for c in code_cells(nb)}
    for c in nb.cells:
        if c.cell_type != 'code':
            row = 0
        elif c.id in code:
            row += 1
        if row == 3:
            res.append(f'cell {c.id} is the third code cell in a row')
    return res


def few_hidden(nb):
    "Under a tenth of the code cells are hidden."
    code = code_cells(nb)
    hidden = [c for c in code if hide & c.directives.keys() or 'false' in (c.directive('include'), c.directive('echo'))]
    return [f'{len(hidden)} of {len(code)} code cells are hidden'] if hidden and 10 * len(hidden) >= len(code) else []


def alt_texts(nb):
    "Every picture says what it shows: in the prose between the brackets, in code cells with `#| fig-alt: …`."
    prose = '\n'.join(c.source for c in nb.cells if c.cell_type == 'markdown')
    res = [f'no alt text: {m}' for m in re.findall(r'!\[\s*\]\([^)]*\)', prose)]
    res += [f'no alt text: {m}' for m in re.findall(r'<img\b[^>]*>', prose) if not re.search(r'\balt="[^"]', m)]
    return res + [
        f'cell {i} draws a picture and has no "#| fig-alt: …"'
        for i in {c.id: 0 for c, _ in pictures(nb) if not c.directive('fig-alt')}
    ]


def picture_size(nb):
    "A stored picture has less than 100 kB."
    return [
        f'cell {c.id} stores a picture of {n // 1000} kB, 100 are the most' for c, n in pictures(nb) if n >= 100_000
    ]


def reading_minutes(nb):
    "Minutes to read a notebook, in fives: 220 words of prose, or 30 lines of code that the page shows, a minute."
    prose = re.sub(
        r'```.*?```|<[^>]+>', '', '\n'.join(c.source for c in nb.cells if c.cell_type == 'markdown'), flags=re.S
    )
    shown = [c for c in code_cells(nb) if not {'export', 'exporti', 'hide'} & c.directives.keys()]
    minutes = len(prose.split()) / 220 + sum(len(''.join(c._partition()[1]).strip().splitlines()) for c in shown) / 30
    return max(5, 5 * round(minutes / 5))


def reading_time(nb):
    "The opening says how long it takes to read, and to run."
    said = re.search(
        r'^Reading time: (\d+) minutes\. Running time: [^\n]+\.$',
        '\n'.join(c.source for c in nb.cells[:3] if c.cell_type == 'markdown'),
        flags=re.M,
    )
    if not said:
        return ['the opening lacks "Reading time: N minutes. Running time: …."']
    return (
        []
        if int(said[1]) == reading_minutes(nb)
        else [f'the reading time is said to be {said[1]} minutes, and is {reading_minutes(nb)}']
    )


def slow_waits(nb):
    'A slow cell says its time and its data, and does not run with "Run all".'
    slow = [c for c in nb.cells if c.cell_type == 'code' and {'slow', 'gpu'} & c.directives.keys()]
    res = [
        f'cell {c.id} is slow and does not begin with "%%slow TIME, with DATA"'
        for c in slow
        if not re.match(r'%%slow \S.*, with ', c.source)
    ]
    waits = any(re.search(r'^run_slow = False$', c.source, flags=re.M) for c in nb.cells if c.cell_type == 'code')
    return res + (['slow cells want a cell with "run_slow = False"'] if slow and not waits else [])


def machine_paths(nb):
    "Nothing names a folder of one machine."
    path = re.compile(r'(?<![\w.~/-])/(?:tmp|home|root|work|mnt|Users|private|var/folders)/\S*|\b[A-Z]:\\+Users\S*')
    res = []
    for c in nb.cells:
        shown = [
            v
            for o in c.get('outputs', [])
            for v in (o.get('text', ''), *(v for k, v in o.get('data', {}).items() if k.startswith('text/')))
        ]
        res += [f'cell {c.id} names {m}' for s in (c.source, *map(''.join, shown)) for m in path.findall(s)]
    return res


def widgets(nb):
    "No widget is stored: its id is random and its state is not kept."
    return [
        f'cell {c.id} stores a widget'
        for c in code_cells(nb)
        for o in c.outputs
        if any('widget' in k for k in o.get('data', {}))
    ]


def errors(nb):
    "A stored error belongs to a cell that is meant to raise."
    return [
        f'cell {c.id} stores an error and has no tag raises-exception'
        for c in code_cells(nb)
        if 'raises-exception' not in c.metadata.get('tags', []) and any(o.output_type == 'error' for o in c.outputs)
    ]


rules = [
    opening,
    cell_size,
    line_length,
    patches,
    rhythm,
    few_hidden,
    alt_texts,
    picture_size,
    machine_paths,
    widgets,
    errors,
    reading_time,
    slow_waits,
]


@pytest.mark.parametrize('rule', rules, ids=lambda o: o.__name__)
@pytest.mark.parametrize('path', notebooks, ids=name)
def test_style(path, rule):
    found = rule(read_nb(path))
    assert not found, '\n'.join([path.name, *found])


@pytest.mark.parametrize('path', notebooks, ids=name)
def test_file_size(path):
    size = path.stat().st_size
    assert size < 500_000, f'{path.name} has {size // 1000} kB, 500 are the most'


def imported(nb, modules):
    "The modules of the package that a notebook imports, with the cell's id; `modules` are those that there are."
    for c in code_cells(nb):
        for node in ast.walk(tree(c)):
            if isinstance(node, ast.Import):
                names = [a.name for a in node.names]
            elif isinstance(node, ast.ImportFrom):
                whole = '.'.join(filter(None, [package if node.level else '', node.module]))
                inner = [f'{whole}.{a.name}' for a in node.names]
                names = (
                    inner
                    if whole == package
                    else [n if n.removeprefix(f'{package}.') in modules else whole for n in inner]
                )
            else:
                continue
            yield from (
                (c.id, n.removeprefix(f'{package}.')) for n in dict.fromkeys(names) if n.startswith(f'{package}.')
            )


FACE = {'Album': 'album.album', 'SearchResults': 'album.results'}  # what the package itself gives, and from where


def import_order(nbs):
    "What is wrong in `nbs`, a dict of name to notebook: a notebook imports only from lower numbers, `index` from all."
    owner = {module_of(nb): file for file, nb in nbs.items()}
    owner |= {name: owner[module] for name, module in FACE.items() if module in owner}
    res = []
    for file, nb in nbs.items():
        for cell, module in imported(nb, owner):
            if module not in owner:
                res.append(f'{file}, cell {cell}: no notebook exports to {module}')
            elif number(owner[module]) >= number(file):
                res.append(f'{file}, cell {cell}: imports {module}, which {owner[module]} exports')
    return res


def test_import_order():
    found = import_order({name(p): read_nb(p) for p in notebooks})
    assert not found, '\n'.join(found)


def test_numbers_are_global():
    "No two notebooks have one number, whatever folder they are in."
    numbers = [number(name(p))[0] for p in notebooks if p.stem[:2].isdigit()]
    assert sorted(set(numbers)) == numbers, [n for n in set(numbers) if numbers.count(n) > 1]


def modules_there():
    "The dotted names of the package's modules."
    files = [p.relative_to(root / package).with_suffix('') for p in (root / package).rglob('*.py')]
    return {'.'.join(p.parts) for p in files if p.name not in ('__init__', '_modidx')}


def test_every_exported_module_is_there():
    "Every module has a notebook, in the folder of the same name."
    owner = {module_of(read_nb(p)): name(p) for p in notebooks}
    owner.pop(None, None)
    assert modules_there() == set(owner), 'run nbdev-export, and remove modules that no notebook writes'
    wrong = [
        f'{file} exports {module}' for module, file in owner.items() if module.split('.')[:-1] != file.split('/')[:-1]
    ]
    assert not wrong, wrong


def misplaced(sections, names):
    "What is wrong with the sidebar: every notebook is in it once, in order within its section, but for the reference."
    listed = [(s['section'], [c[4:-6] for c in s['contents'] if isinstance(c, str)]) for s in sections]
    every = [n for _, ns in listed for n in ns]
    yield from (
        f'{n} is listed {every.count(n)} times'
        for n in sorted({*names, *every})
        if (every.count(n), n in names) != (1, True)
    )
    yield from (f'{s} is not in order' for s, ns in listed if ns != sorted(ns, key=number) and s != 'Reference')
    if every[:1] != ['index']:
        yield 'index is not first'


def test_sidebar():
    "The site lists every notebook once, in sections, `index` first."
    sections = yaml.safe_load((root / '_quarto.yml').read_text(encoding='utf-8'))['website']['sidebar']['contents']
    assert not list(misplaced(sections, set(map(name, notebooks))))


def test_sidebar_notices():
    def section(title, *ns):
        return dict(section=title, contents=[*(f'nbs/{n}.ipynb' for n in ns), dict(auto='api/*.qmd')])

    start, body, end = section('Start', 'index'), section('Body', '00_a', '05_b'), section('Reference', '99_d', '97_c')
    names = {'index', '00_a', '05_b', '97_c', '99_d'}
    assert not list(misplaced([start, body, end], names))
    for wrong in (
        [body, start, end],
        [start, end],
        [start, body, body, end],
        [start, section('Body', '05_b', '00_a'), end],
        [start, body, end, section('More', '10_e')],
    ):
        assert list(misplaced(wrong, names)), wrong


def returns_something(f):
    "Whether `f` gives a value that needs words: by its annotation, else by its return statements."
    note = inspect.signature(f).return_annotation
    if note is not inspect.Signature.empty:
        return note not in (None, 'None')
    body = ast.parse(inspect.cleandoc('\n' + inspect.getsource(f))).body[0]
    inner = {
        id(n)
        for d in ast.walk(body)
        if d is not body and isinstance(d, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for n in ast.walk(d)
    }
    return any(
        isinstance(n, (ast.Return, ast.Yield, ast.YieldFrom)) and n.value is not None
        for n in ast.walk(body)
        if id(n) not in inner
    )


def starred(f):
    "Names of a function's *args and **kwargs."
    return {n for n, p in inspect.signature(f).parameters.items() if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}


def undocumented(f, label, doc=True, ret=True):
    "What `f` lacks: a docstring, a comment for a parameter, a comment for what it returns."
    f = inspect.unwrap(getattr(f, 'py_func', f))  # numba keeps the function there
    if doc and not (inspect.getdoc(f) or '').strip():
        yield f'{label} has no docstring'
    target = f.__init__ if inspect.isclass(f) and not dataclasses.is_dataclass(f) else f
    docs = docments(target, full=True)
    for p, d in docs.items():
        variadic = p in starred(target)  # docments does not read the comments of *args and **kwargs
        if p not in ('self', 'cls', 'return') and not variadic and not d.docment:
            yield f'{label}: parameter {p} has no comment'
    if ret and not inspect.isclass(f) and returns_something(f) and not (docs.get('return') or {}).get('docment'):
        yield f'{label}: what it returns has no comment (nbdev reads it after "-> type:")'


def public(module):
    "Each (label, function or class, needs a docstring, needs a comment on its return) that a module exports."
    for n in module.__all__:
        o, label = getattr(module, n), f'{module.__name__}.{n}'
        if inspect.isclass(o):
            own = '__init__' in vars(o) or dataclasses.is_dataclass(o)
            if own:
                yield label, o, True, False
            elif not (o.__doc__ or '').strip():
                yield label, None, True, False
            for m, v in vars(o).items():
                f = v.fget if isinstance(v, property) else getattr(v, '__func__', getattr(v, 'func', v))
                inherits = any(
                    m in vars(base) for base in o.__mro__[1:] if base.__module__.startswith(package)
                )  # the promise is documented where it is made
                if (
                    not m.startswith('_')
                    and not inherits
                    and inspect.isroutine(inspect.unwrap(getattr(f, 'py_func', f)))
                ):
                    yield f'{label}.{m}', f, True, True
        elif typing.get_origin(o) is None and callable(o) and hasattr(o, '__module__') and not inspect.isbuiltin(o):
            yield label, o, True, True


def complaints(module):
    "What the public names of `module` lack."
    res = []
    for label, o, doc, ret in public(module):
        res += [f'{label} has no docstring'] if o is None else undocumented(o, label, doc, ret)
    return res


def test_docstrings_and_comments():
    "Every public name has a docstring; every parameter and return has a comment."
    modules = [importlib.import_module(f'{package}.{module}') for module in sorted(modules_there())]
    found = [c for m in modules for c in complaints(m)]
    assert not found, '\n'.join(found)


# The pages that gather: the folders on the first page, the list of all notebooks, the glossary, the sources.

forms = {  # other ways in which a chapter may write a word of the glossary
    'AES-GCM': ('AES-256-GCM',),
    'bootstrap interval': ('bootstrap',),
    'ciphertext only': ('ciphertexts',),
    'padding': ('padded',),
    'honest but curious': ('curious',),
    'leakage': ('leak', 'who learns what'),
    'LSH': ('random projections',),
    'threat model': ('curious',),
}


def words(nb):
    "The prose of a notebook."
    return '\n\n'.join(c.source for c in nb.cells if c.cell_type == 'markdown')


def places(nb):
    "The places within a notebook's page that a link may name: its headings, as quarto writes their ids."
    heads = re.findall(r'^#{2,6} (.+?)\s*$', re.sub(r'^```.*?^```$', '', words(nb), flags=re.M | re.S), flags=re.M)
    ids = (re.sub(r'\s', '-', re.sub(r'[^\w\s.-]', '', re.sub(r'\]\([^)]*\)', '', h)).strip().lower()) for h in heads)
    return {re.sub(r'^[^a-z]+', '', i) for i in ids}


def linked(source, here):
    "Each (notebook, heading or '') that a page links to; `here` is the page's own name, for links are relative."
    for file, at in re.findall(
        r'\]\(([\w./-]+)\.ipynb(?:#([^)]+))?\)', re.sub(r'```.*?```|`[^`]*`', '', source, flags=re.S)
    ):
        yield posixpath.normpath(posixpath.join(posixpath.dirname(here), file)), at


def lost_links(source, nbs, here=''):
    "The links of a page to notebooks that are not there, or to headings that they lack."
    return [
        f'the link to {file}.ipynb{"#" + at if at else ""} leads nowhere'
        for file, at in linked(source, here)
        if file not in nbs or at and at not in places(nbs[file])
    ]


def link_faults(nbs):
    "Links from any notebook that lead nowhere."
    return [f'{file}: {fault}' for file, nb in nbs.items() for fault in lost_links(words(nb), nbs, file)]


def rows(source):
    "The cells of every row of every table, without heads."
    lines = [line for line in source.splitlines() if line.startswith('|')]
    return [
        [c.strip() for c in line.strip('|').split('|')]
        for line, after in zip(lines, lines[1:] + [''], strict=False)
        if not re.match(r'\| ?-', line) and not re.match(r'\| ?-', after)
    ]


def page(kind, nbs):
    "The name of the page that gathers something: its number may change."
    return next(file for file in nbs if re.fullmatch(rf'\d\d_{kind}', file))


def subtitle(nb):
    "The line under a notebook's title."
    return re.search(r'^> (.+?)\s*$', nb.cells[0].source, flags=re.M)[1]


def map_faults(nbs):
    "What is wrong with the list: every notebook is in it once, in order, with its subtitle and its minutes."
    found = [
        (m[1], *r[1:])
        for r in rows(words(nbs['development']))
        if len(r) == 3 and (m := re.fullmatch(r'\[[\w./]+\]\(([\w/]+)\.ipynb\)', r[0]))
    ]
    there = sorted(set(nbs) - {'index'}, key=number)
    res = (
        []
        if [r[0] for r in found] == there
        else [f'the list has {", ".join(r[0] for r in found)}, and there are {", ".join(there)}']
    )
    for file, said, minutes in (r for r in found if r[0] in nbs):
        if said != subtitle(nbs[file]):
            res.append(f'the list has "{said}" where {file} has "{subtitle(nbs[file])}"')
        if minutes != f'{reading_minutes(nbs[file])} min':
            res.append(f'the list has {minutes} where {file} takes {reading_minutes(nbs[file])} min')
    return res + ['python .ci/docs --map writes the list'] * bool(res)


def folder_faults(nbs):
    "What is wrong with the folders on the first page: each is there once, linked to a notebook of its own."
    found = [
        (m[1], m[2])
        for r in rows(words(nbs['index']))
        if len(r) == 2 and (m := re.fullmatch(r'\[(\w+)\]\(([\w/]+)\.ipynb\)', r[0]))
    ]
    there = {posixpath.dirname(file) or 'nbs' for file in nbs}
    res = [f'{folder} leads to {file}' for folder, file in found if (posixpath.dirname(file) or 'nbs') != folder]
    if sorted(folder for folder, _ in found) != sorted(there):
        res.append(f'the first page has {", ".join(folder for folder, _ in found)}, and there are {", ".join(there)}')
    return res


def glossary_faults(nbs):
    "What is wrong with the glossary: alphabetical, no word twice, every link leads to a section that has the word."
    source = words(nbs[page('glossary', nbs)])
    found = [
        (m[1], m[2])
        for r in rows(source)
        if (m := re.fullmatch(r'\*\*(.+)\*\* \|.*\]\(([\w/]+)\.ipynb#[^)]+\)', ' | '.join(r)))
    ]
    res, order = lost_links(source, nbs), [re.sub(r'\W', '', term.casefold()) for term, _ in found]
    if len(found) != len(rows(source)):
        res.append('a row is not "| **word** | meaning | [section](file.ipynb#place) |"')
    res += [
        f'{term} stands twice, or not where the alphabet has it'
        for (term, _), a, b in zip(found[1:], order, order[1:], strict=False)
        if a >= b
    ]
    for term, file in (f for f in found if f[1] in nbs):
        text = '\n'.join(c.source for c in nbs[file].cells)
        if not any(re.search(rf'\b{re.escape(w)}', text, flags=re.I) for w in (term, *forms.get(term, ()))):
            res.append(f'{term} does not occur in {file}')
    return res + [f'{term} has forms and is no word of the glossary' for term in forms if term not in dict(found)]


def citations(source):
    "Each (last word before the year, year) of works cited in prose, and (series, number) of those that are numbered."
    source = re.sub(r'```.*?```|`[^`]*`|[*_]', '', source, flags=re.S)
    yield from re.findall(r'\b([A-Z][\w&-]*)(?: et al\.)?,? \(?((?:19|20)\d\d)\b(?![/-])', source)
    yield from re.findall(r'\b(ePrint|arXiv|RFC|FIPS|SP) (\d[\d./-]*\d\w?)', source)


def source_faults(nbs):
    "What is wrong with the sources: every link leads somewhere, and whatever a chapter cites stands in one line."
    here = page('sources', nbs)
    text = words(nbs[here])
    res = lost_links(text, nbs)
    for file, nb in nbs.items():
        if file in ('index', here):
            continue
        res += [
            f'{file} cites {a} {b}, and the sources do not'
            for a, b in dict.fromkeys(citations(words(nb)))
            if not any(re.search(rf'\b{re.escape(a)}\b', line) and b in line for line in text.splitlines())
        ]
    return res


def none_of(faults):
    found = faults({name(p): read_nb(p) for p in notebooks})
    assert not found, '\n'.join(found)


def test_map():
    none_of(map_faults)


def test_folders_on_the_first_page():
    none_of(folder_faults)


def test_readme_is_short():
    "A README is read from top to bottom."
    lines = (root / 'README.md').read_text(encoding='utf-8').splitlines()
    assert len(lines) <= 150, f'README.md has {len(lines)} lines, 150 are the most'


def test_glossary():
    none_of(glossary_faults)


def test_sources():
    none_of(source_faults)


def test_links():
    none_of(link_faults)


# The rules themselves: each notices what it is there for.


def md(s):
    return mk_cell(s, 'markdown')


def code(s, **data):
    return mk_cell(s, outputs=[dict(output_type='display_data', data=data, metadata={})] if data else [])


opens = 'Reading time: 5 minutes. Running time: a second, with no data from elsewhere.'
good = [
    md('# Title\n\n> Subtitle'),
    md(opens),
    code('run_slow = False'),
    md('Text.'),
    code('%%slow an hour, with photographs\n#| slow\n1'),
    code('#| default_exp a'),
    md('Text.'),
    code('#| export\nclass A:\n' + '    x = 1\n' * 59),
    code('@patch\ndef f(self: Path): pass'),
    md('Text.'),
    md('![A dot](images/dot.png)'),
]
bad = [
    (opening, [md('# Title\n\n> Subtitle\n\nMore')]),
    (opening, [md('# Title')]),
    (opening, [code('1')]),
    (cell_size, [code('#| exports\n' + 'x = 1\n' * 61)]),
    (cell_size, [code('#| exports\ndef f():\n' + '    x = 1\n' * 26)]),
    (cell_size, [code('#| export\nclass A:\n' + '    x = 1\n' * 60)]),
    (line_length, [code('#| export\nx = ' + '1' * 120)]),
    (patches, [code('class A: pass'), code('@patch\ndef f(self: A): pass')]),
    (patches, [code('from tree_privacy.core import A'), code('@patch_to(A)\ndef f(self): pass')]),
    (rhythm, [code('1'), code('2'), code('3')]),
    (few_hidden, [code('#| hide\n1')] + [code('1')] * 9),
    (few_hidden, [code('#| echo: false\n1')]),
    (alt_texts, [md('![](a.png)')]),
    (alt_texts, [md('<img src="a.png">')]),
    (alt_texts, [code('plot()', **{'image/png': 'aa'})]),
    (picture_size, [code('plot()', **{'image/png': 'a' * 140_000})]),
    (machine_paths, [code('open("/' + 'tmp/x")')]),
    (machine_paths, [code('p', **{'text/plain': "PosixPath('/" + "home/me/x')"})]),
    (widgets, [code('w', **{'application/vnd.jupyter.widget-view+json': {}})]),
    (reading_time, [md('# Title')]),
    (reading_time, [md(opens.replace('5', '50'))]),
    (slow_waits, [code('run_slow = False'), code('#| slow\n1')]),
    (slow_waits, [code('%%slow an hour, with photographs\n#| slow\n1')]),
    (errors, [mk_cell('1/0', outputs=[dict(output_type='error', ename='E', evalue='', traceback=[])])]),
]


@pytest.mark.parametrize('rule, cells', bad, ids=[f'{r.__name__}-{i}' for i, (r, _) in enumerate(bad)])
def test_rule_notices(rule, cells):
    def again(cs):
        return dict2nb(json.loads(json.dumps(dict(cells=cs, metadata={}, nbformat=4, nbformat_minor=5))))

    assert rule(again(cells)) and not rule(again(good))


def test_import_order_notices():
    def nb(*sources):
        return new_nb([code(s) for s in sources])

    low, high = nb('#| default_exp low'), nb('#| default_exp high', 'from tree_privacy.low import *')
    assert not import_order({'00_low': low, '10_high': high})
    assert not import_order({'10_high': high, '00_low': low, 'index': nb('import tree_privacy.high')})
    for source in (
        'from tree_privacy.high import f',
        'import tree_privacy.high as h',
        'from tree_privacy import high',
        'def f():\n    from .high import g',
    ):
        assert import_order({'00_low': nb('#| default_exp low', source), '10_high': high}), source
    assert import_order({'00_low': nb('#| default_exp low', 'from tree_privacy.nowhere import f')})
    inner = {
        'b/00_x': nb('#| default_exp b.x'),
        'a/10_y': nb('#| default_exp a.y', 'from tree_privacy.b import x', 'from tree_privacy.b.x import f'),
    }
    assert not import_order(inner)
    for source in (
        'from tree_privacy.a.y import f',
        'from tree_privacy.a import y',
        'import tree_privacy.a.y',
        'from tree_privacy.b import z',
    ):
        assert import_order(inner | {'b/00_x': nb('#| default_exp b.x', source)}), source


def test_gathered_notices():
    def page(*sources):
        return new_nb([md(s) for s in sources])

    one, two = (
        page('# One\n\n> Why?', '## A word, *here*\n\nFrom Author, *Venue* 2001, ePrint 2020/12.'),
        page('# Two\n\n> Things'),
    )

    def table(*lines):
        return '\n'.join(['| a | b | c |', '| --- | --- | --- |', *(f'| {" | ".join(line)} |' for line in lines)])

    def on_map(lines):
        list_page = page('# Last\n\n> List', table(*lines))
        return map_faults({'1_one': one, '2_two': two, 'development': list_page, 'index': page('# First')})

    firsts = [
        ('[1_one](1_one.ipynb)', 'Why?', '5 min'),
        ('[2_two](2_two.ipynb)', 'Things', '5 min'),
        ('[development](development.ipynb)', 'List', '5 min'),
    ]

    assert not on_map(firsts)
    for lines in (
        firsts[:1],
        firsts[::-1],
        firsts + firsts[:1],
        [(firsts[0][0], 'What?', '5 min'), *firsts[1:]],
        [(*firsts[0][:2], '10 min'), *firsts[1:]],
    ):
        assert on_map(lines), lines

    def on_first_page(*links):
        lines = '\n'.join(['| folder | what |', '| --- | --- |', *(f'| {link} | things |' for link in links)])
        return folder_faults({'00_a': one, 'tree/1_b': two, 'index': page(lines)})

    tree, nbs = '[tree](tree/1_b.ipynb)', '[nbs](00_a.ipynb)'
    assert not on_first_page(nbs, tree)
    for links in ((nbs,), (nbs, tree, tree), (nbs, tree, '[more](more/2_c.ipynb)'), (nbs, '[tree](00_a.ipynb)')):
        assert on_first_page(*links), links

    def word(term, to='1_one.ipynb#a-word-here'):
        return (f'**{term}**', 'meaning', f'[there]({to})')

    def in_glossary(*lines):
        return [f for f in glossary_faults({'1_one': one, '97_glossary': page(table(*lines))}) if 'has forms' not in f]

    assert not in_glossary(word('author'), word('word'))
    for lines in (
        (word('word'), word('author')),
        (word('word'),) * 2,
        (word('absent'),),
        (word('word', '3_three.ipynb#a'),),
        (word('word', '1_one.ipynb#b'),),
        (('word', 'b', 'c'),),
    ):
        assert in_glossary(*lines), lines

    there = {'1_one': one, 'a/2_two': two, 'a/3_three': page('[b](../1_one.ipynb#a-word-here) [c](2_two.ipynb)')}
    assert (
        not link_faults(there)
        and link_faults(there | {'1_one': page('# One')})
        and link_faults(there | {'4_four': page('[a](2_two.ipynb)')})
    )

    def cited(*lines):
        return source_faults({'1_one': one, '98_sources': page('\n'.join(lines))})

    assert not cited('Author: title, Venue 2001', 'ePrint 2020/12')
    assert len(cited('Author: title, Venue 2002', 'ePrint 2020/13')) == 2 and cited(
        'Venue 2001, ePrint 2020/12 [a](3_three.ipynb)'
    )


def test_comments_notice(tmp_path, monkeypatch):
    (tmp_path / 'undocumented_module.py').write_text("""
import dataclasses
__all__ = ['good', 'bare', 'C', 'D']
def good(
    x: int, # A number
) -> int: # The same
    "Return `x`."
    return x
def bare(x): return x
class C:
    "A class."
    def __init__(self, a): self.a = a
    def m(self, b: int) -> int: return b
    @property
    def p(self) -> int:
        "A property."
        return 1
    @staticmethod
    def s(q) -> None: pass
@dataclasses.dataclass
class D:
    "A record."
    a: int # The first
    b: int
""")
    monkeypatch.syspath_prepend(tmp_path)
    found = '\n'.join(complaints(importlib.import_module('undocumented_module')))
    for words in (
        'bare has no docstring',
        'bare: parameter x',
        'bare: what it returns',
        'C: parameter a',
        'C.m has no docstring',
        'C.m: parameter b',
        'C.m: what it returns',
        'C.p: what it returns',
        'C.s: parameter q',
        'C.s has no docstring',
        'D: parameter b',
    ):
        assert words in found, f'{words!r} not in:\n{found}'
    assert (
        'good' not in found
        and 'D: parameter a' not in found
        and 'C has no docstring' not in found
        and 'C.s: what' not in found
    )
