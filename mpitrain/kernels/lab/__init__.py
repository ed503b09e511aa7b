"""The lab: a student's CUDA file runs on the CPU, is compared with float64, and its faults are explained.

``source`` reads the file, ``build`` compiles it with a call before every load and store (kernels/lab), ``child`` runs
it in a process of its own, ``run`` starts that process, ``words`` and ``bounds`` say what was found, ``picture`` and
``drawing`` show it.
"""
