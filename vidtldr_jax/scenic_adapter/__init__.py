"""Merging inside google-research/scenic: a module with Scenic's parameters, its model classes, training and evaluation.

`settings`, `modules`, `checkpoints`, `availability` need no Scenic; `models`, `datasets`, `main` and `evaluate` import
it (and TensorFlow with it), so nothing is imported here. docs/scenic.md says how to install and run it.
"""
