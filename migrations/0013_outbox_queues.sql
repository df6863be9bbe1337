-- Settles and cancels of one operator are queues of their own, and none is read for the sake of another. The kind is a number, because
-- PostgreSQL rewrites "= false" into a condition that no index fits.
create index outbox_due_by_queue on outbox (agent_id, ((action = 'cancelBet')::integer), due_at) where state = 'open';
drop index outbox_due_by_agent;
