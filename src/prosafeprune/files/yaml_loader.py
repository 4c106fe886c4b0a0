"""A loader of YAML that leaves as text what PyYAML, which reads YAML 1.1, takes for something else."""

import re
from typing import Any, ClassVar

import yaml


class TextKeepingLoader(yaml.SafeLoader):
    """A safe loader in which plain scalars that match ``kept_as_text`` as a whole are texts."""

    kept_as_text: ClassVar[re.Pattern[str]]

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> Any:
        """Return the tag of a node; ``implicit`` says whether it is a plain scalar."""
        if kind is yaml.ScalarNode and implicit[0] and self.kept_as_text.fullmatch(value):
            return self.DEFAULT_SCALAR_TAG
        return super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]  # PyYAML's stubs do not type it
