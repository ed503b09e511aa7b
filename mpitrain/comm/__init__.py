"""Communication by MPI: World, Group, and plans of collectives (the only importer of mpi4py)."""
