"""Stripe, as far as a webhook endpoint sees it: signed events at a steady rate, sent again until they are answered 200.

Must not know: the service behind the URL, what it does with an event.
"""

import hashlib
import hmac
import http.client
import json
import queue
import threading
import time
import urllib.parse
import uuid

# Stripe waits hours between tries; a bench asks whether the second try heals.
RETRY_S = 1.0
MOST_TRIES = 20
TIMEOUT_S = 10
# Enough that an answer of a second delays no event at 20 a second.
SENDERS = 24


def event(account):
    """A paid checkout of one `starter` pack: the fields that matter of Stripe's own."""
    name = uuid.uuid4().hex
    now = int(time.time())
    session = {"id": f"cs_test_{name}", "object": "checkout.session", "amount_subtotal": 1000, "amount_total": 1000,
               "created": now, "currency": "usd", "livemode": False, "mode": "payment", "status": "complete",
               "payment_status": "paid", "payment_intent": f"pi_{name}", "customer": None,
               "metadata": {"tallystick_account": account, "tallystick_pack": "starter", "tallystick_quantity": "1"}}
    body = {"id": f"evt_{name}", "object": "event", "api_version": "2025-03-31.basil", "created": now,
            "data": {"object": session}, "livemode": False, "pending_webhooks": 1,
            "request": {"id": None, "idempotency_key": None}, "type": "checkout.session.completed"}
    return json.dumps(body, indent=2).encode()


def signature(body, secret):
    """The Stripe-Signature header: HMAC-SHA256 over time and body (Stripe, "Verify webhook signatures manually")."""
    now = int(time.time())
    digest = hmac.new(secret.encode(), f"{now}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={now},v1={digest}"


class Sender:
    """Sends `rate` events a second from a `with` block's begin to `stop()`, which waits for the retries."""

    def __init__(self, url, secret, rate, account="stripe_buyer"):
        self.url, self.secret, self.rate, self.account = urllib.parse.urlsplit(url), secret, rate, account
        self.sent, self.answers, self.healed, self.lost = 0, {}, 0, 0
        self.times_us, self.lock = [], threading.Lock()
        self.work, self.stopping = queue.Queue(), threading.Event()
        self.threads = [threading.Thread(target=self._send, daemon=True) for _ in range(SENDERS)]
        self.clock = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self):
        for thread in [*self.threads, self.clock]:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()

    def _tick(self):
        begin = time.monotonic()
        while not self.stopping.wait(max(0.0, begin + self.sent / self.rate - time.monotonic())):
            self.work.put(time.monotonic())
            self.sent += 1
        for _ in self.threads:
            self.work.put(None)

    def _send(self):
        while (due := self.work.get()) is not None:
            body = event(self.account)
            for attempt in range(MOST_TRIES):
                status = self._post(body)
                with self.lock:
                    if attempt == 0:
                        self.answers[status] = self.answers.get(status, 0) + 1
                        self.times_us.append(round((time.monotonic() - due) * 1e6))
                    elif status == "200":
                        self.healed += 1
                if status == "200":
                    break
                time.sleep(RETRY_S)
            else:
                with self.lock:
                    self.lost += 1

    def _post(self, body):
        connection = http.client.HTTPConnection(self.url.hostname, self.url.port, timeout=TIMEOUT_S)
        try:
            connection.request("POST", self.url.path, body, {"Content-Type": "application/json",
                                                             "Stripe-Signature": signature(body, self.secret)})
            return str(connection.getresponse().status)
        except (OSError, http.client.HTTPException) as error:
            return type(error).__name__
        finally:
            connection.close()

    def stop(self):
        """Sends nothing new, waits for the retries, and says what became of the events."""
        self.stopping.set()
        for thread in self.threads:
            thread.join(MOST_TRIES * (RETRY_S + TIMEOUT_S))
        return {"sent": self.sent, "first_answers": self.answers, "healed_by_retry": self.healed, "lost": self.lost,
                "first_answer_us": self.times_us}
