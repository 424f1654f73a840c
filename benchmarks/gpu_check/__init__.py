"""One prepared run on a GPU or TPU: is everything right there, and how fast is it? `scripts/gpu_check` starts it.

__main__.py     the command: which steps run, in which order, how long each may take
steps.py        runs one step in a process of its own, ended by a watchdog
sizes.py        what is measured: at full size, and in a rehearsal
correctness.py  step 1: attention against an oracle, whole models against the originals' numbers
throughput.py   step 2: clips per second of ours, plain and merged, and of torch
parts.py        step 3: where the time of a merged model goes
answers.py      step 4: do trained models answer the same in bfloat16?
estimate.py     how long a run at full size should take
"""
