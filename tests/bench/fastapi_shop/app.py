"""The same job as the edge and the credits service do for a paid checkout, as a shop would write it by itself: FastAPI,
Stripe's official SDK, SQLAlchemy. Written for the comparison in ../webhooks, and written well: async, SQLAlchemy Core,
one transaction, one pool a worker, prepared statements cached by the driver.

SHOP_DATABASE_URL: postgresql+asyncpg://…; SHOP_WEBHOOK_SECRET; SHOP_POOL: connections of each worker.
"""

import os
import uuid

import stripe
from fastapi import FastAPI, Request, Response
from sqlalchemy import BigInteger, Column, LargeBinary, MetaData, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import create_async_engine

PACKS = {"starter": (1000, 1000, "usd")}  # credits, price in minor units, currency

metadata = MetaData()
events = Table("webhook_events", metadata, Column("event_id", Text, primary_key=True), Column("type", Text),
               Column("body", LargeBinary))
balances = Table("balances", metadata, Column("account_id", Text, primary_key=True), Column("available", BigInteger),
                 Column("version", BigInteger))
lots = Table("lots", metadata, Column("lot_id", Uuid, primary_key=True), Column("account_id", Text),
             Column("session_id", Text), Column("amount", BigInteger), Column("remaining", BigInteger),
             Column("currency", Text), Column("paid_minor_units", BigInteger))
journal = Table("journal", metadata, Column("account_id", Text, primary_key=True),
                Column("version", BigInteger, primary_key=True), Column("lot_id", Uuid), Column("delta", BigInteger),
                Column("available", BigInteger), Column("reference", Text))
outbox = Table("outbox", metadata, Column("seq", BigInteger, primary_key=True), Column("account_id", Text),
               Column("version", BigInteger), Column("event", JSONB))

engine = create_async_engine(os.environ["SHOP_DATABASE_URL"], pool_size=int(os.environ.get("SHOP_POOL", "16")),
                             max_overflow=0, pool_pre_ping=False)
secret = os.environ["SHOP_WEBHOOK_SECRET"]
app = FastAPI(openapi_url=None)


@app.get("/healthz")
async def healthz():
    return Response()


@app.post("/api/v1/webhooks/stripe")
async def webhook(request: Request):
    body = await request.body()
    try:
        event = stripe.Webhook.construct_event(body, request.headers.get("stripe-signature", ""), secret)
    except (ValueError, stripe.SignatureVerificationError):
        return Response(status_code=400)
    if event.type != "checkout.session.completed" or event.data.object.payment_status != "paid":
        return Response()
    session = event.data.object
    account = session.metadata["tallystick_account"]
    quantity = int(session.metadata["tallystick_quantity"] if "tallystick_quantity" in session.metadata else 1)
    each, price, currency = PACKS[session.metadata["tallystick_pack"]]
    if (session.amount_subtotal, session.currency) != (price * quantity, currency):
        return Response(status_code=422)
    await grant(event, body, session, account, each * quantity)
    return Response()


async def grant(event, body, session, account, amount):
    """One transaction: inbox, balance, lot, journal, outbox. An event or session that is known changes nothing."""
    async with engine.begin() as tx:
        known = await tx.execute(insert(events).values(event_id=event.id, type=event.type, body=body)
                                 .on_conflict_do_nothing().returning(events.c.event_id))
        if known.first() is None:
            return
        # Locks the balance too: versions of an account are dense.
        upsert = insert(balances).values(account_id=account, available=amount, version=1)
        upsert = upsert.on_conflict_do_update(
            index_elements=[balances.c.account_id],
            set_={"available": balances.c.available + amount, "version": balances.c.version + 1},
        ).returning(balances.c.available, balances.c.version)
        available, version = (await tx.execute(upsert)).one()
        lot = uuid.uuid4()
        made = await tx.execute(insert(lots).values(
            lot_id=lot, account_id=account, session_id=session.id, amount=amount, remaining=amount,
            currency=session.currency, paid_minor_units=session.amount_total,
        ).on_conflict_do_nothing(index_elements=[lots.c.session_id]).returning(lots.c.lot_id))
        if made.first() is None:
            # Another event of the same session: undo the balance, keep the event in the inbox.
            undo = {"available": balances.c.available - amount, "version": balances.c.version - 1}
            await tx.execute(balances.update().where(balances.c.account_id == account).values(undo))
            return
        await tx.execute(insert(journal).values(account_id=account, version=version, lot_id=lot, delta=amount,
                                                available=available, reference=session.id))
        await tx.execute(insert(outbox).values(account_id=account, version=version, event={
            "account": account, "version": version, "delta": amount, "available": available,
            "reference": session.id, "lot": str(lot)}))
