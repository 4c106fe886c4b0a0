"""Faults on purpose: killed runs, bad inputs, hostile text, full disks, and what the commands make of them.

Run it from the repository: ``PYTHONPATH=src:tests:scripts python -m fault_campaign``; ``--short`` is what CI runs.
"""
