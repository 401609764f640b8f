"""Does all that the guide shows: ISSUER, and the folder of the examples with their resource put in."""

from __future__ import annotations

import asyncio
import contextlib
import io
import runpy
import sys

issuer, folder = sys.argv[1:]
sys.path.insert(0, folder)
import more  # noqa: E402

import keytether  # noqa: E402

out = io.StringIO()
with contextlib.redirect_stdout(sys.stderr):
    more.when_nobody_is_logged_in(issuer)
    more.when_nobody_is_logged_in(issuer)
    keytether.logout()
    more.with_own_words(issuer)
with contextlib.redirect_stdout(out):
    runpy.run_path(folder + "/quickstart.py")
    print(more.with_httpx())
    print(*asyncio.run(more.with_asyncio()))
    more.a_program_that_can_only_take_a_token()
    log = io.StringIO()
    with contextlib.redirect_stderr(log):
        more.a_log_without_secrets()
assert out.getvalue().count('"reports":') == 12, out.getvalue()
assert "access_token=[redacted]" in out.getvalue()
assert "/callback?code=[redacted]" in log.getvalue() and "c0de" not in log.getvalue(), log.getvalue()
with contextlib.redirect_stderr(out):
    assert more.what_went_wrong() == 4
assert "is outside the resource" in out.getvalue()
