"""Communication by MPI: World, Group, and plans of collectives (the only importer of mpi4py)."""

import mpi4py

mpi4py.rc.initialize = False  # ``start`` does it, whichever module is imported first
