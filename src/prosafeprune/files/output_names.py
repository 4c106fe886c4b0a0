"""Names of the files that are written next to a pruned model."""

RECORD_FILE = "prosafeprune.json"
"""The file that marks a folder as an output of this package."""
MANIFEST = ".prosafeprune.files"
"""The list of the files that this package wrote into the folder: no other file is ever removed."""
EVIDENCE_FILE = "prosafeprune_answers.jsonl"
REPORT_FILE = "report.html"
SHARE_FILE = "share.png"
COST_FILE = "prosafeprune_cost.json"
"""What the run was estimated to take, and took. Not in the record, which is equal for equal runs."""
OF_A_RUN = (RECORD_FILE, MANIFEST, EVIDENCE_FILE, REPORT_FILE, SHARE_FILE, COST_FILE)
