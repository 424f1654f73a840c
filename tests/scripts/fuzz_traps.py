"""Classes of input whose readers do what no reader may, to see that it is noticed."""

import os
import signal
import time

from scripts.fuzz.classes import FuzzClass

SOUND = b"sound" * 100


def write(folder):
    (folder / "a.txt").write_bytes(SOUND)


def describe(name, misbehave):
    def read(folder):
        text = (folder / "a.txt").read_bytes()
        return misbehave(text) if text != SOUND else text

    return FuzzClass(
        name=name,
        answer="the same",
        make=write,
        structures={"*.txt": ("bytes", 1)},
        read=read,
        is_right=lambda value, expected: value == expected,
        documented=(ValueError,),
    )


def refuse(text, message="one line"):
    raise ValueError(message)


def raise_another(text):
    raise KeyError(text)


def take_memory(text):
    block = bytearray(1300 * 2**20)
    block[:: 2**12] = b"x" * len(block[:: 2**12])
    return SOUND


TRAPS = {
    "refuses": refuse,
    "wrong": lambda text: text,
    "undocumented": raise_another,
    "two lines": lambda text: refuse(text, "two\nlines"),
    "signal": lambda text: os.kill(os.getpid(), signal.SIGSEGV),
    "exit": lambda text: os._exit(3),
    "hang": lambda text: time.sleep(60),
    "memory": take_memory,
}


def load_classes():
    return {name: describe(name, misbehave) for name, misbehave in TRAPS.items()}
