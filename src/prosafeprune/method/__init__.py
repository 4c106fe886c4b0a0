"""The paper, section 3: activations, subspaces, the overlap operator, the plan, the edit."""
