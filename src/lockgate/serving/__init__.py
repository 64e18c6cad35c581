"""The model server: one program for sandbox, staging and production.

    model       a bundle: verified, loaded, answering columns; runs together, fenced in, explained
    routing     which model answers whom: desired state, weights, leases, shadows, changes without a dropped request
    answering   the way of a request: chosen arm, or what stands behind it; counted, logged, copied to shadows
    service     joins the above for one process
    protocols   Open Inference Protocol v2, MLflow's scoring form, Arrow streams, labels
    http, net   ASGI application, connections and sockets around the service
    log         predictions and labels on disk, and their archive in Parquet
    watch       counts, distributions, health, self-probes
    fleet       one process, or several workers that act as one
    bulk        whole files, by the same encoder and graph
    options, __main__, tokens, refusals    the command line, and words that all of them share

`model`, `routing` and `answering` know no transport and are tested without one. Nothing here imports the
orchestrator, the registry, the adapters or pandas.
"""
