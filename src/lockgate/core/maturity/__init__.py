"""The ML Test Score of a release, computed from its record: 28 tests in four areas, and the least of the four.

Source: Breck, Cai, Nielsen, Salib, Sculley 2017, "The ML Test Score: A Rubric for ML Production Readiness and Technical
Debt Reduction" (IEEE Big Data). A test counts 1 where it is run automatically with every release, 0.5 where it was done
by hand or covers only part, 0 otherwise; an area sums its seven tests; the score is the smallest of the four sums, so
that no area can be bought with another.

Every answer names the record that says so: a gate's verdict, a measurement, a section of the evaluation, a row of the
ledger, or a dated file of results. Without a record the answer is no, whatever the program could do.
"""

from lockgate.core.maturity.record import Record, read_record_of
from lockgate.core.maturity.score import Answer, Area, Assessment, Finding, assess, meaning, trend

__all__ = ["Answer", "Area", "Assessment", "Finding", "Record", "assess", "meaning", "read_record_of", "trend"]
