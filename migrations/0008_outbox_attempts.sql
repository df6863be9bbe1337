-- What the attempts of a call prove. "Already applied" (1016, 1038) says something about our message only if the operator may have had it
-- before, so that is kept with the row, and written before a call is sent: a process that dies with the call in its hands leaves it true.

alter table outbox
    -- An attempt may have reached the operator. A claim sets it; an attempt that certainly did not leave gives the old value back.
    add column may_have_left         boolean     not null default false,
    -- Claims whose holder never said what came of them.
    add column lapsed_claims         integer     not null default 0,
    -- Answers "already applied" to attempts before which none may have left.
    add column unfounded_successes   integer     not null default 0,
    -- Of a cancel: when its second, planned sending is due. By then the debit can no longer be on its way, and "no such bet" means that
    -- nothing is owed. Null: the debit was answered.
    add column debit_is_over_at      timestamptz,
    -- When the present course of attempts began: with the row, or when a person had it tried again.
    add column course_began_at       timestamptz not null default now();

-- What is there was written before any of this was kept: when in doubt, it may have left.
update outbox set may_have_left = attempts > 0, lapsed_claims = (attempts > 0)::integer, course_began_at = created_at
    where state in ('open', 'needs_human')
       or (action = 'cancelBet' and sequence in (select sequence from outbox where state in ('open', 'needs_human')));
update outbox set debit_is_over_at = planned.at
    from (select sequence, max(due_at) as at from outbox where action = 'cancelBet' and state in ('open', 'needs_human') group by sequence) as planned
    where outbox.sequence = planned.sequence and action = 'cancelBet' and state in ('open', 'needs_human');

-- Rows are claimed for one operator after the other, and the backlog of one is not read for another.
drop index outbox_due;
create index outbox_due_by_agent on outbox (agent_id, due_at) where state = 'open';
