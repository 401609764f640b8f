from __future__ import annotations

import io
import json
import logging
import random
import string
import zlib
from typing import Any, Dict, List

import pytest

import keytether.logging
from keytether.logging import RedactingFilter, redact

HEADER = "eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCJ9"
JWT = HEADER + ".eyJpc3MiOiJodHRwczovL2F1dGgudGVzdCJ9.MEUCIQDx-_A"
OPAQUE = "Zm9vYmFyYmF6cXV4MTIzNDU2Nzg5MDEyMzQ1Njc4OTA"
PEM = "-----BEGIN PRIVATE KEY-----\n" + OPAQUE + "\n-----END PRIVATE KEY-----"
BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase


def minted(kind: str, rnd: random.Random) -> str:
    head = kind + "".join(rnd.choice(BASE62) for _ in range(92 if kind == "ktr_" else 43))
    total, tail = zlib.crc32(head.encode()), ""
    for _ in range(6):
        tail = BASE62[total % 62] + tail
        total //= 62
    return head + tail


class Everything(logging.Formatter):
    """Shows all that a record has, as a JSON formatter does."""

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record) + json.dumps(record.__dict__, default=repr)


@pytest.fixture
def log() -> Any:
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(Everything("%(message)s"))
    handler.addFilter(RedactingFilter())
    logger = logging.Logger("test")
    logger.addHandler(handler)
    return logger, out


class Thing:
    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return f"<Thing {self.text}>"

    def __str__(self) -> str:
        return "a thing"


class Broken:
    def __str__(self) -> str:
        raise RuntimeError("no")


def test_nothing_survives_anywhere_in_a_record(log: Any, capsys: Any) -> None:
    logger, out = log
    refresh = minted("ktr_", random.Random(1))
    secrets = [refresh, JWT, OPAQUE]
    text = f"{refresh} {JWT} /cb?code={OPAQUE} {PEM}"
    deep = {"a": [("b", {"c": text.encode()})], text: 1}
    logger.info(text)
    logger.info("%s %r %d", text, Thing(text), 5)
    logger.info("GET /cb?code=%s", OPAQUE)  # a secret only when it is formatted
    logger.info("%(a)s", {"a": text})
    logger.info("clean", extra={"text": text, "deep": deep, "thing": Thing(text), "set": {text}, "error": ValueError(text)})
    logger.info(Thing(text))
    logger.info("%d is wrong", text)  # arguments that do not fit
    logger.info(text, Broken())
    try:
        try:
            raise ValueError(text)
        except ValueError as e:
            raise RuntimeError("outer " + JWT) from e
    except RuntimeError:
        logger.exception("failed")
        logger.info("and", exc_info=True, stack_info=True)
    got = out.getvalue() + capsys.readouterr().err  # where a handler tells of its own failures
    for s in secrets:
        assert s not in got, got
    assert got.count("[redacted]") > 20
    assert "RuntimeError" in got and "clean" in got


def test_the_rest_is_left_alone() -> None:
    args = (1, "b", [1, 2], {"c": Thing("x")}, None)
    record = logging.LogRecord("n", logging.INFO, "p", 1, "%s %s %s %s %s", args, None)
    record.extra = args
    try:
        raise ValueError("plain")
    except ValueError:
        import sys

        record.exc_info = sys.exc_info()
    before: Dict[str, Any] = dict(record.__dict__)
    assert RedactingFilter().filter(record)
    assert all(record.__dict__[k] is v for k, v in before.items())


def test_no_secret_survives_whatever_is_around() -> None:
    rnd = random.Random(20)
    between = [" ", "\n", "k ", "-----BEGIN ", '{"code":"', "exit code=1 ", "eyJ ktr_ ", "code_verifier ", "e kt <", "é"]
    for _ in range(2000):
        text, cores = "", []
        for _ in range(rnd.randint(1, 4)):
            core = "".join(rnd.choice(BASE62 + "-_") for _ in range(43))
            kind = rnd.randrange(5)
            if kind == 0:
                whole = minted(rnd.choice(["ktr_", "ktc_", "ktd_", "ktu_", "kts_", "kti_"]), rnd)
                core = whole[4:]
            elif kind == 1:
                whole = f"{HEADER}.{core}.{core}"
            elif kind == 2:
                whole = f"-----BEGIN PRIVATE KEY-----\n{core}\n-----END PRIVATE KEY-----"
            elif kind == 3:
                core = core[:8]
                whole = "?code=" + core
            else:
                whole = rnd.choice(["code", "device_code", "access_token", "refresh_token", "code_verifier"]) + "=" + core
            text += rnd.choice(between) + whole
            cores.append(core)
        masked = redact(text)
        for core in cores:
            assert core not in masked, text
        assert redact(masked) == masked
        assert redact(masked.encode().decode("latin-1")).encode("latin-1") == masked.encode()


def test_install_covers_every_handler_once() -> None:
    root, own = logging.getLogger(), logging.getLogger("keytether.test")
    handlers: List[logging.Handler] = [logging.NullHandler(), logging.NullHandler()]
    root.addHandler(handlers[0])
    own.addHandler(handlers[1])
    last = logging.lastResort
    assert last is not None
    try:
        keytether.logging.install()
        keytether.logging.install()
        for handler in (*handlers, last):
            assert sum(isinstance(f, RedactingFilter) for f in handler.filters) == 1
    finally:
        root.removeHandler(handlers[0])
        own.removeHandler(handlers[1])
        last.filters.clear()


class Broken:
    def __repr__(self) -> str:
        raise ValueError(JWT)


@pytest.mark.parametrize("message, args", [("%s", (Broken(),)), ("%d %s", (Broken(),)), (Broken(), ())])
def test_what_cannot_be_shown_does_not_stop_the_program(log: Any, message: Any, args: Any, capsys: Any) -> None:
    logger, out = log
    logger.warning(message, *args)
    shown = out.getvalue() + capsys.readouterr().err
    assert "cannot be shown: ValueError" in shown and JWT not in shown
