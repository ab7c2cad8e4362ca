"""Run the notebooks of a folder as "Run all" in JupyterLab does, each in a kernel of its own, and compare outputs.

    tree-privacy notebooks tutorial
    python tests/run_all.py tutorial                       # all of them; exit 1 where something differs or fails
    python tests/run_all.py tutorial 00_core tree/16_walk  # some of them
    python tests/run_all.py tutorial --limit 60            # exit 1 also where one takes longer than a minute

What is compared is their text. Every cell runs. One marked `#| varies` may print something else than what is stored;
one marked `#| slow` or `#| gpu` must say that it did not run. The notebooks themselves stay as they are. The kernel is
the Python that runs this script, so run it with the one to be tested.
"""
import argparse
import difflib
import re
import sys
import time
from pathlib import Path

import nbformat
from fastcore.nbio import read_nb
from jupyter_client.kernelspec import KernelSpecManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from run_notebook import as_text, report


def executed(path):
    "The notebook at `path` with the outputs of a new kernel, from top to bottom or to an error; that error, or None."
    nb = nbformat.read(path, as_version=4)
    for c in nb.cells:
        if c.cell_type == 'code':
            c.outputs, c.execution_count = [], None
    client = NotebookClient(nb, timeout=600, kernel_name='python3',
                            resources=dict(metadata=dict(path=str(path.parent))))
    # this Python's kernel, whatever the user has installed elsewhere
    client.create_kernel_manager().kernel_spec_manager = KernelSpecManager(kernel_dirs=[])
    client.extra_arguments = ['--log-level=40']
    try:
        client.execute()
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        return nb, error
    return nb, None


def in_order(outputs):
    "Outputs with the cell's value last: Jupyter shows figures after it, run_notebook.py before it."
    return sorted(outputs, key=lambda o: o.output_type == 'execute_result')


def complaint(cell, got):
    "What is wrong with the outputs `got` of a stored cell: lines, or nothing."
    new = as_text(in_order(got))
    if {'slow', 'gpu'} & cell.directives.keys():
        said = new and new[0].startswith('not run: ')
        return [] if said else ['wanted "not run: …", and got', *new]
    if 'varies' in cell.directives:
        return []
    return list(difflib.unified_diff(as_text(in_order(cell.outputs)), new, 'stored', 'new', lineterm=''))


def check(path, name):
    "Run a notebook, print what is wrong with it, and say how long it took. Returns success and seconds."
    stored, start = read_nb(path), time.perf_counter()
    nb, error = executed(path)
    seconds, wrong = time.perf_counter() - start, 0
    for old, new in zip(stored.cells, nb.cells, strict=True):
        if old.cell_type != 'code' or error is not None and new.execution_count is None:
            continue
        raised = error is not None and any(o.output_type == 'error' for o in new.outputs)
        lines = [] if raised else complaint(old, new.outputs)
        if lines:
            wrong += 1
            report(f'{name}, cell {old.id} gives another output than the stored one', old, lines)
    if error is not None:
        print(f'{name} failed\n' + re.sub(r'\x1b\[[\d;]*m', '', str(error)))
    outcome = f'{wrong} differ from what is stored' if wrong else 'outputs as stored'
    print(f'{name}: {seconds:.1f} s, ' + ('failed' if error is not None else outcome), flush=True)
    return error is None and not wrong, seconds


def wanted(folder, names):
    "{name below the folder: path} of the notebooks to run, in the order of their numbers."
    if names:
        paths = [folder / f'{name}.ipynb' for name in names]
    else:
        found = [p for p in folder.rglob('*.ipynb') if '.ipynb_checkpoints' not in p.parts]
        paths = sorted(found, key=lambda p: (p.name, p))
    return {p.relative_to(folder).with_suffix('').as_posix(): p for p in paths}


def main(argv=None):
    "Run the command; returns the exit status."
    p = argparse.ArgumentParser(description='Run the notebooks of a folder as Run all does, and compare outputs.')
    p.add_argument('folder', type=Path)
    p.add_argument('names', nargs='*', help='notebooks by their path in the folder, without .ipynb (default all)')
    p.add_argument('--limit', type=float, default=float('inf'), metavar='SECONDS',
                   help='fail where a notebook takes longer')
    args = p.parse_args(argv)
    paths = wanted(args.folder.resolve(), args.names)
    missing = next((path for path in paths.values() if not path.is_file()), None)
    if missing:
        p.error(f'there is no notebook {missing}')
    if not paths:
        p.error(f'there are no notebooks in {args.folder}')
    done = {name: check(path, name) for name, path in paths.items()}
    bad = [name for name, (good, _) in done.items() if not good]
    late = [name for name, (_, seconds) in done.items() if seconds > args.limit]
    said = f'; wrong: {", ".join(bad)}' if bad else ', all as stored'
    said += f'; over {args.limit:g} s: {", ".join(late)}' if late else ''
    print(f'{len(done)} notebooks in {sum(seconds for _, seconds in done.values()):.0f} s{said}')
    return 1 if bad or late else 0


if __name__ == '__main__':
    sys.exit(main())
