"""Run one notebook from top to bottom, in this process, and compare its text outputs with the stored ones.

    python tests/run_notebook.py nbs/00_core.ipynb           # compare; exit 1 where something differs or fails
    python tests/run_notebook.py nbs/00_core.ipynb --save    # store the new outputs instead
    python tests/run_notebook.py nbs/00_core.ipynb --answers    # also run the code of the answers to its exercises

Cells marked `#| slow`, `#| gpu`, `#| notest` or `#| eval: false` do not run and keep what is stored (`--slow` and
`--gpu` run the first two, and set the notebook's own `run_slow`). A cell marked `#| varies` runs, and its output is not
compared. A cell with the tag `raises-exception` may raise; the name and the message of its exception are compared.
"""

import argparse
import difflib
import os
import re
import sys
import time
from pathlib import Path

os.environ.setdefault('TQDM_DISABLE', '1')
os.environ.setdefault('IN_TEST', '1')  # nbdev's own sign for "this is not a person's session"
os.environ['MPLBACKEND'] = 'module://matplotlib_inline.backend_inline'

from execnb.shell import CaptureShell, format_exc
from fastcore.nbio import read_nb, write_nb
from nbdev.clean import nbdev_clean
from nbdev.test import nb_test_cells

widget = 'application/vnd.jupyter.widget-view+json'


def normalise(text):
    "`text` without object addresses and figure sizes, which say nothing about the result."
    text = re.sub(r' at 0x[0-9a-fA-F]+', '', text)
    return re.sub(r'<Figure size [^>]*>|\bFigure\([\d.]+x[\d.]+\)', '<Figure>', text)


def tidy(outputs):
    "The outputs worth storing: no stderr, no widgets (their ids are random), one stdout stream, one line an exception."
    printed = ''.join(''.join(o['text']) for o in outputs if o['output_type'] == 'stream' and o['name'] == 'stdout')
    printed = printed.replace('\x1b[2K\r', '').replace('\r\n', '\n')  # clear_output without a browser; a `!command`
    res = [dict(output_type='stream', name='stdout', text=printed)] if printed else []
    for o in outputs:
        if o['output_type'] == 'error':
            res.append(dict(o, traceback=[f"{o['ename']}: {o['evalue']}"]))
        elif o['output_type'] != 'stream' and widget not in o['data']:
            data = {k: ''.join(v) if isinstance(v, list) else v for k, v in o['data'].items()}
            res.append(dict(o, data=data, metadata={}, **({'execution_count': None} if 'execution_count' in o else {})))
    return res


def as_text(outputs):
    "What is compared: printed text, the kinds of data shown, and every textual one of them but HTML."
    parts = []
    for o in tidy(outputs):
        if o['output_type'] == 'stream':
            parts.append(o['text'])
        elif o['output_type'] == 'error':
            parts.append(o['traceback'][0])
        else:
            shown = sorted(o['data'])
            parts.append(f"[{o['output_type']}: {', '.join(shown)}]")
            parts += [o['data'][k] for k in shown if k.startswith('text/') and k != 'text/html']
    return normalise('\n'.join(p.rstrip('\n') for p in parts)).splitlines()


def report(title, cell, lines):
    "Print what went wrong in `cell`."
    print(f'{title}\n--- the cell ---\n{cell.source}\n---', *lines, sep='\n')


def answers(nb):
    "The code of the folded answers to exercises: `py` blocks between <details> and </details>, in order."
    folded = [
        d
        for c in nb.cells
        if c.cell_type == 'markdown'
        for d in re.findall(r'<details>(.*?)</details>', c.source, flags=re.S)
    ]
    return [code for d in folded for code in re.findall(r'^```py\n(.*?)^```$', d, flags=re.M | re.S)]


def run(path, skip, with_answers=False):
    "Run a notebook; gives it with new outputs, (cell, stored outputs) for each cell that ran, and success."
    nb = read_nb(path)
    wanted = {c.idx_ for c in nb_test_cells(path, skip_flags=skip)}
    shell, done = CaptureShell(path.parent, mpl_format='png'), []
    for cell in nb.cells:
        if cell.idx_ not in wanted:
            continue
        stored = cell.outputs
        source = cell.source
        if 'slow' not in skip:
            source = re.sub(r'^run_slow = False\b', 'run_slow = True', source, flags=re.M)
        cell.outputs = tidy(shell.run(source))
        cell.execution_count = None
        done.append((cell, stored))
        if shell.exc is not None and 'raises-exception' not in cell.metadata.get('tags', []):
            report(f'{path.name}, cell {cell.idx_} ({cell.id}) failed', cell, format_exc(shell.exc))
            return nb, done, False
    for number, code in enumerate(answers(nb) if with_answers else [], 1):
        shell.run(code)
        if shell.exc is not None:
            print(f'{path.name}: block {number} of the answers failed\n--- the block ---\n{code}---')
            print(format_exc(shell.exc))
            return nb, done, False
    return nb, done, True


def main(argv=None):
    "Run the command; returns the exit status."
    p = argparse.ArgumentParser(description='Run one notebook and compare its text outputs with the stored ones.')
    p.add_argument('notebook', type=Path)
    p.add_argument('--save', action='store_true', help='store the new outputs in the notebook instead of comparing')
    p.add_argument('--slow', action='store_true', help='run the cells marked slow as well')
    p.add_argument(
        '--answers', action='store_true', help='run the code of the answers to the exercises as well, after the cells'
    )
    p.add_argument('--gpu', action='store_true', help='run the cells marked gpu as well')
    args = p.parse_args(argv)
    path = args.notebook.resolve()
    if not path.is_file():
        p.error(f'there is no notebook {args.notebook}')

    skip = ['notest'] + [o for o in ('slow', 'gpu') if not getattr(args, o)]
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the checkout's package, installed or not
    os.chdir(path.parent)
    if not (args.slow or args.gpu):  # what is not slow must do without data from elsewhere, also where there is some
        os.environ['TREE_PRIVACY_DATA'] = os.environ['TREE_PRIVACY_FASHION'] = 'no data for cells that are not slow'
    start = time.perf_counter()
    nb, done, ok = run(path, skip, args.answers)
    os.chdir(path.parent)
    if not ok:
        return 1
    summary = f'{path.name}: {len(done)} cells in {time.perf_counter() - start:.1f} s'
    if args.save:
        write_nb(nb, path)
        nbdev_clean(str(path))
        print(f'{summary}, saved')
        return 0
    differ = 0
    for cell, stored in done:
        if cell.has_directive('varies'):
            continue
        old, new = as_text(stored), as_text(cell.outputs)
        if old == new:
            continue
        differ += 1
        report(
            f'{path.name}, cell {cell.idx_} ({cell.id}) gives another output than the stored one',
            cell,
            difflib.unified_diff(old, new, 'stored', 'new', lineterm=''),
        )
    print(f'{summary}, {differ} differ from what is stored' if differ else f'{summary}, outputs as stored')
    return 1 if differ else 0


if __name__ == '__main__':
    sys.exit(main())
