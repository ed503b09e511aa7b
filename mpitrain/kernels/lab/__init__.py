"""The lab: a student's CUDA file runs on the CPU, is compared with float64, and its faults are explained.

``source`` reads the file, ``build`` compiles it with a call before every load and store (kernels/lab), ``child`` runs
it in a process of its own, ``run`` starts that process, ``counts`` has the bounds that follow, ``words`` and
``sentences`` say what was found, ``picture`` and ``drawing`` show it, ``report`` has all of it.
"""
