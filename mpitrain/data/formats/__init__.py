"""Readers of file formats: IDX, CIFAR-10, NumPy archives, and OpenML data sets."""
