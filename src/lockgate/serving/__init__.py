"""The model server: one program for sandbox, staging and production.

    bundle, signature, contract_file   bytes on disk -> a verified bundle, or the precise reason why not
    columns, dataplane                 columns of a request -> outputs and flags; knows no transport
    router, state                      which bundle answers for which model: pure state, one reference, durable
    service                            joins the above: routes, answers, keeps the log and the counters
    prediction_log, metrics            what was answered, off the hot path
    app, http_*, openapi               HTTP around the service
    process, options, __main__         sockets, signals, the command line

It imports nothing of the orchestrator, the registry or the adapters, and no pandas.
"""
