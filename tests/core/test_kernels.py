"Which way a kernel runs, and that loops which call each other compile."

import threading

import numpy as np
import pytest

from tree_privacy import kernels
from tree_privacy.core import MissingDependency
from tree_privacy.kernels import Kernel, array_sizes, compile_loop, kernel

numba = pytest.importorskip('numba')


def bits_plain(x):
    return np.bitwise_count(x).sum()


@kernel(plain=bits_plain, small=100)
def bits(x):
    total = 0
    for v in x:
        while v:
            total += int(v) & 1
            v >>= 1
    return total


def half(v):
    return v // 2


@kernel(small=0)
def halves(x):
    out = np.empty_like(x)
    for i in range(len(x)):
        out[i] = half(x[i])
    return out


@kernel(small=0)
def bits_of_halves(x):
    return bits(halves(x))


def ways(monkeypatch, which):
    "Notes which way a kernel runs."
    seen = []
    monkeypatch.setattr(which, 'plain', lambda *args, real=which.plain: (seen.append('plain'), real(*args))[1])
    monkeypatch.setitem(
        which.__dict__, 'compiled', lambda *args, real=which.compiled: (seen.append('compiled'), real(*args))[1]
    )
    return seen


def test_small_work_is_plain(monkeypatch):
    x, seen = np.arange(100, dtype=np.uint32), ways(monkeypatch, bits)
    assert bits(x[:99]) == bits_plain(x[:99]) and bits(x) == bits_plain(x) and seen == ['plain', 'compiled']


def test_without_numba(monkeypatch):
    "Everything runs without numba; asking for the compiled loop says what to install."
    monkeypatch.setattr(kernels, 'numba_installed', lambda: False)
    x = np.arange(1000, dtype=np.uint32)
    assert bits(x) == bits_plain(x) and bits_of_halves(x) == bits_plain(x // 2)
    with pytest.raises(MissingDependency, match=r"numba is not installed: run pip install 'tree_privacy.cloud.'"):
        compile_loop(half)


def test_twins_agree():
    for n in (1, 10, 1000):
        x = np.random.default_rng(n).integers(0, 2**32, n, dtype=np.uint32)
        assert bits.plain(x) == bits.loop(x) == bits.compiled(x) == bits(x)


def test_kernels_that_call_kernels_and_functions():
    x = np.arange(5000, dtype=np.uint32)
    assert bits_of_halves.compiled(x) == bits_of_halves.plain(x) == bits_plain(x // 2)


def test_work_is_measured(monkeypatch):
    assert array_sizes(np.zeros((2, 3)), 7, [1], np.zeros(4)) == 10
    measured = Kernel(half, small=10, work=lambda v: v)
    monkeypatch.setitem(measured.__dict__, 'compiled', lambda v: 'compiled')
    assert (
        measured(9) == 4
        and measured(10) == 'compiled'
        and repr(measured) == 'Kernel(half)'
        and measured.__name__ == 'half'
    )


def test_order_of_sums():
    "With fastmath=False a sum is taken from left to right, on every processor."

    def total(x):
        s = 0.0
        for v in x:
            s += v
        return s

    x = np.random.default_rng(0).standard_normal(10_001)
    assert Kernel(total, fastmath=False).compiled(x) == total(x)
    assert Kernel(total).compiled(x) == pytest.approx(total(x))


def test_no_folder_for_the_cache(monkeypatch):
    "Where numba finds no folder that it may write to, it compiles without one."
    real, seen = numba.njit, []

    def without(*args, cache=False, **more):
        seen.append(cache)
        if cache:
            raise RuntimeError('cannot cache')
        return real(*args, **more)

    monkeypatch.setattr(numba, 'njit', without)
    assert compile_loop(half)(8) == 4 and seen == [True, False]


def test_several_threads():
    x, results = np.arange(20_000, dtype=np.uint32), []
    fresh = Kernel(bits.loop, bits_plain, small=0)
    threads = [threading.Thread(target=lambda: results.append(fresh(x))) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert results == [bits_plain(x)] * 4
