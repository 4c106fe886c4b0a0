"""Self-CD, SCAN, Surgical, prompting, and ProSafePrune itself, all with one face."""
