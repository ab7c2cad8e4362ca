"A network that takes no time, for tests of what goes on around one."
import os

import numpy as np
import torch


class Fake:
    "Features are exact sums over the pixels, so that a picture has the same ones in whatever batch it comes."
    name, device = 'fake', 'cpu'

    def __init__(self, watch=lambda pixels: None, size=8, dimension=16):
        self.watch, self.size, self.dimension = watch, size, dimension
        self.calls, self.module = [], torch.nn.BatchNorm1d(2)
        self.weights = np.random.default_rng(0).integers(-9, 10, (3 * size * size, dimension))

    def __call__(self, pixels):
        self.calls.append(len(pixels))
        self.watch(pixels)
        return (pixels.reshape(len(pixels), -1) @ self.weights / 4096).astype(np.float32)


def child(work):
    "Run a function in a fork and return its process number; an error in it gives the exit code 1."
    pid = os.fork()
    if pid:
        return pid
    try:
        work()
    except BaseException as error:
        os.write(2, f'{type(error).__name__}: {error}\n'.encode())
        os._exit(1)
    os._exit(0)


def ended(pid):
    "Wait for a process; its exit code, or minus the signal that ended it."
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
