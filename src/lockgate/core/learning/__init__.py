"""Whether to learn anew, and from what: triggers, the policy that weighs them, windows of the past. Pure."""
