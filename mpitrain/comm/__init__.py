"""Everything that needs MPI: the world of ranks and running a schedule on it (the only importer of mpi4py)."""
