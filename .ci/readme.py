"""README.md from nbs/index.ipynb: its prose, its visible code and the text that the code printed.

    python .ci/readme.py             # write README.md
    python .ci/readme.py --check     # exit 1 where README.md is not what would be written

Links to other notebooks and to pictures are made to work from the top of the repository. Output pictures stay in the
notebook; a picture for the README is a file under nbs/images that the prose shows.
"""

import difflib
import json
import re
import sys
from pathlib import Path

root = Path(__file__).resolve().parent.parent
hidden = {'hide', 'default_exp', 'export', 'exporti'}
note = '<!-- Written by .ci/readme.py from nbs/index.ipynb: edit that. -->'


def text(value):
    "A notebook's text, which is a string or a list of lines, without white space at its end."
    return ''.join(value).rstrip()


def relink(target):
    "The link `target` of a notebook in nbs/, as seen from the top of the repository."
    if re.match(r'[a-z][a-z0-9+.-]*:|#|/', target):
        return target
    path, mark, fragment = target.partition('#')
    here = root / 'nbs'
    if path.endswith('.html') and (here / path).with_suffix('.ipynb').exists():
        path = f'{path[:-5]}.ipynb'
    full = (here / path).resolve()
    if not full.exists():
        sys.exit(f'nbs/index.ipynb: the link {target} leads nowhere')
    return full.relative_to(root).as_posix() + mark + fragment


def prose(source):
    "Markdown with its links rewritten, code left alone."
    parts = re.split(r'(^```.*?^```|`[^`\n]+`)', source, flags=re.M | re.S)
    for i in range(0, len(parts), 2):
        parts[i] = re.sub(r'(\]\()([^)\s]+)', lambda m: m[1] + relink(m[2]), parts[i])
        parts[i] = re.sub(r'((?:src|href)=")([^"]+)', lambda m: m[1] + relink(m[2]), parts[i])
        parts[i] = re.sub(r'(^\[[^\]]+\]:\s*)(\S+)', lambda m: m[1] + relink(m[2]), parts[i], flags=re.M)
    return ''.join(parts)


def fenced(body, language=''):
    "`body` as a code block."
    fence = '`' * max(3, 1 + max(map(len, re.findall('`+', body)), default=0))
    return f'{fence}{language}\n{body}\n{fence}'


def shown(outputs):
    "The outputs of a cell as Markdown: its text in one block, no pictures, widgets or messages."
    parts, block = [], []
    for o in outputs:
        data = o.get('data', {})
        if o['output_type'] == 'stream':
            block += [text(o['text'])] if o['name'] == 'stdout' else []
        elif o['output_type'] == 'error':
            block.append(f"{o['ename']}: {o['evalue']}")
        elif 'text/markdown' in data:
            parts.append(prose(text(data['text/markdown'])))
        elif 'text/plain' in data and not any(k.startswith(('image/', 'application/')) for k in data):
            block.append(text(data['text/plain']))
    return ([fenced('\n'.join(block))] if block else []) + parts


def convert(nb):
    "The notebook `nb` (its parsed JSON) as Markdown for GitHub."
    parts = []
    for cell in nb['cells']:
        source = text(cell['source'])
        if cell['cell_type'] == 'markdown':
            parts.append(prose(source))
        if cell['cell_type'] != 'code':
            continue
        options = dict(re.findall(r'^#\|\s*([\w-]+):?[ \t]*(.*?)\s*$', source, flags=re.M))
        if hidden & options.keys() or options.get('include') == 'false':
            continue
        code = re.sub(r'^#\|.*\n?', '', source, flags=re.M).strip('\n')
        if code and options.get('echo') != 'false':
            parts.append(fenced(code, 'python'))
        if options.get('output') != 'false':
            parts += shown(cell['outputs'])
    head, *rest = [p for p in parts if p.strip()]
    return '\n\n'.join([head, note, *rest]) + '\n'


def main():
    new = convert(json.loads((root / 'nbs/index.ipynb').read_text(encoding='utf-8')))
    readme = root / 'README.md'
    if '--check' not in sys.argv[1:]:
        readme.write_text(new, encoding='utf-8')
        return print('README.md written')
    old = readme.read_text(encoding='utf-8') if readme.exists() else ''
    if old == new:
        return print('README.md is what nbs/index.ipynb gives')
    sys.stdout.writelines(
        difflib.unified_diff(old.splitlines(True), new.splitlines(True), 'README.md', 'from nbs/index.ipynb')
    )
    sys.exit('README.md is not what nbs/index.ipynb gives: run .ci/docs --readme')


if __name__ == '__main__':
    main()
