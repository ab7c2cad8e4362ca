"""The list of all notebooks in nbs/development.ipynb: a link, the subtitle and the reading time of each.

    python .ci/docs --map    # write it
"""

import json
import re
import sys
from pathlib import Path

root = Path(__file__).resolve().parent.parent
page = root / 'nbs/development.ipynb'
head = '| notebook | what it has | reading |\n| --- | --- | --- |\n'


def lines():
    "One row a notebook, in reading order."
    sys.path.insert(0, str(root / 'tests'))
    from fastcore.nbio import read_nb
    from test_notebooks import name, notebooks, reading_minutes, subtitle

    for path in notebooks:
        nb, file = read_nb(path), name(path)
        if file != 'index':
            yield f'| [{file}]({file}.ipynb) | {subtitle(nb)} | {reading_minutes(nb)} min |\n'


def main():
    nb = json.loads(page.read_text(encoding='utf-8'))
    cell = next(c for c in nb['cells'] if c['cell_type'] == 'markdown' and head in ''.join(c['source']))
    before, _, after = ''.join(cell['source']).partition(head)
    rest = re.sub(r'^(\|.*\n)+', '', after)
    cell['source'] = (before + head + ''.join(lines()) + rest).splitlines(keepends=True)
    page.write_text(json.dumps(nb, indent=1, ensure_ascii=False) + '\n', encoding='utf-8')
    print('the list in nbs/development.ipynb is written')


if __name__ == '__main__':
    main()
