"""Checks of what is deployed with: each module's `check()` returns the faults it finds, none if all is well."""
