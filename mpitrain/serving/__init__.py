"""A trained model as a service: HTTP on rank 0, batches of requests computed by all ranks.

    http.py        sockets, limits of connections, and the server's thread
    app.py         what is answered to whom: one function for each address
    inputs.py      bodies of requests to arrays; answers.py: outputs to JSON
    scheduler.py   requests that wait, batches of them, and who is free
    replicas.py    groups of ranks that have the model together
    worker.py      the loop of every rank: take a job, compute, reply
    courier.py     rank 0's thread that talks to the other ranks

On rank 0 the main thread computes, as on any other rank; the event loop of the server runs in a second thread, which
never calls MPI, and the courier in a third.
"""
