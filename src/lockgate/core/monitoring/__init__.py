"""Watching what serves: production's log, day by day, as sums that can be added and judged. Pure.

feedback           what people say of its answers
summary            what one day of one bundle holds: counts and sums, no row and no key
summary_reading    what sums of days tell: loss, AUC, calibration, quantiles of latency, coverage of labels
"""
