"Limits for what a test starts: seconds of a processor, which other work on the machine does not use up; by the clock only a generous one, for what waits for ever."
import subprocess

try: import resource
except ImportError: resource = None  # not on Windows: there the clock alone

CLOCK = 600


def limited(command, seconds=200, **options):
    "subprocess.run; a process that computes for longer gets SIGXCPU. Its own children have as much again."
    def limit(): resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.getrlimit(resource.RLIMIT_CPU)[1]))
    return subprocess.run(command, timeout=CLOCK, preexec_fn=limit if resource else None, **options)
