-- What we owe operators a call about (the outbox), and every call that was ever made (the audit).

create table outbox (
    outbox_id    bigint      primary key generated always as identity,
    sequence     bigint      not null,
    -- The bet's. No foreign key: it would lock the agent's row, which all its bets share, at every end of a round.
    agent_id     text        not null,
    action       text        not null,
    -- Sent byte for byte at every attempt. The certificate, the encoding and the signature are added at the send.
    message      text        not null,
    state        text        not null default 'open',
    attempts     integer     not null default 0,
    due_at       timestamptz not null default now(),
    -- A claim: whoever holds the token sends. A dead holder's claim ends by itself.
    lease_token  text,
    leased_until timestamptz,
    last_status  text,
    created_at   timestamptz not null default now(),
    done_at      timestamptz,
    constraint outbox_action_known check (action in ('cancelBet', 'settle', 'voidBet')),
    constraint outbox_state_known check (state in ('open', 'done', 'needs_human', 'resolved'))
);
create index outbox_due on outbox (due_at) where state = 'open';
create index outbox_bet on outbox (sequence);
create index outbox_needs_human on outbox (outbox_id) where state = 'needs_human';
-- A bet is settled or voided by one row. Cancels may be several: each is harmless, and one too few is not.
create unique index outbox_one_settlement on outbox (sequence) where action in ('settle', 'voidBet');

create function guard_outbox_update() returns trigger language plpgsql as $$
begin
    if (new.sequence, new.agent_id, new.action, new.message) is distinct from (old.sequence, old.agent_id, old.action, old.message) then
        raise exception 'a message is resent as it was stored' using errcode = 'check_violation', constraint = 'outbox_message_immutable';
    end if;
    if old.state in ('done', 'resolved') and new.state <> old.state then
        raise exception 'what is done stays done' using errcode = 'check_violation', constraint = 'outbox_done_is_final';
    end if;
    return new;
end $$;
create trigger outbox_update before update on outbox for each row execute function guard_outbox_update();

create table wallet_audit (
    audit_id    bigint      primary key generated always as identity,
    -- Null for a balance enquiry, which belongs to no bet.
    sequence    bigint,
    agent_id    text        not null,
    action      text        not null,
    message     text        not null,
    outcome     text        not null,
    status      text,
    http_status integer,
    answer      text,
    duration_ms bigint      not null,
    at          timestamptz not null default now(),
    constraint wallet_audit_outcome_known check (outcome in ('applied', 'declined', 'unknown'))
);
create index wallet_audit_bet on wallet_audit (sequence) where sequence is not null;
create index wallet_audit_age on wallet_audit (at);
create trigger wallet_audit_immutable before update on wallet_audit for each row execute function refuse_change();

create table wallet_audit_archive (like wallet_audit including constraints, archived_at timestamptz not null default now(), primary key (audit_id));
create index wallet_audit_archive_age on wallet_audit_archive (at);

-- What people decided about calls that no retry could bring to an end: two names and a reason.
create table queue_resolutions (
    resolution_id bigint      primary key generated always as identity,
    outbox_id     bigint      not null references outbox,
    sequence      bigint      not null,
    decided_by    text        not null,
    confirmed_by  text        not null,
    reason        text        not null,
    at            timestamptz not null default now(),
    constraint queue_resolutions_two_people check (lower(decided_by) <> lower(confirmed_by)),
    constraint queue_resolutions_reason_given check (length(trim(reason)) >= 10)
);
create trigger queue_resolutions_immutable before update or delete on queue_resolutions for each row execute function refuse_change();
