"""The door that every implementation has for test vectors: one JSON request per line in, one answer per line out.

    python -m protocol.door

    -> {"id": 7, "operation": "canonicalize", "input": {...}, "shared": {...}}
    <- {"id": 7, "output": {...}}
       {"id": 7, "error": {"code": "err_0.1.3", "reason": "free words"}}
       {"id": 7, "unsupported": true}

This is the package's own door, through which it passes its own vectors as anybody else's program would. A refusal
is an answer. A mistake of ours is not: it ends the process with a traceback. Requests come from a tester, not from a
peer, and are not checked here.
"""

from __future__ import annotations

import json
import sys
from typing import TextIO

from protocol import channel_steps, operations, reception, recovery_witness, scenario_steps, witness
from protocol.errors import Misuse, Refused
from protocol.objects import Json

OPERATIONS: dict[str, operations.Operation] = {
    **operations.OPERATIONS,
    **witness.OPERATIONS,
    **reception.OPERATIONS,
    **recovery_witness.OPERATIONS,
    **scenario_steps.OPERATIONS,
    **channel_steps.OPERATIONS,
}


def answer(request: Json) -> Json:
    """The answer to one request."""
    operation = OPERATIONS.get(request["operation"])
    if operation is None:
        return {"id": request["id"], "unsupported": True}
    try:
        return {"id": request["id"], "output": operation(request["input"], request.get("shared", {}))}
    except Refused as refusal:
        return {"id": request["id"], "error": {"code": refusal.code, "reason": refusal.in_words()}}
    except Misuse as misuse:
        return {"id": request["id"], "error": {"code": "", "reason": str(misuse)}}


def serve(requests: TextIO, answers: TextIO) -> None:
    """Until the requests end. Each answer is flushed: whoever asks may wait for it."""
    for line in requests:
        answers.write(json.dumps(answer(json.loads(line))) + "\n")
        answers.flush()


if __name__ == "__main__":
    serve(sys.stdin, sys.stdout)
