"""A plan in words."""

from __future__ import annotations

from prosafeprune.method.plan import Plan, Pooling, Projection

POOLED = {
    Pooling.SEQUENCE: "over all tokens of a prompt, the template's too",
    Pooling.TAIL: "from the user's first word to the end of the prompt",
    Pooling.USER: "over the user's own words",
    Pooling.LAST: "none, the last token alone",
}
READ = {
    Projection.ORTHOGONAL: "the paper's",
    Projection.OBLIQUE: "leaves harmful and benign outputs as they are, as far as can be",
    Projection.CONTRASTIVE: "strengthens harmful outputs by half of what pseudo-harmful ones lose",
}


def plan_facts(plan: Plan) -> list[tuple[str, str]]:
    """Return names and values of all that a plan says."""
    strengths = [f"{plan.strength_of(layer):g}" for layer in plan.layers]
    alike = len(set(strengths)) == 1
    return [
        ("layers, counted from 0", ", ".join(map(str, plan.layers))),
        ("strength λ" + ("" if alike else ", by layer"), strengths[0] if alike else ", ".join(strengths)),
        ("rank of each subspace", str(plan.rank)),
        ("pooling of activations", f"{plan.pooling.value}: {POOLED[plan.pooling]}"),
        ("projection", f"{plan.projection.value}: {READ[plan.projection]}"),
    ]
