"""Data compared with the data that a model was trained on: signatures, fingerprints, columns and classes by name."""
