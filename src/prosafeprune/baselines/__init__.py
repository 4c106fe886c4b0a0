"""Published methods, prompting, fine-tuning and ProSafePrune itself behind one interface."""
