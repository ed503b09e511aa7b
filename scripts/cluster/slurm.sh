#!/bin/bash
#SBATCH --job-name=mpitrain --signal=USR1@120 --requeue --open-mode=append
# A training as a Slurm job that is interrupted and continues by itself: options of sbatch, this file, options of mpitrain.
#   sbatch --ntasks=64 --cpus-per-task=2 --time=4:00:00 scripts/cluster/slurm.sh --data mnist:$DATA --out $SCRATCH/run
# Two minutes before the time is up, and when the job is preempted or told by scancel --signal=USR1, all ranks leave with a
# checkpoint and exit code 85; then the job is put back into the queue, and takes up where it was.
# PYTHON is the interpreter that mpitrain is installed in (python); SRUN_MPI the interface between srun and the ranks, if its
# default does not fit the MPI library: pmi2 for MPICH, pmix for Open MPI (srun --mpi=list).
end=$(date -d "$(squeue -h -j "$SLURM_JOB_ID" -o %e)" +%s 2>/dev/null || true)
export SLURM_JOB_END_TIME=${SLURM_JOB_END_TIME:-$end} # Slurm 22.05 does not tell it
srun ${SRUN_MPI:+--mpi=$SRUN_MPI} --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" \
    "${PYTHON:-python}" -m mpitrain "$@" --resume auto
code=$?
[ $code -eq 85 ] && scontrol requeue "$SLURM_JOB_ID"
exit $code
