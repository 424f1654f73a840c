"""Classes of input whose readers do what no reader may, to see that it is noticed."""

import os
import signal
import time

from scripts.fuzz.fuzz_class import FuzzClass

SOUND = b"sound" * 100


def write(folder):
    (folder / "a.txt").write_bytes(SOUND)


def describe(name, misbehave):
    def read(folder):
        path = folder / "a.txt"
        return misbehave(path) if path.read_bytes() != SOUND else SOUND

    return FuzzClass(
        name=name,
        answer="the same",
        make=write,
        structures={"*.txt": ("bytes", 1)},
        read=read,
        is_right=lambda value, expected: value == expected,
        documented=(ValueError,),
    )


def refuse(message):
    raise ValueError(message)


def raise_another(path):
    raise KeyError(path)


def take_memory(path):
    block = bytearray(1300 * 2**20)
    block[:: 2**12] = b"x" * len(block[:: 2**12])
    return SOUND


TRAPS = {
    "refuses": lambda path: refuse(f"{path} is damaged"),
    "wrong": lambda path: path,
    "undocumented": raise_another,
    "two lines": lambda path: refuse(f"{path} has two\nlines"),
    "no name": lambda path: refuse("a file is damaged"),
    "signal": lambda path: os.kill(os.getpid(), signal.SIGSEGV),
    "exit": lambda path: os._exit(3),
    "hang": lambda path: time.sleep(60),
    "memory": take_memory,
}


def load_classes():
    return {name: describe(name, misbehave) for name, misbehave in TRAPS.items()}
