"""YAML without aliases, which could unfold without end. Apart, so that only an import loads the library."""

from __future__ import annotations

from typing import Any

import yaml

from heldard.plugin import InvalidError


class _PlainLoader(yaml.SafeLoader):
    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not read: write the value out")
        return super().compose_node(parent, index)


def load(text: str) -> Any:
    """The document. Raises InvalidError for anything else, and for one that is nested too deep."""
    try:
        return yaml.load(text, _PlainLoader)  # noqa: S506 - a SafeLoader, without aliases
    except RecursionError:
        raise InvalidError("config: is nested too deep", code="bad_yaml") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # the latter for dates and numbers that are none
        raise InvalidError(f"config: is not YAML: {error}", code="bad_yaml") from None
