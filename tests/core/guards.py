"Functions run in a fork with little memory and time: a wait for ever or an endless read fails, and does no harm."

import os
import resource
import signal

from tree_privacy.core import TreePrivacyError


def refused_by(work):
    "Name of the package's error that a function raises; other errors, an end by a signal and no error fail."
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(read)
        now = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + 2**29, now + 2**29))
        resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
        signal.alarm(60)
        try:
            work()
            said = 'no error'
        except TreePrivacyError as error:
            said = type(error).__name__
        except BaseException as error:
            said = f'another error: {error!r}'
        os.write(write, said.encode())
        os._exit(0)
    os.close(write)
    said = os.read(read, 1000).decode()
    os.close(read)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code == 0, f'ended with {code}: it waited, or read without end'
    return said


def hostile_files(folder):
    "Paths that are no regular files: a folder, a pipe, a socket, links to endless devices, to a pipe and to itself."
    import socket

    (folder / 'folder').mkdir()
    os.mkfifo(folder / 'pipe')
    with socket.socket(socket.AF_UNIX) as s:
        old = os.getcwd()
        os.chdir(folder)
        s.bind('socket')
        os.chdir(old)
    for name, to in dict(
        zero='/dev/zero', random='/dev/urandom', terminal='/dev/tty', piped='pipe', loop='loop'
    ).items():
        (folder / name).symlink_to(to)
    return [folder / name for name in ('folder', 'pipe', 'socket', 'zero', 'random', 'piped', 'loop')]
