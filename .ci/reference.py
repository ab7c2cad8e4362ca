"""The API reference as Quarto pages: what each module exports, with the comments on its parameters and an example.

Signatures, comments and docstrings are read from the package, which is not imported; each example is the first lesson
cell after a definition that uses the name, with the text that the notebook stores for it.
"""

import ast
import io
import json
import re
import textwrap
import tokenize
from functools import cache
from pathlib import Path

import yaml

root = Path(__file__).resolve().parent.parent
package = root / 'tree_privacy'
ASSIGNED = ast.Assign, ast.AnnAssign


@cache
def base():
    "Where the site stands, which links to symbols begin with."
    from nbdev.config import get_config

    return get_config(root).doc_url.rstrip('/')


def listed(contents):
    "The notebooks that a sidebar's `contents` name, in order, sections included."
    for c in contents:
        if isinstance(c, str):
            yield c
        elif 'section' in c:
            yield from listed(c['contents'])


def text(value):
    "A notebook's text, which is a string or a list of lines."
    return ''.join(value)


def plain(s):
    "`s` as Markdown that shows its characters as they are, except that `code` stays code."
    parts = re.split(r'(`[^`]+`)', s)
    parts[::2] = [re.sub(r'([\\*_<>\[\]$~^|#{}@]|-(?=-))', r'\\\1', p) for p in parts[::2]]
    return ''.join(parts)


def fenced(body, language=''):
    "`body` as a code block."
    return f'````{language}\n{body.rstrip()}\n````'


def slug(heading):
    "The id that pandoc gives a heading."
    kept = re.sub(r'[^\w\s.-]', '', re.sub(r'\]\([^)]*\)', '', heading)).lower()
    return re.sub(r'^[^a-z]+', '', re.sub(r'\s+', '-', kept.strip()))


class Chapter:
    "A notebook that writes a module."

    def __init__(self, path):
        self.path, self.cells = path, json.loads(path.read_text(encoding='utf-8'))['cells']
        self.sources = [text(c['source']) for c in self.cells]
        self.title = re.search(r'^# (.+)', self.sources[0])[1]
        found = re.search(r'^#\| default_exp ([\w.]+)', '\n'.join(self.sources), flags=re.M)
        self.module = found and found[1]
        self.at = {c.get('id'): i for i, c in enumerate(self.cells)}
        cells = zip(self.cells, self.sources, strict=True)
        self.uses = [used(s) if c['cell_type'] == 'code' else (set(), set()) for c, s in cells]

    def section(self, i):
        "The id of the heading above cell `i`."
        heads = re.findall(
            r'^##+ (.+)',
            '\n'.join(s for s, c in zip(self.sources[:i], self.cells, strict=False) if c['cell_type'] == 'markdown'),
            flags=re.M,
        )
        return slug(heads[-1]) if heads else ''

    def example(self, name, after, method):
        "The first lesson cell from cell `after` on that uses `name`: its code and its text, or None."
        for i in range(after, len(self.cells)):
            if name in self.uses[i][method]:
                return lesson(self.sources[i]), '\n'.join(printed(self.cells[i]['outputs']))


def lesson(source):
    "A cell's code without its directives and magics."
    return re.sub(r'^(#\||%%).*\n?', '', source, flags=re.M).strip('\n')


def used(source):
    "The names and the attributes that a lesson cell uses; nothing for cells that are exported or hidden."
    if re.search(r'^#\|\s*(export|exports|exporti|default_exp|hide|include: false|echo: false)\b', source, flags=re.M):
        return set(), set()
    try:
        nodes = list(ast.walk(ast.parse(lesson(source))))
    except SyntaxError:
        return set(), set()  # a command of the shell
    attributes = {n.attr for n in nodes if isinstance(n, ast.Attribute)}
    return {n.id for n in nodes if isinstance(n, ast.Name)}, attributes


def printed(outputs):
    "The text among a cell's outputs."
    for o in outputs:
        data = o.get('data', {})
        if o['output_type'] == 'stream' and o['name'] == 'stdout':
            yield text(o['text']).rstrip()
        elif o['output_type'] == 'error':
            yield f"{o['ename']}: {o['evalue']}"
        elif 'text/plain' in data and not any(k.startswith(('image/', 'application/')) for k in data):
            yield text(data['text/plain']).rstrip()


class Module:
    "A module's source: its definitions, the comments on its lines, and the notebook cell that each line comes from."

    def __init__(self, path):
        self.name = '.'.join(path.relative_to(package).with_suffix('').parts)
        self.page, self.source = self.name.replace('.', '-'), path.read_text(encoding='utf-8')
        self.body = ast.parse(self.source).body
        tokens = tokenize.generate_tokens(io.StringIO(self.source).readline)
        self.comments = {t.start[0]: t.string.lstrip('# ') for t in tokens if t.type == tokenize.COMMENT}
        self.marks = [
            (i, m[1]) for i, line in enumerate(self.source.splitlines(), 1) if (m := re.match(r'# %% .* #(\w+)$', line))
        ]
        self.exported = next(
            ast.literal_eval(n.value) for n in self.body if isinstance(n, ast.Assign) and n.targets[0].id == '__all__'
        )

    def cell(self, node):
        "The id of the notebook cell that holds `node`."
        return [c for line, c in self.marks if line < node.lineno][-1]

    def definitions(self):
        "Each (name, node) at the top: of functions, classes, methods that are patched in, and constants."
        for n in self.body:
            if isinstance(n, ast.FunctionDef):
                patched = any('patch' in ast.unparse(d) for d in n.decorator_list)
                for of in ast.unparse(n.args.args[0].annotation).split(' | ') if patched else ['']:
                    yield f'{of}.{n.name}'.lstrip('.'), n
            elif isinstance(n, ast.ClassDef):
                yield n.name, n
                for m in n.body:
                    if isinstance(m, ast.FunctionDef) and not m.name.startswith('_'):
                        yield f'{n.name}.{m.name}', m
            elif isinstance(n, ASSIGNED):
                for t in ast.walk(n.target if isinstance(n, ast.AnnAssign) else n.targets[0]):
                    if isinstance(t, ast.Name):
                        yield t.id, n

    def parameters(self, f):
        "Each (parameter as in the signature, as in the source with its type, its comment) of the function `f`."
        a = f.args
        plain_args = a.posonlyargs + a.args
        defaults = dict(zip(reversed(plain_args), reversed(a.defaults), strict=False)) | {
            k: d for k, d in zip(a.kwonlyargs, a.kw_defaults, strict=False) if d
        }
        for mark, args in (
            ('', plain_args),
            ('*', [a.vararg] if a.vararg else []),
            ('', a.kwonlyargs),
            ('**', [a.kwarg] if a.kwarg else []),
        ):
            if args is a.kwonlyargs and args and not a.vararg:
                yield '*', None, None
            for p in args:
                if p.arg in ('self', 'cls'):
                    continue
                default = ast.unparse(defaults[p]) if p in defaults else ''
                typed = f'{mark}{p.arg}: {ast.unparse(p.annotation)}' if p.annotation else mark + p.arg
                yield (
                    mark + p.arg + (f'={default}' if default else ''),
                    typed + (f' = {default}' if default else ''),
                    self.comments.get((defaults.get(p) or p).end_lineno),
                )


def signature(module, name, node):
    "The signature of a function or class: names and defaults, on one line where they fit."
    kind, f = ('class ', constructor(node)) if isinstance(node, ast.ClassDef) else ('', node)
    if any('prop' in ast.unparse(d) for d in node.decorator_list):
        return name
    if not f:
        return f'class {name}({", ".join(map(ast.unparse, node.bases))})'.replace('()', '')
    given = [g[0] for g in module.parameters(f)]
    line = f'{kind}{name}({", ".join(given)})'
    return line if len(line) <= 76 else f'{kind}{name}(\n    ' + ',\n    '.join(given) + ',\n)'


def constructor(node):
    "The `__init__` of a class, if it has one."
    return next((m for m in node.body if isinstance(m, ast.FunctionDef) and m.name == '__init__'), None)


def explained(module, node, base):
    "The parameters and what comes back, with their comments, which may be at the method of a base class."
    f = constructor(node) if isinstance(node, ast.ClassDef) else node
    if not f:
        return ''
    given, note = list(module.parameters(f)), ''
    if base and not any(comment for _, _, comment in given):
        name, f, module, _, page = base
        given, note = list(module.parameters(f)), f'\n\nAs promised by [`{name}`]({page}.qmd#{name}).'
    rows = [f'- `{typed}`: {plain(comment or "")}' for _, typed, comment in given if typed]
    if f.name != '__init__' and f.returns:
        rows.append(f'- returns `{ast.unparse(f.returns)}`: {plain(module.comments.get(f.returns.end_lineno, ""))}')
    return '\n'.join(rows) + note


def entry(name, node, module, home, chapters, base):
    "The Markdown of one name: heading, signature, what it takes and returns, where it is taught, an example."
    i, constant, method = home.at[module.cell(node)], isinstance(node, ASSIGNED), '.' in name
    parts = [f'{"###" if method else "##"} {name} {{#{name}}}']
    if constant:
        parts.append(fenced(ast.get_source_segment(module.source, node), 'python'))
    else:
        parts += [
            fenced(signature(module, name, node), 'python'),
            plain(' '.join((ast.get_docstring(node) or '').split())),
            explained(module, node, base),
        ]
    places = [(home, i + 1)] + ([] if method else [(c, 0) for c in chapters[chapters.index(home) + 1 :]])
    found = next(((c, e) for c, start in places if (e := c.example(name.rpartition('.')[2], start, method))), None)
    parts.append(f'Taught in [{home.title}]({chapter_url(home, home.section(i) if constant else name.lower())}).')
    if found:
        chapter, (code, output) = found
        parts[-1] += ' Example:' if chapter is home else f' Example, from [{chapter.title}]({chapter_url(chapter)}):'
        parts += [fenced(code, 'python')] + ([fenced('\n'.join(output.splitlines()[:20]))] if output else [])
    return '\n\n'.join(p for p in parts if p)


def chapter_url(chapter, fragment=''):
    "A link to a chapter as nbdev writes it; .ci/docs makes it local, and drops a fragment that is not there."
    return f'{base()}/{chapter.module.replace(".", "/")}.html' + (f'#{fragment}' if fragment else '')


def summary(module, node):
    "The first sentence of a docstring; of a constant the comment beside it, or else its beginning."
    if isinstance(node, ASSIGNED):
        return (
            plain(module.comments.get(node.lineno, ''))
            or f'`{textwrap.shorten(ast.unparse(node.value), 60, placeholder=" …")}`'
        )
    return plain(re.match(r'.*?[.;:](?= |$)|.*', ' '.join((ast.get_docstring(node) or '').split()))[0].rstrip('.;:'))


def promised(entries, name):
    "The entry of the base class's method that the method `name` stands for, and its page, if any."
    of, _, method = name.partition('.')
    for b in map(ast.unparse, entries[of][0][1].bases if method else []):
        if b not in entries:
            continue
        found = next(((*e, entries[b][0][2].page) for e in entries[b] if e[0] == f'{b}.{method}'), None) or promised(
            entries, f'{b}.{method}'
        )
        if found:
            return found


def write(to):
    "Write the pages into the folder `to`: an index, and one page for each module, in reading order."
    config = yaml.safe_load((root / '_quarto.yml').read_text(encoding='utf-8'))
    order = [Chapter(root / p) for p in listed(config['website']['sidebar']['contents']) if (root / p).exists()]
    chapters = [c for c in order if c.module]
    modules = {c.module: Module(package / f'{c.module.replace(".", "/")}.py') for c in chapters}
    public = {n for m in modules.values() for n in m.exported}
    entries = {}  # public name: its own definition, then its methods, of whatever chapter
    for c in chapters:
        for name, node in modules[c.module].definitions():
            top, _, method = name.partition('.')
            if top in public and not method.startswith('_'):
                entries.setdefault(top, []).append((name, node, modules[c.module], c))
    to.mkdir()
    index = ['---\ntitle: Python API\ndescription: "Every public name, by the chapter that makes it."\norder: 0\n---']
    for number, c in enumerate(chapters, 1):
        m = modules[c.module]
        if not m.exported:
            continue
        about = json.dumps(ast.get_docstring(ast.parse(m.source)).splitlines()[0], ensure_ascii=False)
        head = f'---\ntitle: {package.name}.{m.name}\ndescription: {about}\norder: {number}\n---'
        names = [n for n in entries if n in m.exported]
        body = [entry(*e, chapters, promised(entries, e[0])) for n in names for e in entries[n]]
        (to / f'{m.page}.qmd').write_text('\n\n'.join([head, *body]) + '\n', encoding='utf-8')
        lines = [f'- [`{n}`]({m.page}.qmd#{n}) {summary(m, entries[n][0][1])}' for n in names]
        index += [f'## [{c.title}]({m.page}.qmd) {{#{m.page}}}', '\n'.join(lines)]
    (to / 'index.qmd').write_text('\n\n'.join(index) + '\n', encoding='utf-8')
