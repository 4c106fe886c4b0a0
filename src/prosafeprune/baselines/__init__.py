"""Self-CD, SCAN, Surgical, prompting and ProSafePrune itself, behind one interface."""
