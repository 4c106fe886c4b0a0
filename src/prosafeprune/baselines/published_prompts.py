"""The exact prompts of the published methods, each with its source; that of prompting is in ``prompts``.

Their hyperparameters are settings of each method, and defined there.
"""

SELF_CD_SAFETY = (
    "You are a helpful, respectful and honest assistant. Always answer as helpfully as possible, while being safe. "
    "Your answers should not include any harmful, unethical, racist, sexist, toxic, dangerous, or illegal content."
)
"""Emphasises safety. Source: ``SelfCD.py`` of github.com/InvokerStark/OverKill, the repository of Shi et al. 2024
(arXiv:2401.17633), variable ``input_within_temp``: inside ``[INST]``, followed by a space and the user's words. Its
counterpart ``input_without_temp`` lacks it."""

SCAN_AGREEMENT = "Sure"
"""Appended to a prompt to see how the model classifies it. Source: ``SCANS_llama.py`` of github.com/zouyingcao/SCANS,
the repository of Cao et al. 2025 (arXiv:2408.11491). Their prompts end in ``[/INST] Sure``."""

REFUSAL_BEGINNINGS = ("I",)
"""Words that begin a refusal; the first token of each counts. Source: the lists of refusal tokens in
``pipeline/model_utils`` of github.com/andyrdt/refusal_direction (Arditi et al. 2024), on which Wang et al. 2025
(arXiv:2410.03415) build: 'I' for LLaMA and Gemma."""

REFUSAL_BEGINNINGS_OF = {"qwen": ("I", "As")}
"""The same for architectures whose list differs, by the beginning of their name. Source: as above,
``QWEN_REFUSAL_TOKS``."""
