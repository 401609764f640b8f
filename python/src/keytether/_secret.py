from __future__ import annotations

import hmac
from typing import Any, Dict, NoReturn

REDACTED = "[redacted]"


class Secret:
    """A token or a proof. It redacts itself wherever Python prints a value.

    Only reveal() gives it away. It is no str, so that json, "+" and join refuse
    it, and it cannot be pickled: the other process asks the agent itself.
    """

    __slots__ = ("__value",)

    def __init__(self, value: str) -> None:
        object.__setattr__(self, "_Secret__value", value)

    def reveal(self) -> str:
        """The value. Call it where the value leaves for its API, nowhere else."""
        value: str = getattr(self, "_Secret__value")
        return value

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a Secret does not change")

    def __repr__(self) -> str:
        return REDACTED

    def __str__(self) -> str:
        return REDACTED

    def __format__(self, spec: str) -> str:
        return REDACTED

    def __bool__(self) -> bool:
        return self.reveal() != ""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self.reveal().encode(), other.reveal().encode())

    __hash__ = None  # type: ignore[assignment]

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: Dict[int, Any]) -> Secret:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a Secret cannot be pickled; ask for a token in the process that needs it")
