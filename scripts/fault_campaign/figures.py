"""What the campaign counts: cases, and those that ended as no case may."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from fault_campaign.children import Ended

FAULTS = ("broken outputs", "other results", "leftovers", "tracebacks", "hangs", "silent successes", "unclear errors")


@dataclass
class Figures:
    """Counts of cases by kind, and of faults; the first lines of each fault are kept."""

    cases: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    described: list[str] = field(default_factory=list)

    def fault(self, kind: str, case: str, said: str = "") -> None:
        """Count a fault."""
        self.faults[kind] += 1
        last = " | ".join(said.strip().splitlines()[-3:])
        self.described.append(f"{kind}: {case}: {last[:600]}")
        print(f"  ! {self.described[-1]}", flush=True)

    def check_end(self, ended: Ended, case: str, *, may_succeed: bool) -> None:
        """Count what is wrong with how a command ended that was given something wrong.

        Args:
            ended: the command.
            case: what was wrong, in words.
            may_succeed: whether what is wrong may have no effect.
        """
        if ended.hung:
            self.fault("hangs", case, ended.err)
        elif ended.traceback or ended.code < 0 or ended.code in (1, 99):
            self.fault("tracebacks", case, ended.err)
        elif ended.code == 0 and not may_succeed:
            self.fault("silent successes", case, ended.out)
        elif ended.code not in (0, 2, 3) or (ended.code != 0 and not ended.one_line):
            self.fault("unclear errors", case, f"exit code {ended.code}: {ended.err}")

    def add(self, other: Figures) -> None:
        """Add the counts of another part of the campaign."""
        self.cases += other.cases
        self.faults += other.faults
        self.described += other.described

    def table(self) -> str:
        """Return all counts, one a line; faults that did not occur are shown as 0."""
        rows = [*self.cases.items(), *((name, self.faults[name]) for name in FAULTS)]
        return "\n".join(f"{count:6}  {name}" for name, count in rows)
