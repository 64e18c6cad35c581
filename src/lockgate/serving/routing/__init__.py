"""Which model answers: desired state, sticky weights, leases, shadows; changed without dropping a request."""
