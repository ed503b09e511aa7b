// What scripts/bench round holds Python against: the same rounds with persistent requests, in C.
// Built with mpicc -O3 -shared -fPIC when the bench runs, and loaded into the ranks, so that both use one MPI.

#include <mpi.h>
#include <stdlib.h>

// Exchange `count` floats with `peer` and add what came, `rounds` times; return the seconds.
double exchange_and_add(MPI_Comm *comm, int peer, int count, int rounds, float *buffer) {
    float *arrived = malloc(count * sizeof(float));
    MPI_Request requests[2];
    MPI_Recv_init(arrived, count * (int)sizeof(float), MPI_BYTE, peer, 77, *comm, &requests[0]);
    MPI_Send_init(buffer, count * (int)sizeof(float), MPI_BYTE, peer, 77, *comm, &requests[1]);
    double begin = MPI_Wtime();
    for (int k = 0; k < rounds; k++) {
        MPI_Startall(2, requests);
        MPI_Waitall(2, requests, MPI_STATUSES_IGNORE);
        for (int i = 0; i < count; i++) buffer[i] += arrived[i];
    }
    double seconds = MPI_Wtime() - begin;
    MPI_Request_free(&requests[0]);
    MPI_Request_free(&requests[1]);
    free(arrived);
    return seconds;
}
