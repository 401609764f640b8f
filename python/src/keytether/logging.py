"""A filter that masks secrets in log records.

    logging.basicConfig(level=logging.DEBUG)
    keytether.logging.install()

What is recognised: the secrets that Keytether mints, JWTs and DPoP proofs (so the
headers that carry them), private keys, and the values of code, access_token and
their like in URLs and forms. It is a net below the care of a program, which logs no
secret in the first place.
"""

from __future__ import annotations

import logging
import traceback
from typing import Any, Callable, Dict, List, Optional, Tuple

from ._redact import redact, redact_bytes

__all__ = ["RedactingFilter", "install", "redact"]

_MAX_DEPTH = 8
_LIKE: Dict[Any, Callable[[List[Any]], Any]] = {list: list, tuple: tuple, set: set, frozenset: frozenset}
_SAFE = (int, float, complex, bool, type(None))


class RedactingFilter(logging.Filter):
    """Put it on handlers: a filter on a logger does not see the records of the loggers below it.

    It masks the message as it will be formatted, the arguments, tracebacks and every
    extra field, and it lets every record through.
    """

    def __init__(self) -> None:
        super().__init__()

    def filter(self, record: logging.LogRecord) -> bool:
        """Mask the record in place."""
        _mask_message(record)
        _mask_exception(record)
        for name, value in list(record.__dict__.items()):
            if name not in ("msg", "args", "exc_info", "exc_text"):
                masked = _mask(value, 0)
                if masked is not value:
                    record.__dict__[name] = masked
        return True


def install(logger: Optional[logging.Logger] = None) -> RedactingFilter:
    """Put one filter on every handler of the logger, of all loggers without an argument.

    Call it after logging is set up: a handler that comes later is not covered.
    """
    masks = RedactingFilter()
    if logger is not None:
        loggers = [logger]
    else:
        known = list(logging.Logger.manager.loggerDict.values())
        loggers = [logging.getLogger(), *(one for one in known if isinstance(one, logging.Logger))]
    handlers = [handler for one in loggers for handler in one.handlers]
    if logger is None and logging.lastResort is not None:
        handlers.append(logging.lastResort)
    for handler in handlers:
        if not any(isinstance(f, RedactingFilter) for f in handler.filters):
            handler.addFilter(masks)
    return masks


def _mask_message(record: logging.LogRecord) -> None:
    try:
        # As it will be formatted: "code=%s" shows its secret only then.
        text = record.getMessage()
    except Exception:
        # The handler would print message and arguments with its own error.
        try:
            text = f"{record.msg!s} {record.args!r}"
        except Exception as e:
            text = f"a log record that cannot be shown: {type(e).__name__}"
        record.msg, record.args = redact(text), None
        return
    masked = redact(text)
    if masked != text:
        record.msg, record.args = masked, None
        return
    args: Any = _mask(record.args, 0)
    if args is not record.args:
        record.args = args
    record.msg = _mask(record.msg, 0)


def _mask_exception(record: logging.LogRecord) -> None:
    if record.exc_text:
        record.exc_text = redact(record.exc_text)
    if not isinstance(record.exc_info, tuple):
        return
    text = "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")
    masked = redact(text)
    if masked != text:
        # A formatter takes exc_text as it is. The exception itself would tell all again.
        record.exc_text, record.exc_info = masked, None


def _mask(value: Any, depth: int) -> Any:
    """value itself if there is no secret in it."""
    if isinstance(value, _SAFE):
        return value
    if isinstance(value, str):
        masked = redact(value)
        return masked if masked != value else value
    if isinstance(value, (bytes, bytearray)):
        data = bytes(value)
        masked_data = redact_bytes(data)
        return masked_data if masked_data != data else value
    if depth < _MAX_DEPTH:
        if isinstance(value, dict):
            return _mask_dict(value, depth)
        if type(value) in _LIKE:
            items = list(value)
            masked_items = [_mask(v, depth + 1) for v in items]
            if all(a is b for a, b in zip(items, masked_items)):
                return value
            return _LIKE[type(value)](masked_items)
    return _mask_object(value)


def _mask_dict(value: Any, depth: int) -> Any:
    masked = {_mask(k, depth + 1): _mask(v, depth + 1) for k, v in value.items()}
    same = len(masked) == len(value) and all(a is b for a, b in zip(value, masked)) and all(value[k] is masked[k] for k in value)
    return value if same else masked


def _mask_object(value: Any) -> Any:
    """Anything else is replaced by its text, if a formatter would show a secret by it."""
    shows: Tuple[Callable[[Any], str], ...] = (str, repr)
    for show in shows:
        try:
            text = show(value)
        except Exception:
            continue
        masked = redact(text)
        if masked != text:
            return masked
    return value
