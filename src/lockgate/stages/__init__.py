"""What a task calls: one module a stage, composing ports and the core's judgement. No adapter is imported here."""
