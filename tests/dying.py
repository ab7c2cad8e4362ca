"A process that ends as if killed just before its n-th step that changes something on the disk."
import os

KILLED = 9
STEPS = ('open', 'fsync', 'replace', 'link', 'mkdir', 'unlink', 'rmdir', 'rename')


def die_at(step, steps=STEPS):
    "Let this process end, as if killed, just before its n-th call of these functions of os."
    count = [0]

    def counted(real):
        def call(*args, **more):
            count[0] += 1
            if count[0] == step:
                os._exit(KILLED)
            return real(*args, **more)
        return call
    for name in steps:
        setattr(os, name, counted(getattr(os, name)))
