"""Kills processes that write states of a run, each at a random moment, and looks at what they leave.

They are forked from one that has imported everything and has itself no thread of Orbax's.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np

from vidtldr_jax.train.checkpoints import Checkpoints, list_steps
from vidtldr_jax.train.state_digests import check_state
from vidtldr_jax.train.steps import TrainState

NUM_KILLS = 20
RUN = "0" * 64


def write_states(folder, told):
    """Writes states, keeps the newest of them, and tells each one's step once it is written."""
    with Checkpoints(folder, run=RUN) as states:
        step, _ = states.find_newest(folder / "none")
        os.write(told, b"start\n")
        while True:
            step += 1
            state = TrainState({"head/kernel": np.full((50, 50), step, np.float32)}, {}, (), np.int32(step))
            states.save(step, state)
            os.write(told, b"%d\n" % step)
            states.prune({step})


def kill_one(folder, chance):
    """Starts a process, kills it, and returns the last step that it told."""
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(reading)
        write_states(folder, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as told:
        assert told.readline() == b"start\n"
        steps = [told.readline() for _ in range(chance.randrange(3))]
        time.sleep(chance.uniform(0, 0.1))  # into the writing of the next one, or its removal of the one before
        os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        assert os.WTERMSIG(status) == signal.SIGKILL
        steps += told.read().split()
    return int(steps[-1]) if steps else None


def main():
    """Kills, and checks after each kill that the last step is there, whole."""
    folder, chance, safe = Path(sys.argv[1]), random.Random(0), 0
    for _ in range(NUM_KILLS):
        safe = kill_one(folder, chance) or safe
        steps = list_steps(folder)
        assert not safe or max(steps) >= safe, (steps, safe)
        assert len(steps) <= 2, steps  # one that the kill kept from being removed
        for step in steps:
            check_state(folder / f"{step:08d}", step=step, run=RUN)
    assert safe > NUM_KILLS // 2, safe
    with Checkpoints(folder, run=RUN) as states:
        newest, notes = states.find_newest(folder / "none")
        states.prune({newest})
    assert notes == ()
    left = [path.name for path in folder.iterdir()]
    assert left == [f"{newest:08d}"], left
    print(f"{NUM_KILLS} kills, step {newest}")


if __name__ == "__main__":
    main()
