"""Run the notebooks of a folder as "Run all" in JupyterLab does, each in a kernel of its own, and compare their text outputs with the stored ones.

    tree-privacy notebooks tutorial
    python tests/run_all.py tutorial                       # all of them; exit 1 where something differs or fails
    python tests/run_all.py tutorial 20_tree 99_cli        # some of them
    python tests/run_all.py tutorial --limit 60            # exit 1 also where one takes longer than a minute

Every cell runs. One marked `#| varies` may print something else than what is stored; one marked `#| slow` or `#| gpu` must say that it did not run.
The notebooks themselves stay as they are. The kernel is the Python that runs this script, so run it with the one to be tested.
"""
import argparse, difflib, re, sys, time
from pathlib import Path

from fastcore.nbio import read_nb
import nbformat
from jupyter_client.kernelspec import KernelSpecManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from run_notebook import as_text, report


def executed(path):
    "The notebook at `path` with the outputs that a new kernel gives, from top to bottom or to an error; and that error, or None."
    nb = nbformat.read(path, as_version=4)
    for c in nb.cells:
        if c.cell_type == 'code': c.outputs, c.execution_count = [], None
    client = NotebookClient(nb, timeout=600, kernel_name='python3', resources=dict(metadata=dict(path=str(path.parent))))
    client.create_kernel_manager().kernel_spec_manager = KernelSpecManager(kernel_dirs=[])  # this Python's, whatever the user has installed elsewhere
    client.extra_arguments = ['--log-level=40']
    try: client.execute()
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error: return nb, error
    return nb, None


def in_order(outputs):
    "Outputs with the cell's value last: Jupyter shows figures after it, run_notebook.py before it."
    return sorted(outputs, key=lambda o: o.output_type == 'execute_result')


def complaint(cell, got):
    "What is wrong with the outputs `got` of a stored cell: lines, or nothing."
    new = as_text(in_order(got))
    if {'slow', 'gpu'} & cell.directives.keys(): return [] if new and new[0].startswith('not run: ') else ['wanted "not run: …", and got', *new]
    if 'varies' in cell.directives: return []
    return list(difflib.unified_diff(as_text(in_order(cell.outputs)), new, 'stored', 'new', lineterm=''))


def check(path):
    "Run a notebook, print what is wrong with it, and say how many cells and seconds it took. Returns success and seconds."
    stored, start = read_nb(path), time.perf_counter()
    nb, error = executed(path)
    seconds, wrong = time.perf_counter() - start, 0
    for old, new in zip(stored.cells, nb.cells):
        if old.cell_type != 'code' or error is not None and new.execution_count is None: continue
        if lines := [] if any(o.output_type == 'error' for o in new.outputs) and error is not None else complaint(old, new.outputs):
            wrong += 1
            report(f'{path.name}, cell {old.id} gives another output than the stored one', old, lines)
    if error is not None: print(f'{path.name} failed\n' + re.sub(r'\x1b\[[\d;]*m', '', str(error)))
    print(f'{path.name}: {seconds:.1f} s, ' + ('failed' if error is not None else f'{wrong} differ from what is stored' if wrong else 'outputs as stored'), flush=True)
    return error is None and not wrong, seconds


def main(argv=None):
    "Run the command; returns the exit status."
    p = argparse.ArgumentParser(description='Run the notebooks of a folder as Run all does, and compare their text outputs with the stored ones.')
    p.add_argument('folder', type=Path)
    p.add_argument('names', nargs='*', help='names of notebooks, without .ipynb (default all)')
    p.add_argument('--limit', type=float, default=float('inf'), metavar='SECONDS', help='fail where a notebook takes longer')
    args = p.parse_args(argv)
    paths = [args.folder.resolve()/f'{n}.ipynb' for n in args.names] or sorted(args.folder.resolve().glob('*.ipynb'))
    if missing := [q for q in paths if not q.is_file()]: p.error(f'there is no notebook {missing[0]}')
    if not paths: p.error(f'there are no notebooks in {args.folder}')
    done = {q.stem: check(q) for q in paths}
    bad, late = [n for n, (ok, _) in done.items() if not ok], [n for n, (_, s) in done.items() if s > args.limit]
    print(f'{len(done)} notebooks in {sum(s for _, s in done.values()):.0f} s' + (f'; wrong: {", ".join(bad)}' if bad else ', all as stored') + (f'; over {args.limit:g} s: {", ".join(late)}' if late else ''))
    return 1 if bad or late else 0


if __name__ == '__main__':
    sys.exit(main())
