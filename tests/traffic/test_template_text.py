"""Conversations in the text of chat templates, as these write it: system prompt, earlier turns, and the request."""

from __future__ import annotations

import pytest

from prosafeprune.traffic.log_formats import UnreadableEntryError
from prosafeprune.traffic.template_text import read_template

ASKED = "How do I kill a process?"
CHATML = (
    "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHow do I kill a process?<|im_end|>\n"
    "<|im_start|>assistant\n"
)
HARMONY_SYSTEM = (
    "<|start|>system<|message|>You are ChatGPT, a large language model trained by OpenAI.\nKnowledge cutoff: 2024-06\n"
    "Current date: 2026-11-28\n\nReasoning: medium\n\n"
    "# Valid channels: analysis, commentary, final. Channel must be included for every message.<|end|>"
)
TOOLS = "# Tools\n\n## functions\n\nnamespace functions {\n\ntype ps = () => any;\n\n} // namespace functions"
SINGLE = {
    "ChatML": CHATML,
    "Phi-4": "<|im_start|>system<|im_sep|>Be brief.<|im_end|>"
    "<|im_start|>user<|im_sep|>How do I kill a process?<|im_end|>"
    "<|im_start|>assistant<|im_sep|>",
    "Llama 3": "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nHow do I kill a process?<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n",
    "Llama 3.1": "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n"
    "Cutting Knowledge Date: December 2023\n"
    "Today Date: 26 Jul 2024\n\nBe brief.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
    "How do I kill a process?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
    "Llama 4": "<|begin_of_text|><|header_start|>system<|header_end|>\n\nBe brief.<|eot|>"
    "<|header_start|>user<|header_end|>"
    "\n\nHow do I kill a process?<|eot|><|header_start|>assistant<|header_end|>\n\n",
    "Gemma": "<bos><start_of_turn>system\nBe brief.<end_of_turn>\n<start_of_turn>user\nHow do I kill a process?"
    "<end_of_turn>\n<start_of_turn>model\n",
    "Gemma 4": "<bos><|turn>system\nBe brief.<turn|>\n<|turn>user\nHow do I kill a process?<turn|>\n<|turn>model\n",
    "Gemma 4, no thinking": "<bos><|turn>system\nBe brief.<turn|>\n<|turn>user\nHow do I kill a process?<turn|>\n"
    "<|turn>model\n<|channel>thought\n<channel|>",
    "Gemma 4, thinking and tools": "<bos><|turn>system\n<|think|>\nBe brief.<|tool>declaration:ps{}<tool|><turn|>\n"
    "<|turn>user\nHow do I kill a process?<turn|>\n<|turn>model\n",
    "Phi-3": "<|system|>\nBe brief.<|end|>\n<|user|>\nHow do I kill a process?<|end|>\n<|assistant|>\n",
    "GLM-4": "[gMASK]<sop><|system|>\nBe brief.<|user|>\nHow do I kill a process?<|assistant|>\n<think>",
    "Granite": "<|start_of_role|>system<|end_of_role|>Be brief.<|end_of_text|>\n<|start_of_role|>user<|end_of_role|>"
    "How do I kill a process?<|end_of_text|>\n<|start_of_role|>assistant<|end_of_role|>",
    "Granite, with documents and a control": "<|start_of_role|>system<|end_of_role|>Be brief.<|end_of_text|>\n"
    '<|start_of_role|>document {"document_id": "1"}<|end_of_role|>\nMan pages.<|end_of_text|>\n<|start_of_role|>user'
    "<|end_of_role|>How do I kill a process?<|end_of_text|>\n"
    '<|start_of_role|>assistant {"length": "short"}<|end_of_role|>',
    "Harmony": f"{HARMONY_SYSTEM}<|start|>developer<|message|># Instructions\n\nBe brief.\n\n<|end|>"
    "<|start|>user<|message|>How do I kill a process?<|end|><|start|>assistant",
    "Harmony, with tools": f"{HARMONY_SYSTEM}<|start|>developer<|message|># Instructions\n\nBe brief.\n\n{TOOLS}<|end|>"
    "<|start|>user<|message|>How do I kill a process?<|end|><|start|>assistant<|channel|>final<|message|>",
    "Harmony, instructions in the system message": HARMONY_SYSTEM.replace(
        "You are ChatGPT, a large language model trained by OpenAI.", "Be brief."
    )
    + "<|start|>user<|message|>How do I kill a process?<|end|><|start|>assistant<|channel|>analysis<|message|>",
    "DeepSeek": "<｜begin▁of▁sentence｜>Be brief.<｜User｜>How do I kill a process?<｜Assistant｜>",
    "DeepSeek-R1": "<｜begin▁of▁sentence｜>Be brief.<｜User｜>How do I kill a process?<｜Assistant｜><think>\n",
    "DeepSeek-V3.1": "<｜begin▁of▁sentence｜>Be brief.<｜User｜>How do I kill a process?<｜Assistant｜></think>",
    "Llama 2": "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHow do I kill a process? [/INST]",
    "Mistral": "<s>[SYSTEM_PROMPT]Be brief.[/SYSTEM_PROMPT][INST]How do I kill a process?[/INST]",
    "Mistral, with tools": "<s>[SYSTEM_PROMPT]Be brief.[/SYSTEM_PROMPT][AVAILABLE_TOOLS] [{}][/AVAILABLE_TOOLS]"
    "[INST]How do I kill a process?[/INST]",
}
SEVERAL = {
    "ChatML": CHATML.replace(
        f"<|im_start|>user\n{ASKED}",
        f"<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\nHi.<|im_end|>\n<|im_start|>user\n{ASKED}",
    ),
    "Llama 4, with a tool": "<|begin_of_text|><|header_start|>system<|header_end|>\n\nBe brief.<|eot|>"
    "<|header_start|>user<|header_end|>\n\nHello<|eot|><|header_start|>ipython<|header_end|>\n\n{}<|eot|>"
    "<|header_start|>assistant<|header_end|>\n\nHi.<|eot|><|header_start|>user<|header_end|>\n\n"
    "How do I kill a process?<|eot|><|header_start|>assistant<|header_end|>\n\n",
    "Gemma 4, with a tool": "<bos><|turn>system\nBe brief.<turn|>\n<|turn>user\nHello<turn|>\n<|turn>model\n"
    '<|channel>thought\nHm.\n<channel|><|tool_call>call:ps{}<tool_call|><|tool_response>response:ps{value:<|"|>1<|"|>}'
    "<tool_response|>Hi.<turn|>\n<|turn>user\nHow do I kill a process?<turn|>\n<|turn>model\n",
    "Granite": "<|start_of_role|>system<|end_of_role|>Be brief.<|end_of_text|>\n"
    "<|start_of_role|>user<|end_of_role|>Hello"
    "<|end_of_text|>\n<|start_of_role|>assistant<|end_of_role|>Hi.<|end_of_text|>\n<|start_of_role|>user"
    "<|end_of_role|>How do I kill a process?<|end_of_text|>\n<|start_of_role|>assistant<|end_of_role|>",
    "Harmony, with thoughts and tools": f"{HARMONY_SYSTEM}"
    "<|start|>developer<|message|># Instructions\n\nBe brief.<|end|>"
    "<|start|>user<|message|>Hello<|end|><|start|>assistant<|channel|>analysis<|message|>A greeting.<|end|>"
    "<|start|>assistant to=functions.ps<|channel|>commentary json<|message|>{}<|call|>"
    "<|start|>assistant<|channel|>commentary to=functions.ps <|constrain|>json<|message|>{}<|call|>"
    '<|start|>functions.ps to=assistant<|channel|>commentary<|message|>"1"<|end|>'
    "<|start|>assistant<|channel|>final<|message|>Hi.<|end|><|start|>user<|message|>How do I kill a process?<|end|>"
    "<|start|>assistant",
    "DeepSeek-V3.1": "<｜begin▁of▁sentence｜>Be brief."
    "<｜User｜>Hello<｜Assistant｜></think>Hi.<｜end▁of▁sentence｜><｜User｜>"
    "How do I kill a process?<｜Assistant｜></think>",
    "DeepSeek-R1, with a tool": "<｜begin▁of▁sentence｜>Be brief.<｜User｜>Hello<｜Assistant｜><｜tool▁calls▁begin｜>"
    "<｜tool▁call▁begin｜>ps<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜><｜end▁of▁sentence｜><｜tool▁outputs▁begin｜>"
    "<｜tool▁output▁begin｜>1<｜tool▁output▁end｜><｜tool▁outputs▁end｜>Hi.<｜end▁of▁sentence｜><｜User｜>"
    "How do I kill a process?<｜Assistant｜><think>\n",
    "Mistral, with a tool": "<s>[SYSTEM_PROMPT]Be brief.[/SYSTEM_PROMPT][INST]Hello[/INST][TOOL_CALLS] [{}]</s>"
    '[TOOL_RESULTS] {"content": 1}[/TOOL_RESULTS]Hi.</s>[INST]How do I kill a process?[/INST]',
}


def said(text: str) -> list[tuple[str, str]]:
    return [one for one in read_template(text) if one[1]]


@pytest.mark.parametrize("name", SINGLE)
def test_a_request_with_its_system_prompt(name: str) -> None:
    assert said(SINGLE[name]) == [("system", "Be brief."), ("user", ASKED)]


@pytest.mark.parametrize("name", SEVERAL)
def test_earlier_turns_without_thoughts_and_tools(name: str) -> None:
    assert said(SEVERAL[name]) == [("system", "Be brief."), ("user", "Hello"), ("assistant", "Hi."), ("user", ASKED)]


@pytest.mark.parametrize(
    "text",
    [
        f"{HARMONY_SYSTEM}<|start|>user<|message|>{ASKED}<|end|><|start|>assistant",
        f"{HARMONY_SYSTEM}<|start|>developer<|message|>{TOOLS}<|end|><|start|>user<|message|>{ASKED}<|end|><|start|>assistant",
        f"<｜begin▁of▁sentence｜><｜User｜>{ASKED}<｜Assistant｜>",
        f"<s>[INST]{ASKED}[/INST]",
    ],
)
def test_what_a_template_writes_by_itself_is_no_system_prompt(text: str) -> None:
    assert said(text) == [("user", ASKED)]


@pytest.mark.parametrize("opening", ["<think>\n", "<think>\n\n</think>\n\n", "Sure"])
def test_the_opening_of_an_answer_is_no_turn(opening: str) -> None:
    assert read_template(CHATML + opening)[-1] == ("user", ASKED)


@pytest.mark.parametrize(
    "mark", ["<|im_start|>user\nHi<|im_end|>", "[INST] Hi [/INST]", "<|user|>Hi", "<|start|>user<|message|>"]
)
def test_marks_of_another_template_in_a_request_are_its_text(mark: str) -> None:
    text = f"<|header_start|>user<|header_end|>\n\nExplain {mark}<|eot|><|header_start|>assistant<|header_end|>\n\n"
    assert said(text) == [("user", f"Explain {mark}")]


def test_a_heading_of_a_user_is_kept() -> None:
    """Only what a template adds to messages of others is taken out."""
    text = f"{HARMONY_SYSTEM}<|start|>user<|message|># Instructions\n\nCurrent date: today<|end|><|start|>assistant"
    assert said(text) == [("user", "# Instructions\n\nCurrent date: today")]


def test_turns_between_marks_of_instructions() -> None:
    text = "<s>[INST] One [INST] more [/INST] Two [/INST] yes</s>[INST] Three [/INST]"
    assert read_template(text) == [
        *(("user", "One [INST] more"), ("assistant", "Two [/INST] yes"), ("user", "Three"), ("assistant", "")),
    ]


def test_a_text_without_marks_follows_no_template() -> None:
    with pytest.raises(UnreadableEntryError, match="no chat template"):
        read_template("Hello")
