"""A model as a program that runs without this package: StableHLO, SavedModel, and their check."""
