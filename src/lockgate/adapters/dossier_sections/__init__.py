"""The dossier's sections, one module each: measurements in, a `Section` out, whatever the measurements hold.

No section raises. What is missing, empty or of another form makes it say "Not measured" and why, or leaves out the part
that cannot be read; nothing is shown as if it had been measured.
"""
