"""Adds features to a folder in processes that are killed: for every line "wait seconds" of the input one is forked, and
killed that many seconds after its start or, where `wait` is 1, after it has added something. Prints its exit code.
With a second argument it also removes: whatever has an even number and is not among the last."""

import os
import signal
import sys
import time
import traceback
from pathlib import Path

import ml_dtypes
import numpy as np

from vidtldr_jax.search import features
from vidtldr_jax.search.features import Feature, FeatureStore

RUN = {"checkpoint": "abc", "preprocessing": {"num_frames": 4, "mean": [0.5, 0.5]}, "schedule": "100,40"}
MOST_SMALL = 5  # so that parts are merged all the time
ENOUGH = 10**6
NUM_KEPT = 3  # of the last, among which even ones stay


def make_feature(number, dtype=ml_dtypes.bfloat16, shape=(3, 4)):
    """The same for every call with the same arguments; without a dtype there are no tokens."""
    rng = np.random.default_rng(number)
    embedding = rng.standard_normal(6, np.float32)
    tokens = None if dtype is None else rng.standard_normal(shape, np.float32).astype(dtype)
    return Feature(f"{number}.mp4", f"clips/{number}.mp4", embedding, tokens)


def add_features(folder, end):
    """Goes on where an earlier call was stopped, with one part for each feature."""
    with FeatureStore(folder, RUN) as store:
        for number in range(len(store), end):
            store.append([make_feature(number)])


def add_and_remove(folder, end):
    """Goes on where an earlier call was stopped; few of the even ones stay for long."""
    with FeatureStore(folder, RUN) as store:
        for number in range(1 + max((int(key[:-4]) for key in store.keys), default=-1), end):
            store.remove([key for key in store.keys if int(key[:-4]) % 2 == 0 and int(key[:-4]) < number - NUM_KEPT])
            store.append([make_feature(number)])


def run_until_killed(folder, wait, seconds, write=add_features):
    """Returns the exit code of a process that adds features until it is killed."""
    last = find_last(folder)
    child = os.fork()
    if not child:
        try:
            write(folder, ENOUGH)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    while wait and find_last(folder) == last:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.001)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def find_last(folder):
    return max((path.name for path in folder.glob("part-*")), default="")


if __name__ == "__main__":
    features._MOST_SMALL = MOST_SMALL
    for line in sys.stdin:
        first, second = line.split()
        write = add_and_remove if len(sys.argv) > 2 else add_features
        print(run_until_killed(Path(sys.argv[1]), first == "1", float(second), write), flush=True)
