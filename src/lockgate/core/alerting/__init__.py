"""Alerts: from a finding to a person. Pure.

finding ──> alert.py      what an alert is, and the fold of the ledger's rows into alerts
            deciding.py   which rows a run's findings bring: raised, repeated, closed, or none
            messages.py   which messages those rows are, in which words, and which nobody took yet
            watchdog.py   the finding of a monitor that says nothing
            superseded.py the closing of what was about a champion that serves no more
            cron.py       when a schedule was last due
"""
