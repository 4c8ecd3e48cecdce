-- The life of the inbox, and Stripe events that move money beyond the checkout. Everything is added beside what the
-- version before uses, so it may serve while this runs.

-- Retention: bodies are found by their own age, so that the walk passes none that are gone.
alter table stripe_event_bodies add column stored_at timestamptz not null default now();
update stripe_event_bodies b set stored_at = e.received_at from stripe_events e where e.event_id = b.event_id;
create index stripe_event_bodies_stored on stripe_event_bodies (stored_at);

-- What is parked (3) or given up (4), by age: for the inbox's levels and for operators' lists.
create index stripe_events_unresolved on stripe_events (received_at, event_id) where state in (3, 4);
-- All events by age, for operators' lists; in place of the index on the time alone.
create index stripe_events_by_age on stripe_events (received_at, event_id);
drop index stripe_events_received;
-- The keys of an event that is resolved, for their removal.
create index stripe_event_waits_event on stripe_event_waits (event_id);
