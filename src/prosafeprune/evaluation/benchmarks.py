"""The public benchmarks of section 4.1 and others, one declaration each: its class, home, columns and licence.

To add one, add a declaration to ``BENCHMARKS``.
"""

from collections.abc import Callable
from dataclasses import dataclass

from prosafeprune.evaluation.xsb_rows import SINGLE_TURN, conversation_row, is_safe_row, is_unsafe_row, single_turn_row
from prosafeprune.prompts.prompt_set import PromptClass, PromptSet
from prosafeprune.prompts.rows import Row
from prosafeprune.prompts.sources import read_prompts

POLYREFUSE = {
    **{"ar": "Arabic", "de": "German", "es": "Spanish", "fr": "French", "it": "Italian"},
    **{"ja": "Japanese", "ko": "Korean", "nl": "Dutch", "pl": "Polish", "ru": "Russian", "zh": "Chinese"},
}
"""The languages of PolyRefuse that the built-in judge reads; not Thai and Yoruba. No file of English requests is
confirmed; the English original is in the column ``instruction`` of each test file."""
XSTEST = "https://raw.githubusercontent.com/paul-rottger/xstest/main/xstest_prompts.csv"
XSB = "ScaDSAI/XSB_and_MS-XSB"
XSB_PAPER = "Yuan et al. 2025, arXiv:2510.08158"


@dataclass(frozen=True)
class Benchmark:
    """A public prompt set of one class."""

    name: str
    """The benchmark's name, for ``--benchmark``."""
    title: str
    prompt_class: PromptClass
    home: str
    """A hub dataset (``org/name:configuration:split``) or the https address of a file."""
    licence: str
    citation: str
    fields: tuple[str, ...] = ("prompt",)
    """The column of the prompt; where copies differ, every name in use."""
    keep: Callable[[Row], bool] | None = None
    """Returns whether a row belongs to the benchmark; None if all do."""
    as_row: Callable[[Row, str], Row] | None = None
    """Returns a row, read at a place, with its prompt in one of ``fields`` or in ``messages``; None if all have it."""
    paper_size: int | None = None
    """The paper's sample size (B.2); None if the paper does not use it."""
    half_of: str = ""
    """The benchmark whose file holds its prompts, and those of another class."""

    @property
    def file(self) -> str:
        """Its file in ``--data-dir``, without the extension; halves of one benchmark share a file."""
        return (self.half_of or self.name).replace("-", "_")

    def read(self, source: str) -> PromptSet:
        """Return its prompts from ``source``: its home, or a file. Raises InputError as ``read_prompts`` does."""
        return read_prompts(source, self.prompt_class, self.fields, self.keep, self.as_row)

    @property
    def about(self) -> str:
        """Title, citation, licence and home in one line."""
        return f"{self.title} ({self.citation}; {self.licence}): {self.home}"


def _is_safe(row: Row) -> bool:
    """Whether an XSTest row is a safe prompt, not an unsafe contrast; its first versions have no column ``label``."""
    return row["label"] == "safe" if row.get("label") else not str(row.get("type", "")).startswith("contrast_")


def _is_unsafe(row: Row) -> bool:
    return not _is_safe(row)


def _is_harmless(row: Row) -> bool:
    """Whether a PHTest row is harmless rather than controversial; copies without the column hold harmless ones only."""
    return str(row.get("Harmfulness", "harmless")).strip().lower() == "harmless"


def _is_direct(row: Row) -> bool:
    """Whether a HarmBench row is a request on its own; others need a context, or are about copyright."""
    return str(row.get("FunctionalCategory") or "standard") == "standard"


def _is_unmutated(row: Row) -> bool:
    """Whether a SORRY-Bench row is a base prompt, not one of its rewordings."""
    return str(row.get("prompt_style") or "base") == "base"


PSEUDO_HARMFUL, HARMFUL = PromptClass.PSEUDO_HARMFUL, PromptClass.HARMFUL
PARTS_OF_XSB = (("xsb", SINGLE_TURN, single_turn_row), ("ms-xsb", ("prompt",), conversation_row))
HALVES_OF_XSB = (("safe", PSEUDO_HARMFUL, is_safe_row), ("unsafe", HARMFUL, is_unsafe_row))

BENCHMARKS = (
    Benchmark(
        "or-bench-hard",
        "OR-Bench-Hard-1K",
        PSEUDO_HARMFUL,
        home="bench-llm/or-bench:or-bench-hard-1k:train",
        licence="CC BY 4.0",
        citation="Cui et al. 2024, arXiv:2405.20947",
        paper_size=200,
    ),
    Benchmark(
        "phtest",
        "PHTest",
        PSEUDO_HARMFUL,
        home="furonghuang-lab/PHTest:train",
        fields=("Request", "prompt"),
        licence="MIT",
        citation="An et al. 2024, arXiv:2409.00598",
        keep=_is_harmless,
        paper_size=200,
    ),
    Benchmark(
        "xstest-safe",
        "XSTest-Safe",
        PSEUDO_HARMFUL,
        home=XSTEST,
        licence="CC BY 4.0",
        citation="Röttger et al. 2024, arXiv:2308.01263",
        keep=_is_safe,
        paper_size=250,
        half_of="xstest",
    ),
    Benchmark(
        "oktest",
        "OKTest",
        PSEUDO_HARMFUL,
        home="https://raw.githubusercontent.com/InvokerStark/OverKill/main/data/OKTest.csv",
        licence="as published with Self-CD; no licence stated",
        citation="Shi et al. 2024, arXiv:2401.17633",
        paper_size=300,
    ),
    Benchmark(
        "advbench",
        "AdvBench",
        HARMFUL,
        home="https://raw.githubusercontent.com/llm-attacks/llm-attacks/main/data/advbench/harmful_behaviors.csv",
        fields=("prompt", "goal"),
        licence="MIT",
        citation="Zou et al. 2023, arXiv:2307.15043",
        paper_size=200,
    ),
    Benchmark(
        "jailbreakbench",
        "JailbreakBench",
        HARMFUL,
        home="JailbreakBench/JBB-Behaviors:behaviors:harmful",
        fields=("Goal", "goal", "prompt"),
        licence="MIT",
        citation="Chao et al. 2024, arXiv:2404.01318",
        paper_size=100,
    ),
    Benchmark(
        "xstest-unsafe",
        "XSTest-Unsafe",
        HARMFUL,
        home=XSTEST,
        licence="CC BY 4.0",
        citation="Röttger et al. 2024, arXiv:2308.01263",
        keep=_is_unsafe,
        half_of="xstest",
    ),
    Benchmark(
        "strongreject",
        "StrongREJECT",
        HARMFUL,
        home="https://raw.githubusercontent.com/alexandrasouly/strongreject/main/strongreject_dataset/"
        "strongreject_dataset.csv",
        fields=("forbidden_prompt", "prompt"),
        licence="MIT",
        citation="Souly et al. 2024, arXiv:2402.10260",
    ),
    Benchmark(
        "jailbreakbench-benign",
        "JailbreakBench-Benign",
        PSEUDO_HARMFUL,
        home="JailbreakBench/JBB-Behaviors:behaviors:benign",
        fields=("Goal", "goal", "prompt"),
        licence="MIT",
        citation="Chao et al. 2024, arXiv:2404.01318",
    ),
    Benchmark(
        "falsereject",
        "FalseReject-Test",
        PSEUDO_HARMFUL,
        home="AmazonScience/FalseReject:test",
        licence="CC BY-NC 4.0",
        citation="Zhang et al. 2025, arXiv:2505.08054",
    ),
    Benchmark(
        "coconot-contrast",
        "CoCoNot-Contrast",
        PSEUDO_HARMFUL,
        home="allenai/coconot:contrast:test",
        licence="see its card",
        citation="Brahman et al. 2024, arXiv:2407.12043",
    ),
    Benchmark(
        "or-bench-toxic",
        "OR-Bench-Toxic",
        HARMFUL,
        home="bench-llm/or-bench:or-bench-toxic:train",
        licence="CC BY 4.0",
        citation="Cui et al. 2024, arXiv:2405.20947",
    ),
    Benchmark(
        "harmbench",
        "HarmBench",
        HARMFUL,
        home="https://raw.githubusercontent.com/centerforaisafety/HarmBench/main/data/behavior_datasets/"
        "harmbench_behaviors_text_all.csv",
        fields=("Behavior", "prompt"),
        licence="MIT",
        citation="Mazeika et al. 2024, arXiv:2402.04249",
        keep=_is_direct,
    ),
    Benchmark(
        "sorry-bench",
        "SORRY-Bench",
        HARMFUL,
        home="sorry-bench/sorry-bench-202503:train",
        fields=("turns", "prompt"),
        licence="its own, to be accepted on the hub",
        citation="Xie et al. 2024, arXiv:2406.14598",
        keep=_is_unmutated,
    ),
    Benchmark(
        "hex-phi",
        "HEx-PHI",
        HARMFUL,
        home="LLM-Tuning-Safety/HEx-PHI:train",
        fields=("Instruction", "instruction", "prompt", "content"),
        licence="its own, to be accepted on the hub",
        citation="Qi et al. 2023, arXiv:2310.03693",
    ),
    *(
        Benchmark(
            f"{name}-{half}",
            f"{name.upper()}-{half.capitalize()}",
            prompt_class,
            home=XSB,
            licence="MIT",
            citation=XSB_PAPER,
            keep=keep,
            fields=fields,
            as_row=as_row,
            half_of=name,
        )
        for name, fields, as_row in PARTS_OF_XSB
        for half, prompt_class, keep in HALVES_OF_XSB
    ),
    *(
        Benchmark(
            f"polyrefuse-{code}",
            f"PolyRefuse {language}",
            HARMFUL,
            home="https://raw.githubusercontent.com/mainlp/Multilingual-Refusal/main/PolyRefuse/"
            f"harmful_test_translated_{code}.json",
            fields=("instruction_translated", "prompt"),
            licence="see its repository",
            citation="Wang et al. 2025, Refusal Direction is Universal Across Safety-Aligned Languages",
        )
        for code, language in POLYREFUSE.items()
    ),
)
"""In the order of Table 1, then those the paper does not use."""
BY_NAME = {benchmark.name: benchmark for benchmark in BENCHMARKS}
PARTS = {
    "xstest": ("xstest-safe", "xstest-unsafe"),
    "xsb": ("xsb-safe", "xsb-unsafe"),
    "ms-xsb": ("ms-xsb-safe", "ms-xsb-unsafe"),
    "polyrefuse": tuple(f"polyrefuse-{code}" for code in POLYREFUSE),
}
"""Benchmarks with prompts of two classes, or in several languages, each measured as a set."""
