"""The store of features, an index over it, and looking again at the best of a search."""
