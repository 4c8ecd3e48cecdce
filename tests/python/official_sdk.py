"""Events signed by Stripe's official SDK, delivered to a running `tallystick dev`.

Starts the program on free ports and a database that it throws away, delivers a table of events over HTTP, and reads the
balance over gRPC with what server reflection says about the API. Each row also goes to the SDK's own verification, so
that both agree on what is authentic. Prints one line a check; exits 1 when one fails.

Must not know anything of the program but its documented outside: ready line, webhook path, API.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid

import grpc
import stripe
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

START_LIMIT_S = 120
STOP_LIMIT_S = 30
CALL_LIMIT_S = 20
# The service's tolerance, and the SDK's default.
TOLERANCE_S = 300
PACKAGE = "tallystick.credits.v1"

sign = stripe.WebhookSignature.generate_signature_header


class Program:
    """A `tallystick dev` from its ready line to its end."""

    def __init__(self, path: str) -> None:
        free = [flag for role in ("grpc", "edge", "ops") for flag in (f"--{role}-addr", "127.0.0.1:0")]
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("TALLYSTICK_") or name == "TALLYSTICK_POSTGRES_BIN_DIR"
        }
        self.process = subprocess.Popen(
            [path, "dev", "--ephemeral", *free], stdout=subprocess.PIPE, env=environment, text=True
        )
        environment["TALLYSTICK_LOG"] = "warn"
        lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=lambda: lines.put(self.process.stdout.readline()), daemon=True).start()
        try:
            line = lines.get(timeout=START_LIMIT_S)
            self.ready = json.loads(line)
            assert self.ready["ready"] is True, line
        except BaseException:
            self.process.kill()
            raise

    def stop(self) -> int:
        self.process.terminate()
        try:
            return self.process.wait(STOP_LIMIT_S)
        finally:
            self.process.kill()


class Api:
    """CreditService as the running service describes it."""

    def __init__(self, address: str) -> None:
        self.channel = grpc.insecure_channel(address)
        self.pool = DescriptorPool(ProtoReflectionDescriptorDatabase(self.channel))

    def call(self, method: str, **fields: object):
        service = self.pool.FindServiceByName(f"{PACKAGE}.CreditService")
        described = service.FindMethodByName(method)
        request = GetMessageClass(described.input_type)(**fields)
        invoke = self.channel.unary_unary(
            f"/{service.full_name}/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=GetMessageClass(described.output_type).FromString,
        )
        return invoke(request, timeout=CALL_LIMIT_S)

    def balance(self, account: str):
        return self.call("GetBalance", account_id=account).balance


def checkout(account: str, event: str | None = None, session: str | None = None, **changes: object) -> str:
    """The body of a paid `checkout.session.completed` for one `starter` pack; `changes` replace fields of the session."""
    session = session or f"cs_test_{uuid.uuid4().hex}"
    fields = {
        "id": session,
        "object": "checkout.session",
        "amount_subtotal": 1000,
        "amount_total": 1190,
        "currency": "usd",
        "livemode": False,
        "metadata": {"tallystick_account": account, "tallystick_pack": "starter"},
        "mode": "payment",
        "payment_intent": f"pi_{session}",
        "payment_status": "paid",
        "status": "complete",
        "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 190},
    }
    return json.dumps(
        {
            "id": event or f"evt_{uuid.uuid4().hex}",
            "object": "event",
            "api_version": stripe.api_version,
            "created": int(time.time()),
            "data": {"object": {**fields, **changes}},
            "livemode": False,
            "pending_webhooks": 1,
            "request": {"id": None, "idempotency_key": None},
            "type": "checkout.session.completed",
        },
        indent=2,
    )


def post(edge: str, body: str, header: str | None) -> int:
    """The status of a delivery, as Stripe makes it."""
    headers = {"Content-Type": "application/json; charset=utf-8"}
    if header is not None:
        headers["Stripe-Signature"] = header
    request = urllib.request.Request(f"http://{edge}/api/v1/webhooks/stripe", body.encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=CALL_LIMIT_S) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def sdk_accepts(body: str, header: str | None, secret: str) -> bool:
    """Whether the SDK itself takes the delivery for authentic."""
    try:
        stripe.Webhook.construct_event(body, header, secret, tolerance=TOLERANCE_S, api_key="unused")
    except (stripe.SignatureVerificationError, ValueError, IndexError, AttributeError, TypeError):
        return False
    return True


class Checks:
    """Counts what failed; one line each."""

    def __init__(self) -> None:
        self.failed = 0

    def equal(self, name: str, actual: object, expected: object) -> None:
        good = actual == expected
        self.failed += not good
        print(f"{'ok  ' if good else 'FAIL'} {name}" + ("" if good else f": {actual!r}, expected {expected!r}"))


def signatures(checks: Checks, edge: str, api: Api, secret: str) -> None:
    """What the SDK signs is accepted; whatever the SDK itself would refuse is refused."""
    body = checkout("sdk_refused")
    now = int(time.time())
    good = sign(body, secret)
    tag = good.split("v1=")[1]
    rows = [
        ("a changed byte", body.replace("1190", "1191"), good),
        ("a missing byte", body[:-1], good),
        ("another secret", body, sign(body, "whsec_other")),
        ("301 s and more old", body, sign(body, secret, now - TOLERANCE_S - 5)),
        ("a year old", body, sign(body, secret, now - 365 * 86400)),
        ("no header", body, None),
        ("an empty header", body, ""),
        ("no timestamp", body, f"v1={tag}"),
        ("no signature", body, f"t={now}"),
        ("another scheme", body, f"t={now},v0={tag}"),
        ("a timestamp that was not signed", body, f"t={now + 1},v1={tag}"),
        ("a signature cut short", body, good[:-1]),
    ]
    for name, sent, header in rows:
        checks.equal(f"refused: {name}", post(edge, sent, header), 400)
        checks.equal(f"refused by the SDK too: {name}", sdk_accepts(sent, header, secret), False)
    balance = api.balance("sdk_refused")
    checks.equal("nothing of that reached the ledger", (balance.available, balance.version), (0, 0))

    variants = {
        "as the SDK signs it": good,
        "with the legacy scheme beside": f"{good},v0={'0' * 64}",
        "with a signature of another secret first (rotation)": f"t={now},v1={'0' * 64}," + sign(body, secret, now).split(",")[1],
        "almost 300 s old": sign(body, secret, now - TOLERANCE_S + 30),
    }
    for number, (name, header) in enumerate(variants.items()):
        checks.equal(f"accepted: {name}", post(edge, body, header), 200)
        checks.equal(f"accepted by the SDK too: {name}", sdk_accepts(body, header, secret), True)
        balance = api.balance("sdk_refused")
        checks.equal(f"granted once after delivery {number + 1}", (balance.available, balance.version), (1000, 1))

    # The SDK lets events of the future pass; we do not, since nothing honest is signed tomorrow.
    ahead = checkout("sdk_ahead")
    checks.equal("refused: signed 10 minutes ahead", post(edge, ahead, sign(ahead, secret, now + 600)), 400)

    # Text beyond ASCII: both sign the bytes, not the characters.
    body = checkout("sdk_unicode", customer_details={"name": "Žofie 張 🎬 \\u0000", "email": "a@example.com"})
    raw = json.dumps(json.loads(body), ensure_ascii=False)
    checks.equal("accepted: text beyond ASCII", post(edge, raw, sign(raw, secret)), 200)
    checks.equal("granted: text beyond ASCII", api.balance("sdk_unicode").available, 1000)


def purchases(checks: Checks, edge: str, api: Api, secret: str) -> None:
    """Authentic events, and what they are worth."""

    def deliver(name: str, body: str, account: str, expected: int) -> None:
        checks.equal(f"200: {name}", post(edge, body, sign(body, secret)), 200)
        checks.equal(f"{expected} credits: {name}", api.balance(account).available, expected)

    deliver("unpaid session", checkout("sdk_unpaid", payment_status="unpaid"), "sdk_unpaid", 0)
    deliver("subtotal of another price", checkout("sdk_amount", amount_subtotal=1), "sdk_amount", 0)
    deliver("another currency", checkout("sdk_currency", currency="eur"), "sdk_currency", 0)
    unknown = {"tallystick_account": "sdk_pack", "tallystick_pack": "galaxy"}
    deliver("a pack that is not sold", checkout("sdk_pack", metadata=unknown), "sdk_pack", 0)
    deliver("a session of somebody else's", checkout("sdk_foreign", metadata={}), "sdk_foreign", 0)
    deliver("mode subscription", checkout("sdk_mode", mode="subscription"), "sdk_mode", 0)
    deliver("a paid session", checkout("sdk_paid", session="cs_test_sdk_1"), "sdk_paid", 1000)
    deliver("another event of that session", checkout("sdk_paid", session="cs_test_sdk_1"), "sdk_paid", 1000)
    deliver("a second session", checkout("sdk_paid", session="cs_test_sdk_2"), "sdk_paid", 2000)
    other = json.loads(checkout("sdk_type"))
    other["type"] = "customer.created"
    deliver("an event type without a rule", json.dumps(other), "sdk_type", 0)


def calls(checks: Checks, api: Api) -> None:
    """The API as a stranger learns it by reflection."""
    spent = api.call("SpendCredits", account_id="sdk_paid", amount=30, idempotency_key="job_1")
    again = api.call("SpendCredits", account_id="sdk_paid", amount=30, idempotency_key="job_1")
    checks.equal("a spend", (spent.balance.available, spent.replayed), (1970, False))
    checks.equal("the same spend again", (again.balance.available, again.replayed), (1970, True))
    try:
        api.call("SpendCredits", account_id="sdk_paid", amount=5000, idempotency_key="job_2")
        code = grpc.StatusCode.OK
    except grpc.RpcError as error:
        code = error.code()
    checks.equal("a spend beyond the balance", code, grpc.StatusCode.FAILED_PRECONDITION)


def main() -> int:
    checks = Checks()
    program = Program(sys.argv[1])
    try:
        edge, secret = program.ready["edge"], program.ready["webhook_secret"]
        api = Api(program.ready["grpc"])
        signatures(checks, edge, api, secret)
        purchases(checks, edge, api, secret)
        calls(checks, api)
        api.channel.close()
    finally:
        status = program.stop()
    checks.equal("an orderly end", status, 0)
    print(f"{'FAILED: ' + str(checks.failed) if checks.failed else 'all ok'} (stripe {stripe.VERSION})")
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
