"The table of commands, what is made from their signatures, and their results without the command line."
import dataclasses
import importlib
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from commands import printed, run, run_installed, tree_privacy
from fastcore.docments import docments
from pictures import album, draw, places

from tree_privacy.cli import cloud, encode, notebooks, owner, user
from tree_privacy.cli.common import Command
from tree_privacy.cli.main import COMMANDS, ENTRIES, load_command, make_parser
from tree_privacy.images.changes import Changes

QUICK = ['--bits', 32, '--size', 32]
every_command = pytest.mark.parametrize('name', list(ENTRIES))


def parsed(name, words):
    "What the function of a command gets from a command line."
    args = vars(make_parser([name]).parse_args(words))
    del args['command'], args['print_completion'], args['json']
    return args


def first_sentence(function):
    return ' '.join(function.__doc__.split()).split('. ')[0].removesuffix('.')


# The table


def test_the_table_is_that_of_the_modules():
    "Every command of a module is in the table once, and the other way round."
    assert list(ENTRIES) == [name for group in COMMANDS.values() for name in group], 'a command is in two groups'
    folder = Path(cloud.__file__).parent
    modules = {p.stem for p in folder.glob('*.py')} - {'__init__', 'common', 'main'}
    assert {module for module, _ in ENTRIES.values()} == modules
    for module in modules:
        there = importlib.import_module(f'tree_privacy.cli.{module}').COMMANDS
        assert set(there) == {name for name, (where, _) in ENTRIES.items() if where == module}


@every_command
def test_the_summary_is_the_first_sentence_of_the_docstring(name):
    command = load_command(name)
    assert isinstance(command, Command) and command.run.__name__ == name
    assert ENTRIES[name][1] == first_sentence(command.run)
    assert len(f'  {name:11}{ENTRIES[name][1]}') <= 100


@every_command
def test_the_example_can_be_typed(name):
    "It parses, and what it leaves out is what the function has as default."
    command = load_command(name)
    word, *words = command.example.split()
    given, signature = parsed(word, [word, *words]), inspect.signature(command.run)
    assert word == name and set(given) == set(signature.parameters)
    for parameter in signature.parameters.values():
        option = '--' + parameter.name.replace('_', '-')
        if parameter.default is not parameter.empty and option not in words and parameter.name != 'folder':
            assert given[parameter.name] == parameter.default


@every_command
def test_every_parameter_is_explained(name):
    "By a comment or its type, and on the page of help."
    text = ' '.join(tree_privacy(name, '--help').stdout.split())
    for parameter, about in docments(load_command(name).run, full=True, returns=False, eval_str=True).items():
        words = re.sub(r'\W', '', about.docment)
        assert words and words in re.sub(r'\W', '', text), parameter


@every_command
def test_result_is_typed(name):
    "The function says what it returns, which is a frozen dataclass."
    result = inspect.signature(load_command(name).run, eval_str=True).return_annotation
    assert dataclasses.is_dataclass(result) and result.__dataclass_params__.frozen


# Help, errors of usage


@every_command
def test_help(name):
    done = tree_privacy(name, '--help')
    assert done.stdout.startswith(f'usage: tree-privacy {name}') and not done.stderr
    assert f'\nexample: tree-privacy {load_command(name).example}\n' in done.stdout
    assert '--json' in done.stdout and '--pdb' not in done.stdout and 'default: False' not in done.stdout


def test_help_of_the_whole():
    "Every command with its summary, in the order of the table, below the title of its group."
    lines = tree_privacy('--help').stdout.splitlines()
    wanted = [line for group, commands in COMMANDS.items()
              for line in (f'{group}:', *(f'  {name:11}{about}' for name, (_, about) in commands.items()))]
    assert [line for line in lines if line in wanted] == wanted


@every_command
@pytest.mark.parametrize('words', [['--no-such-option'], ['--jso'], ['--pdb'], ['--xtra', '1']])
def test_no_such_option(name, words):
    "Also no beginning of one, and none of the library that makes the parser."
    _, *example = load_command(name).example.split()
    done = run(name, *example, *words)
    assert done.returncode == 2 and not done.stdout
    assert f'unrecognized arguments: {words[0]}' in done.stderr


@pytest.mark.parametrize('words, said', [([], 'required: COMMAND'), (['serch'], 'invalid choice'),
                                         (['--vers'], 'required: COMMAND'), (['search', 'x.jpg'], '--index, --key'),
                                         (['remove', '--index', 'a', '--key', 'b'], 'NAME'),
                                         (['index', 'a', '--index', 'b', '--key', 'c', '--lock', 'no'], '--lock'),
                                         (['fetch', 'x', '--index', 'a', '--key', 'b'], 'ID'),
                                         (['evaluate', 'a', 'b', '--nodes', '1,x'], 'no list of whole numbers'),
                                         (['--print-completion', 'no'], 'invalid choice')])
def test_usage_errors(words, said):
    done = run(*words)
    assert done.returncode == 2 and not done.stdout and said in done.stderr and 'Traceback' not in done.stderr


# What is imported


def imported(*words):
    "Modules that are there after a command line, in a process of its own."
    code = f"""import sys
from tree_privacy.cli.main import main
try:
    main({list(map(str, words))!r})
except SystemExit:
    pass
print(*sys.modules, file=sys.stderr)"""
    return set(subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stderr.split())


def test_help_of_the_whole_imports_nothing_heavy():
    assert not {'numpy', 'torch', 'fastcore', 'shtab', 'cryptography', 'tree_privacy.core'} & imported('--help')


@every_command
def test_help_imports_one_module(name):
    "Of the commands' modules that of the command, and what it is made of; no neural network, no drawing."
    there = imported(name, '--help')
    shared = {'common', 'main', 'encode', ENTRIES[name][0]}
    assert {m.split('.')[2] for m in there if m.startswith('tree_privacy.cli.')} <= shared
    assert not {'torch', 'PIL', 'matplotlib', 'scipy', 'sklearn', 'numba', 'seal', 'tree_privacy.client.user'} & there


# Completion


@pytest.fixture(scope='module')
def script():
    done = run_installed('--print-completion', 'bash')
    assert done.returncode == 0 and not done.stderr
    return done.stdout


def completed(script, *words):
    "What bash offers for the last of these words."
    code = script + f"""
COMP_WORDS=({' '.join(f"'{word}'" for word in words)})
COMP_CWORD={len(words) - 1}
_shtab_tree_privacy
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(['bash', '-c', code], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return set(done.stdout.split())


def test_completion_in_bash(script, tmp_path):
    "The script is valid; bash offers commands, options, choices, and folders where a folder is wanted."
    assert subprocess.run(['bash', '-n'], input=script, capture_output=True, text=True).returncode == 0
    assert completed(script, 'tree-privacy', '') >= set(ENTRIES)
    assert completed(script, 'tree-privacy', 'se') == {'search'}
    assert completed(script, 'tree-privacy', 'search', '--pi') == {'--picture'}
    assert {'--index', '--key', '--json'} <= completed(script, 'tree-privacy', 'search', '-')
    assert completed(script, 'tree-privacy', 'index', 'x', '--lock', 'priv') == {'private-walk'}
    (tmp_path / 'folder').mkdir()
    (tmp_path / 'file').write_text('x')
    assert completed(script, 'tree-privacy', 'inspect', f'{tmp_path}/f') == {f'{tmp_path}/folder'}
    assert completed(script, 'tree-privacy', 'read', f'{tmp_path}/f') == {f'{tmp_path}/folder', f'{tmp_path}/file'}


@every_command
def test_completion_knows_every_option(name, script):
    options = {word for action in make_parser([name], True)._actions if action.dest == 'command'
               for inner in action.choices[name]._actions for word in inner.option_strings}
    assert {'--json', '--help'} <= options
    assert options <= completed(script, 'tree-privacy', name, '-')


@pytest.mark.parametrize('shell', ['zsh', 'tcsh'])
def test_completion_in_other_shells(shell):
    assert all(name in tree_privacy('--print-completion', shell).stdout for name in ENTRIES)


# Results, without and with the command line


def test_commands_from_python(tmp_path, capfd):
    "Every function returns its result, and prints nothing to standard output."
    album(tmp_path / 'photos', 12)
    draw(tmp_path / 'more/d/new.png', 77)
    index, key = str(tmp_path / 'cloud'), str(tmp_path / 'mine.key')
    at, photo = dict(index=index, key=key), str(tmp_path / 'photos/a/03.png')
    made = owner.index(str(tmp_path / 'photos'), **at, bits=32, size=32, lock='random-matrix')
    assert made == owner.Indexed(index, 12, 'random-matrix', key, True, None, True)
    found = user.search(photo, **at, k=2)
    assert [(hit.name, hit.distance) for hit in found.results][0] == ('a/03.png', 0) and len(found.results) == 2
    assert cloud.inspect(index).manifest.photographs == 12
    asked = user.ask(photo, **at, out=str(tmp_path / 'request'))
    assert asked.bytes == (tmp_path / 'request').stat().st_size
    answered = cloud.answer(str(tmp_path / 'request'), index, str(tmp_path / 'reply'))
    assert answered == cloud.Answered(str(tmp_path / 'reply'), (tmp_path / 'reply').stat().st_size)
    assert user.read(str(tmp_path / 'reply'), key).query == '03.png'
    opened = user.fetch([found.results[0].id], **at, out=str(tmp_path / 'found'))
    assert opened == user.Opened([str(tmp_path / 'found/a/03.png.jpg')], True)
    assert owner.add(str(tmp_path / 'more'), **at) == Changes(13, added=['d/new.png'])
    assert owner.remove(['a/03.png'], **at) == Changes(12, removed=['a/03.png'])
    names = [f'{"abc"[i % 3]}/{i:02}.png' for i in range(12)]
    synced = owner.sync(str(tmp_path / 'photos'), **at, yes=True)
    assert synced == Changes(12, added=['a/03.png'], removed=['d/new.png'])
    restored = user.restore(**at, out=str(tmp_path / 'back'))
    assert {Path(file).relative_to(tmp_path / 'back').as_posix() for file in restored.files} == {
        f'{name}.jpg' for name in names} and restored.thumbnails
    assert owner.grant(key, str(tmp_path / 'friend.key')) == owner.Granted(str(tmp_path / 'friend.key'))
    assert owner.rotate(**at, new_key=str(tmp_path / 'next.key')) == owner.Rotated(index, str(tmp_path / 'next.key'))
    coded = encode.encode(str(tmp_path / 'photos'), str(tmp_path / 'x.codes'), bits=32, size=32)
    assert (coded.photographs, coded.bits, coded.file) == (12, 32, str(tmp_path / 'x.codes'))
    assert notebooks.notebooks(str(tmp_path / 'tutorial')).notebooks > 60
    assert not capfd.readouterr().out


def test_json_of_every_step(tmp_path):
    "One object each, with what the text says; the others have tests of their own."
    album(tmp_path / 'photos', 12)
    draw(tmp_path / 'more/d/new.png', 77)
    at, photo = places(tmp_path), tmp_path / 'photos/a/03.png'
    index, key = str(tmp_path / 'cloud'), str(tmp_path / 'mine.key')
    options = [*at, *QUICK, '--lock', 'random-matrix']
    made = dict(folder=index, photographs=12, lock='random-matrix', key_file=key, new_key=True, replaced=None,
                thumbnails=True)
    assert printed('index', tmp_path / 'photos', *options) == made
    assert printed('index', tmp_path / 'photos', *options) == made | dict(new_key=False, replaced=12)
    nothing = dict(added=[], replaced=[], renamed={}, removed=[], kept=[], unreadable=[], left_alone={})
    assert printed('add', tmp_path / 'more', *at) == nothing | dict(added=['d/new.png'], photographs=13)
    gone = ['d/new.png', 'a/03.png']
    assert printed('remove', *gone, *at) == nothing | dict(removed=gone, photographs=11)
    assert printed('sync', tmp_path / 'photos', *at) == nothing | dict(added=['a/03.png'], photographs=12)
    costs = printed('costs', index, '--key', key, '--queries', 2)
    assert len(costs['rows']) > 4 and {'lock'} <= set(costs['rows'][0])
    asked = printed('ask', photo, *at, '--out', tmp_path / 'request')
    assert asked == dict(file=str(tmp_path / 'request'), bytes=(tmp_path / 'request').stat().st_size)
    answered = printed('answer', tmp_path / 'request', '--index', index, '--out', tmp_path / 'reply')
    assert answered == dict(file=str(tmp_path / 'reply'), bytes=(tmp_path / 'reply').stat().st_size)
    first = printed('read', tmp_path / 'reply', '--key', key)['results'][0]
    name = f'{tmp_path}/found/{first["photo"]}.jpg'
    assert printed('fetch', first['id'], *at, '--out', tmp_path / 'found') == dict(files=[name], thumbnails=True)
    back = printed('restore', *at, '--out', tmp_path / 'back')
    assert len(back['files']) == 12 and back['thumbnails'] is True
    assert printed('grant', '--key', key, '--out', tmp_path / 'f.key') == dict(file=str(tmp_path / 'f.key'))
    rotated = printed('rotate', *at, '--new-key', tmp_path / 'next.key')
    assert rotated == dict(folder=index, key_file=str(tmp_path / 'next.key'))
    copied = printed('notebooks', tmp_path / 'tutorial')
    assert copied['folder'] == str(tmp_path / 'tutorial') and copied['notebooks'] > 60


def test_notes_go_to_standard_error_with_json_too(tmp_path):
    "The key that must be kept is named either way; nothing but the object is on standard output."
    album(tmp_path / 'photos', 6)
    done = tree_privacy('index', tmp_path / 'photos', *places(tmp_path), *QUICK, '--json')
    assert 'Keep a copy elsewhere' in done.stderr
    assert json.loads(done.stdout)['new_key'] is True


def test_what_has_no_json_is_an_error(monkeypatch):
    "A number that JSON cannot hold is not printed as something else."
    broken = dataclasses.replace(cloud.COMMANDS['inspect'], run=lambda index: None, data=lambda r: dict(x=float('nan')))
    monkeypatch.setitem(cloud.COMMANDS, 'inspect', broken)
    done = run('inspect', 'x', '--json')
    assert done.returncode == 1 and not done.stdout and 'Traceback' not in done.stderr
