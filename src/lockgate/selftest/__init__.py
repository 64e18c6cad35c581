"""Gates that can fail: a library of known-bad candidates, pushed through the real line.

    rows ──> a champion ──> a clean candidate, every stage ──> one fault at a time, until a gate stops it

A gate that never stopped anything is a hope. Each `Fault` names the gate that must stop it; it enters where such a
fault enters in life (in the landed file, the frozen rows, the training, the graph, the bundle, the server) and never by
writing a measurement. Measuring and judging are the line's own (`lockgate.line.running`); there is no second
implementation of a gate here.
"""
