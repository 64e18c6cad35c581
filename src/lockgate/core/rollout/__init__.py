"""A rollout: from an approved bundle to a champion, or back, step by step, by evidence. Pure.

    steps          the spec's section -> the list of steps that is really carried out, and the guardrails' names
    conditions     what a promotion asks for beside plan and guardrails: sub-populations, days
    routing        what the server is asked to route, and what it says it does
    observations   what one answered (or failed) request, label or business number tells
    tally          observations -> sufficient statistics, one contribution an entity
    state          the machine's state, events and commands
    machine        (state, event) -> (state, commands): what happens next, whatever happened before
    record         the ledger's rows of a rollout, and the state that follows from reading them; `look_record`: a look's

Decisions themselves are `core.online`: what a tally holds is judged there, and judged again by an auditor.
"""
