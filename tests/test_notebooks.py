"Every notebook runs and gives the outputs it stores, and is written the way the others are."
import ast, dataclasses, importlib, inspect, json, re, signal, subprocess, sys
from pathlib import Path

import pytest, yaml
from fastcore.docments import docments
from fastcore.nbio import dict2nb, mk_cell, new_nb, read_nb
from IPython.core.inputtransformer2 import TransformerManager
from limits import limited

root = Path(__file__).resolve().parent.parent
notebooks = sorted((root/'nbs').glob('*.ipynb'))
package = 'tree_privacy'
hide = {'hide', 'hide_input'}
export = {'export', 'exports', 'exporti'}


def name(path): return path.stem


@pytest.mark.parametrize('path', notebooks, ids=name)
def test_runs(path):
    "One process a notebook: nothing leaks from one to the next."
    command = [sys.executable, str(root/'tests/run_notebook.py'), str(path), '--answers']
    try: done = limited(command, 300, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    except subprocess.TimeoutExpired as e: pytest.fail(f'{path.name} took more than {e.timeout} s\n{(e.stdout or b"").decode()}', pytrace=False)
    if done.returncode == -signal.SIGXCPU: pytest.fail(f'{path.name} computed for more than 300 s\n{done.stdout}', pytrace=False)
    if done.returncode: pytest.fail(done.stdout, pytrace=False)


# Each rule takes a notebook and returns what is wrong with it.

def code_cells(nb):
    "The code cells that hold code, not directives alone."
    return [c for c in nb.cells if c.cell_type == 'code' and ''.join(c._partition()[1]).strip()]


def tree(cell):
    "The syntax tree of a code cell, IPython's own syntax translated."
    return ast.parse(TransformerManager().transform_cell(cell.source))


def module_of(nb):
    "The module that a notebook exports to, or None."
    return next((c.directive('default_exp') for c in nb.cells if c.cell_type == 'code' and c.has_directive('default_exp')), None)


def pictures(nb):
    "Each (cell, size in bytes) of a stored picture."
    for c in code_cells(nb):
        for o in c.outputs:
            yield from ((c, len(''.join(v))*3//4) for k, v in o.get('data', {}).items() if k.startswith('image/'))


def opening(nb):
    "The first cell is a title and a subtitle. nbdev keeps nothing else of that cell, so there is nothing else in it."
    first = nb.cells[0]
    if first.cell_type == 'markdown' and re.fullmatch(r'# \S[^\n]*\n+> \S[^\n]*(\n+- [\w-]+: [^\n]*)*\s*', first.source): return []
    return ['the first cell must be "# Title", an empty line and "> subtitle", and nothing else']


def cell_size(nb):
    "Exported cells have 25 lines at most."
    sizes = {c.id: len(''.join(c._partition()[1]).strip().splitlines()) for c in code_cells(nb) if export & c.directives.keys()}
    return [f'cell {i} exports {n} lines, 25 are the most' for i, n in sizes.items() if n > 25]


def rhythm(nb):
    "There is prose after two code cells at the latest."
    res, row, code = [], 0, {c.id for c in code_cells(nb)}
    for c in nb.cells:
        if c.cell_type != 'code': row = 0
        elif c.id in code: row += 1
        if row == 3: res.append(f'cell {c.id} is the third code cell in a row')
    return res


def few_hidden(nb):
    "Under a tenth of the code cells are hidden."
    code = code_cells(nb)
    hidden = [c for c in code if hide & c.directives.keys() or 'false' in (c.directive('include'), c.directive('echo'))]
    return [f'{len(hidden)} of {len(code)} code cells are hidden'] if hidden and 10*len(hidden) >= len(code) else []


def alt_texts(nb):
    "Every picture says what it shows: in the prose between the brackets, in code cells with `#| fig-alt: …`."
    prose = '\n'.join(c.source for c in nb.cells if c.cell_type == 'markdown')
    res = [f'no alt text: {m}' for m in re.findall(r'!\[\s*\]\([^)]*\)', prose)]
    res += [f'no alt text: {m}' for m in re.findall(r'<img\b[^>]*>', prose) if not re.search(r'\balt="[^"]', m)]
    return res + [f'cell {i} draws a picture and has no "#| fig-alt: …"' for i in {c.id: 0 for c, _ in pictures(nb) if not c.directive('fig-alt')}]


def picture_size(nb):
    "A stored picture has less than 100 kB."
    return [f'cell {c.id} stores a picture of {n//1000} kB, 100 are the most' for c, n in pictures(nb) if n >= 100_000]


def reading_minutes(nb):
    "Minutes to read a notebook, in fives: 220 words of prose, or 30 lines of code that the page shows, a minute."
    prose = re.sub(r'```.*?```|<[^>]+>', '', '\n'.join(c.source for c in nb.cells if c.cell_type == 'markdown'), flags=re.S)
    shown = [c for c in code_cells(nb) if not {'export', 'exporti', 'hide'} & c.directives.keys()]
    minutes = len(prose.split())/220 + sum(len(''.join(c._partition()[1]).strip().splitlines()) for c in shown)/30
    return max(5, 5*round(minutes/5))


def reading_time(nb):
    "The opening says how long it takes to read, and to run."
    said = re.search(r'^Reading time: (\d+) minutes\. Running time: [^\n]+\.$', '\n'.join(c.source for c in nb.cells[:3] if c.cell_type == 'markdown'), flags=re.M)
    if not said: return ['the opening lacks "Reading time: N minutes. Running time: …."']
    return [] if int(said[1]) == reading_minutes(nb) else [f'the reading time is said to be {said[1]} minutes, and is {reading_minutes(nb)}']


def slow_waits(nb):
    "A slow cell says its time and its data, and does not run with \"Run all\"."
    slow = [c for c in nb.cells if c.cell_type == 'code' and {'slow', 'gpu'} & c.directives.keys()]
    res = [f'cell {c.id} is slow and does not begin with "%%slow TIME, with DATA"' for c in slow if not re.match(r'%%slow \S.*, with ', c.source)]
    waits = any(re.search(r'^run_slow = False$', c.source, flags=re.M) for c in nb.cells if c.cell_type == 'code')
    return res + (['slow cells want a cell with "run_slow = False"'] if slow and not waits else [])


def machine_paths(nb):
    "Nothing names a folder of one machine."
    path = re.compile(r'(?<![\w.~/-])/(?:tmp|home|root|work|mnt|Users|private|var/folders)/\S*|\b[A-Z]:\\+Users\S*')
    res = []
    for c in nb.cells:
        shown = [v for o in c.get('outputs', []) for v in (o.get('text', ''), *(v for k, v in o.get('data', {}).items() if k.startswith('text/')))]
        res += [f'cell {c.id} names {m}' for s in (c.source, *map(''.join, shown)) for m in path.findall(s)]
    return res


def widgets(nb):
    "No widget is stored: its id is random and its state is not kept."
    return [f'cell {c.id} stores a widget' for c in code_cells(nb) for o in c.outputs if any('widget' in k for k in o.get('data', {}))]


def errors(nb):
    "A stored error belongs to a cell that is meant to raise."
    return [f'cell {c.id} stores an error and has no tag raises-exception' for c in code_cells(nb)
            if 'raises-exception' not in c.metadata.get('tags', []) and any(o.output_type == 'error' for o in c.outputs)]


rules = [opening, cell_size, rhythm, few_hidden, alt_texts, picture_size, machine_paths, widgets, errors, reading_time, slow_waits]


@pytest.mark.parametrize('rule', rules, ids=lambda o: o.__name__)
@pytest.mark.parametrize('path', notebooks, ids=name)
def test_style(path, rule):
    found = rule(read_nb(path))
    assert not found, '\n'.join([path.name, *found])


@pytest.mark.parametrize('path', notebooks, ids=name)
def test_file_size(path):
    size = path.stat().st_size
    assert size < 500_000, f'{path.name} has {size//1000} kB, 500 are the most'


def imported(nb):
    "The modules of the package that a notebook imports, with the cell's id."
    for c in code_cells(nb):
        for node in ast.walk(tree(c)):
            if isinstance(node, ast.Import): names = [a.name for a in node.names]
            elif isinstance(node, ast.ImportFrom):
                whole = '.'.join(filter(None, [package if node.level else '', node.module]))
                names = [f'{package}.{a.name}' for a in node.names] if whole == package else [whole]
            else: continue
            yield from ((c.id, n.split('.')[1]) for n in names if n.startswith(f'{package}.'))


def import_order(nbs):
    "What is wrong in `nbs`, a dict of file name to notebook: a notebook imports only from lower numbers, `index` from all."
    owner = {module_of(nb): file for file, nb in nbs.items()}
    res = []
    for file, nb in nbs.items():
        for cell, module in imported(nb):
            if module not in owner: res.append(f'{file}, cell {cell}: no notebook exports to {module}')
            elif file != 'index' and owner[module] >= file: res.append(f'{file}, cell {cell}: imports {module}, which {owner[module]} exports')
    return res


def test_import_order():
    found = import_order({p.stem: read_nb(p) for p in notebooks})
    assert not found, '\n'.join(found)


def test_every_exported_module_is_there():
    modules = {m.split('/')[-1] for p in notebooks if (m := module_of(read_nb(p)))}
    files = {p.stem for p in (root/package).glob('*.py')} - {'__init__', '_modidx'}
    assert files == modules, 'run nbdev-export, and remove modules that no notebook writes'


def misplaced(sections, names):
    "What is wrong with the sidebar `sections` for notebooks with these names: each stands once, and in order within its section, but for the reference."
    listed = [(s['section'], [c[4:-6] for c in s['contents'] if isinstance(c, str)]) for s in sections]
    every = [n for _, ns in listed for n in ns]
    yield from (f'{n} is listed {every.count(n)} times' for n in sorted({*names, *every}) if (every.count(n), n in names) != (1, True))
    yield from (f'{s} is not in order' for s, ns in listed if ns != sorted(ns) and s != 'Reference')
    if every[:1] != ['index']: yield 'index is not first'


def test_sidebar():
    "The site lists every notebook once, in sections, `index` first."
    sections = yaml.safe_load((root/'_quarto.yml').read_text(encoding='utf-8'))['website']['sidebar']['contents']
    assert not list(misplaced(sections, set(map(name, notebooks))))


def test_sidebar_notices():
    section = lambda title, *ns: dict(section=title, contents=[*(f'nbs/{n}.ipynb' for n in ns), dict(auto='api/*.qmd')])
    start, body, end = section('Start', 'index'), section('Body', '00_a', '05_b'), section('Reference', '99_d', '97_c')
    names = {'index', '00_a', '05_b', '97_c', '99_d'}
    assert not list(misplaced([start, body, end], names))
    for wrong in [body, start, end], [start, end], [start, body, body, end], [start, section('Body', '05_b', '00_a'), end], [start, body, end, section('More', '10_e')]:
        assert list(misplaced(wrong, names)), wrong


def returns_something(f):
    "Whether `f` gives a value that needs words: by its annotation, else by its return statements."
    note = inspect.signature(f).return_annotation
    if note is not inspect.Signature.empty: return note not in (None, 'None')
    body = ast.parse(inspect.cleandoc('\n' + inspect.getsource(f))).body[0]
    inner = {id(n) for d in ast.walk(body) if d is not body and isinstance(d, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) for n in ast.walk(d)}
    return any(isinstance(n, (ast.Return, ast.Yield, ast.YieldFrom)) and n.value is not None for n in ast.walk(body) if id(n) not in inner)


def starred(f):
    "Names of a function's *args and **kwargs."
    return {n for n, p in inspect.signature(f).parameters.items() if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}


def undocumented(f, label, doc=True, ret=True):
    "What `f` lacks: a docstring, a comment for a parameter, a comment for what it returns."
    f = inspect.unwrap(getattr(f, 'py_func', f))  # numba keeps the function there
    if doc and not (inspect.getdoc(f) or '').strip(): yield f'{label} has no docstring'
    target = f.__init__ if inspect.isclass(f) and not dataclasses.is_dataclass(f) else f
    docs = docments(target, full=True)
    for p, d in docs.items():
        variadic = p in starred(target)  # docments does not read the comments of *args and **kwargs
        if p not in ('self', 'cls', 'return') and not variadic and not d.docment: yield f'{label}: parameter {p} has no comment'
    if ret and not inspect.isclass(f) and returns_something(f) and not (docs.get('return') or {}).get('docment'):
        yield f'{label}: what it returns has no comment (nbdev reads it after "-> type:")'


def public(module):
    "Each (label, function or class, needs a docstring, needs a comment on its return) that a module exports."
    for n in module.__all__:
        o, label = getattr(module, n), f'{module.__name__}.{n}'
        if inspect.isclass(o):
            own = '__init__' in vars(o) or dataclasses.is_dataclass(o)
            if own: yield label, o, True, False
            elif not (o.__doc__ or '').strip(): yield label, None, True, False
            for m, v in vars(o).items():
                f = v.fget if isinstance(v, property) else getattr(v, '__func__', getattr(v, 'func', v))
                inherits = any(m in vars(base) for base in o.__mro__[1:] if base.__module__.startswith(package))  # the promise is documented where it is made
                if not m.startswith('_') and not inherits and inspect.isroutine(inspect.unwrap(getattr(f, 'py_func', f))): yield f'{label}.{m}', f, True, True
        elif callable(o) and hasattr(o, '__module__') and not inspect.isbuiltin(o): yield label, o, True, True


def complaints(module):
    "What the public names of `module` lack."
    res = []
    for label, o, doc, ret in public(module):
        res += [f'{label} has no docstring'] if o is None else undocumented(o, label, doc, ret)
    return res


def test_docstrings_and_comments():
    "Every public name has a docstring; every parameter and return has a comment."
    modules = [importlib.import_module(f'{package}.{p.stem}') for p in sorted((root/package).glob('[!_]*.py'))]
    found = [c for m in modules for c in complaints(m)]  # all are imported first: later ones add methods to earlier ones
    assert not found, '\n'.join(found)


# The pages that gather: the map of the notebooks on the first page, the glossary, the sources.

forms = {  # other ways in which a chapter may write a word of the glossary
    'AES-GCM': ('AES-256-GCM',),
    'bootstrap interval': ('bootstrap',),
    'ciphertext only': ('ciphertexts alone',),
    'padding': ('padded',),
    'honest but curious': ('without curiosity',),
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


def lost_links(source, nbs):
    "The links of `source` to notebooks that are not there, or to headings that they lack."
    links = re.findall(r'\]\((\w+)\.ipynb(?:#([^)]+))?\)', source)
    return [f'the link to {file}.ipynb{"#" + at if at else ""} leads nowhere' for file, at in links if file not in nbs or at and at not in places(nbs[file])]


def rows(source):
    "The cells of every row of every table, without heads."
    lines = [l for l in source.splitlines() if l.startswith('|')]
    return [[c.strip() for c in l.strip('|').split('|')] for l, after in zip(lines, lines[1:] + ['']) if not re.match(r'\| ?-', l) and not re.match(r'\| ?-', after)]


def map_faults(nbs):
    "What is wrong with the map: every notebook stands in it once, in order, with the question of its subtitle and its minutes."
    found = [(m[1], *r[1:]) for r in rows(words(nbs['index'])) if len(r) == 3 and (m := re.fullmatch(r'\[\w+\]\((\w+)\.ipynb\)', r[0]))]
    there = sorted(set(nbs) - {'index'})
    res = [] if [r[0] for r in found] == there else [f'the map lists {", ".join(r[0] for r in found)}, and there are {", ".join(there)}']
    for file, question, minutes in (r for r in found if r[0] in nbs):
        asked = re.search(r'^> (.+\?)$', nbs[file].cells[0].source, flags=re.M)
        if asked and question.lower() != asked[1].lower(): res.append(f'the map has "{question}" where {file} has "{asked[1]}"')
        if minutes != f'{reading_minutes(nbs[file])} min': res.append(f'the map has {minutes} where {file} takes {reading_minutes(nbs[file])} min')
    return res


def glossary_faults(nbs):
    "What is wrong with the glossary: alphabetical, no word twice, every link leads to a section of a chapter that has the word."
    source = words(nbs['97_glossary'])
    found = [(m[1], m[2]) for r in rows(source) if (m := re.fullmatch(r'\*\*(.+)\*\* \|.*\]\((\w+)\.ipynb#[^)]+\)', ' | '.join(r)))]
    res, order = lost_links(source, nbs), [re.sub(r'\W', '', term.casefold()) for term, _ in found]
    if len(found) != len(rows(source)): res.append('a row is not "| **word** | meaning | [section](file.ipynb#place) |"')
    res += [f'{term} stands twice, or not where the alphabet has it' for (term, _), a, b in zip(found[1:], order, order[1:]) if a >= b]
    for term, file in (f for f in found if f[1] in nbs):
        text = '\n'.join(c.source for c in nbs[file].cells)
        if not any(re.search(rf'\b{re.escape(w)}', text, flags=re.I) for w in (term, *forms.get(term, ()))): res.append(f'{term} does not occur in {file}')
    return res + [f'{term} has forms and is no word of the glossary' for term in forms if term not in dict(found)]


def citations(source):
    "Each (last word before the year, year) of works cited in prose, and (series, number) of those that are numbered."
    source = re.sub(r'```.*?```|`[^`]*`|[*_]', '', source, flags=re.S)
    yield from re.findall(r'\b([A-Z][\w&-]*)(?: et al\.)?,? \(?((?:19|20)\d\d)\b(?![/-])', source)
    yield from re.findall(r'\b(ePrint|arXiv|RFC|FIPS|SP) (\d[\d./-]*\d\w?)', source)


def source_faults(nbs):
    "What is wrong with the sources: every link leads somewhere, and whatever a chapter cites stands in one line."
    page = words(nbs['98_sources'])
    res = lost_links(page, nbs)
    for file, nb in nbs.items():
        if file in ('index', '98_sources'): continue
        res += [f'{file} cites {a} {b}, and the sources do not' for a, b in dict.fromkeys(citations(words(nb)))
                if not any(re.search(rf'\b{re.escape(a)}\b', l) and b in l for l in page.splitlines())]
    return res


def none_of(faults):
    found = faults({p.stem: read_nb(p) for p in notebooks})
    assert not found, '\n'.join(found)


def test_map(): none_of(map_faults)
def test_glossary(): none_of(glossary_faults)
def test_sources(): none_of(source_faults)


# The rules themselves: each notices what it is there for.

def md(s): return mk_cell(s, 'markdown')
def code(s, **data): return mk_cell(s, outputs=[dict(output_type='display_data', data=data, metadata={})] if data else [])


opens = 'Reading time: 5 minutes. Running time: a second, with no data from elsewhere.'
good = [md('# Title\n\n> Subtitle'), md(opens), code('run_slow = False'), md('Text.'), code('%%slow an hour, with photographs\n#| slow\n1'), code('#| default_exp a'), md('Text.'), code('#| export\nimport os'), code('1'), md('![A dot](images/dot.png)')]
bad = [
    (opening, [md('# Title\n\n> Subtitle\n\nMore')]), (opening, [md('# Title')]), (opening, [code('1')]),
    (cell_size, [code('#| exports\n' + 'x = 1\n'*26)]), (rhythm, [code('1'), code('2'), code('3')]),
    (few_hidden, [code('#| hide\n1')] + [code('1')]*9), (few_hidden, [code('#| echo: false\n1')]),
    (alt_texts, [md('![](a.png)')]), (alt_texts, [md('<img src="a.png">')]), (alt_texts, [code('plot()', **{'image/png': 'aa'})]),
    (picture_size, [code('plot()', **{'image/png': 'a'*140_000})]),
    (machine_paths, [code('open("/' + 'tmp/x")')]), (machine_paths, [code('p', **{'text/plain': "PosixPath('/" + "home/me/x')"})]),
    (widgets, [code('w', **{'application/vnd.jupyter.widget-view+json': {}})]),
    (reading_time, [md('# Title')]), (reading_time, [md(opens.replace('5', '50'))]),
    (slow_waits, [code('run_slow = False'), code('#| slow\n1')]), (slow_waits, [code('%%slow an hour, with photographs\n#| slow\n1')]),
    (errors, [mk_cell('1/0', outputs=[dict(output_type='error', ename='E', evalue='', traceback=[])])]),
]


@pytest.mark.parametrize('rule, cells', bad, ids=[f'{r.__name__}-{i}' for i, (r, _) in enumerate(bad)])
def test_rule_notices(rule, cells):
    again = lambda cs: dict2nb(json.loads(json.dumps(dict(cells=cs, metadata={}, nbformat=4, nbformat_minor=5))))
    assert rule(again(cells)) and not rule(again(good))


def test_import_order_notices():
    nb = lambda *sources: new_nb([code(s) for s in sources])
    low, high = nb('#| default_exp low'), nb('#| default_exp high', 'from tree_privacy.low import *')
    assert not import_order({'00_low': low, '10_high': high})
    assert not import_order({'10_high': high, '00_low': low, 'index': nb('import tree_privacy.high')})
    for source in ('from tree_privacy.high import f', 'import tree_privacy.high as h', 'from tree_privacy import high', 'def f():\n    from .high import g'):
        assert import_order({'00_low': nb('#| default_exp low', source), '10_high': high}), source
    assert import_order({'00_low': nb('#| default_exp low', 'from tree_privacy.nowhere import f')})


def test_gathered_notices():
    page = lambda *sources: new_nb([md(s) for s in sources])
    one, two = page('# One\n\n> Why?', '## A word, *here*\n\nFrom Author, *Venue* 2001, ePrint 2020/12.'), page('# Two\n\n> Things')
    table = lambda *lines: '\n'.join(['| a | b | c |', '| --- | --- | --- |', *(f'| {" | ".join(l)} |' for l in lines)])
    firsts = [('[1_one](1_one.ipynb)', 'why?', '5 min'), ('[2_two](2_two.ipynb)', 'what?', '5 min')]
    on_map = lambda lines: map_faults({'1_one': one, '2_two': two, 'index': page(table(*lines))})
    assert not on_map(firsts)
    for lines in (firsts[:1], firsts[::-1], firsts + firsts[:1], [(firsts[0][0], 'what?', '5 min'), firsts[1]], [(*firsts[0][:2], '10 min'), firsts[1]]):
        assert on_map(lines), lines

    word = lambda term, to='1_one.ipynb#a-word-here': (f'**{term}**', 'meaning', f'[there]({to})')
    in_glossary = lambda *lines: [f for f in glossary_faults({'1_one': one, '97_glossary': page(table(*lines))}) if 'has forms' not in f]
    assert not in_glossary(word('author'), word('word'))
    for lines in ((word('word'), word('author')), (word('word'),)*2, (word('absent'),), (word('word', '3_three.ipynb#a'),), (word('word', '1_one.ipynb#b'),), (('word', 'b', 'c'),)):
        assert in_glossary(*lines), lines

    cited = lambda *lines: source_faults({'1_one': one, '98_sources': page('\n'.join(lines))})
    assert not cited('Author: title, Venue 2001', 'ePrint 2020/12')
    assert len(cited('Author: title, Venue 2002', 'ePrint 2020/13')) == 2 and cited('Venue 2001, ePrint 2020/12 [a](3_three.ipynb)')


def test_comments_notice(tmp_path, monkeypatch):
    (tmp_path/'undocumented_module.py').write_text('''
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
''')
    monkeypatch.syspath_prepend(tmp_path)
    found = '\n'.join(complaints(importlib.import_module('undocumented_module')))
    for words in ('bare has no docstring', 'bare: parameter x', 'bare: what it returns', 'C: parameter a', 'C.m has no docstring', 'C.m: parameter b',
                  'C.m: what it returns', 'C.p: what it returns', 'C.s: parameter q', 'C.s has no docstring', 'D: parameter b'):
        assert words in found, f'{words!r} not in:\n{found}'
    assert 'good' not in found and 'D: parameter a' not in found and 'C has no docstring' not in found and 'C.s: what' not in found
