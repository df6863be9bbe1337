//! What the audit lets PostgreSQL itself compare: each query looks at whole tables and brings back only what is wrong, a few
//! examples and how many there are. Reads only, inside the audit's one transaction.
//!
//! What is wrong is materialized before a few of it are shown: PostgreSQL would otherwise plan for the few, with nested loops
//! that never end when there are none.

use sqlx::PgConnection;

use crate::ledger::LedgerError;

/// Something that is wrong, and how many of its kind there are.
#[derive(Clone, Debug)]
pub struct Finding {
    pub subject: String,
    pub detail: String,
    pub total: i64,
}

/// A text that went to or came from an operator.
pub struct OperatorText {
    pub place: String,
    pub text: String,
}

/// How much there is to look at.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    pub bets: i64,
    pub players: i64,
    pub calls: i64,
    /// Of calls, those whose outbox row is still there.
    pub calls_of_the_outbox: i64,
    pub operator_texts: i64,
}

/// How much there is to look at.
///
/// # Errors
/// When PostgreSQL cannot be asked.
pub async fn sizes(connection: &mut PgConnection) -> Result<Sizes, LedgerError> {
    Ok(sqlx::query_as!(
        Sizes,
        r#"with bet as (select count(*) as n from bets), archived as (select count(*) as n from bets_archive),
                call as (select count(*) as n, count(sequence) as of_bets from wallet_audit),
                archived_call as (select count(*) as n, count(sequence) as of_bets from wallet_audit_archive)
           select bet.n + archived.n as "bets!", (select count(*) from players) as "players!",
                  call.of_bets + archived_call.of_bets as "calls!",
                  (select count(*) from wallet_audit as made where action in ('cancelBet', 'settle', 'voidBet')
                       and exists (select from outbox where outbox.sequence = made.sequence)) as "calls_of_the_outbox!",
                  bet.n + archived.n + (select count(*) from outbox) + call.n + archived_call.n as "operator_texts!"
           from bet, archived, call, archived_call"#
    )
    .fetch_one(connection)
    .await?)
}

/// Bets that were opened while another bet of the same player was open, by the times in their histories.
///
/// # Errors
/// When PostgreSQL cannot be asked.
pub async fn overlapping_bets(connection: &mut PgConnection) -> Result<Vec<Finding>, LedgerError> {
    Ok(sqlx::query_as!(
        Finding,
        r#"with bet as (
               select sequence, bet_id, agent_id, user_id, game_code, history_states, history_times from bets
               union all select sequence, bet_id, agent_id, user_id, game_code, history_states, history_times from bets_archive),
           span as (
               select sequence, bet_id, agent_id, user_id, game_code, history_times[1] as opened_at,
                      coalesce((select at from unnest(history_states, history_times) with ordinality as change (state, at, number)
                                where state not in ('PENDING', 'PLACED') order by number limit 1), 'infinity') as closed_at
               from bet),
           line as (
               select bet_id, opened_at, lag(bet_id) over player as earlier_bet_id, lag(closed_at) over player as earlier_closed_at
               from span window player as (partition by agent_id, user_id, game_code order by opened_at, sequence)),
           wrong as materialized (
               select 'bet ' || bet_id as subject, 'was opened while bet ' || earlier_bet_id || ' was open' as detail
               from line where earlier_closed_at > opened_at)
           select subject as "subject!", detail as "detail!", (select count(*) from wrong) as "total!" from wrong limit 5"#
    )
    .fetch_all(connection)
    .await?)
}

/// Players whose bets do not carry the nonces from their first (0, unless they had been forgotten and came back) to the next
/// one, each once, but for those that a restore has passed over. The first of them may be missing only of players who are
/// older than the retention.
///
/// # Errors
/// When PostgreSQL cannot be asked.
pub async fn broken_nonces(connection: &mut PgConnection, retention_days: i32) -> Result<Vec<Finding>, LedgerError> {
    Ok(sqlx::query_as!(
        Finding,
        r#"with bet as (select agent_id, user_id, nonce from bets union all select agent_id, user_id, nonce from bets_archive),
           used as (
               select agent_id, user_id, count(*) as bets, count(distinct nonce) as nonces, min(nonce) as lowest, max(nonce) as highest
               from bet group by agent_id, user_id),
           in_force as (select agent_id, user_id, count(*) as rows, max(nonce) as nonce from player_seeds group by agent_id, user_id),
           free as (
               -- The nonce in force is the next one, unless an open bet has taken it.
               select players.agent_id, players.user_id, players.created_at, players.first_nonce, rows, in_force.nonce + count(bets.nonce) as nonce
               from players left join in_force using (agent_id, user_id)
                   left join bets on bets.agent_id = players.agent_id and bets.user_id = players.user_id and bets.nonce = in_force.nonce and is_open
               group by players.agent_id, players.user_id, players.created_at, players.first_nonce, rows, in_force.nonce),
           wrong as materialized (
               select 'player ' || agent_id || '/' || user_id as subject,
                      format('%s bets with %s different nonces from %s to %s, and the next nonce is %s, in %s rows of seeds',
                             coalesce(bets, 0), coalesce(nonces, 0), lowest, highest, nonce, coalesce(rows, 0)) as detail
               from free full join used using (agent_id, user_id), lateral (
                   -- What a restore has passed over, by where it lies.
                   select coalesce(sum(size) filter (where next_nonce <= coalesce(lowest, nonce)), 0) as before,
                          coalesce(sum(size) filter (where next_nonce > lowest and next_nonce <= highest), 0) as within,
                          coalesce(sum(size) filter (where next_nonce > highest), 0) as after
                   from (select next_nonce, next_nonce - first_nonce as size from skipped_nonces
                         where skipped_nonces.agent_id = coalesce(free.agent_id, used.agent_id)
                             and skipped_nonces.user_id = coalesce(free.user_id, used.user_id)) as gap) as skipped
               where rows > 1 or (nonce is null and bets is not null) or nonces <> bets or highest <> nonce - 1 - after
                  or bets <> highest - lowest + 1 - within
                  or (coalesce(lowest, nonce) <> first_nonce + before and created_at > now() - make_interval(days => $1)))
           select subject as "subject!", detail as "detail!", (select count(*) from wrong) as "total!" from wrong limit 5"#,
        retention_days
    )
    .fetch_all(connection)
    .await?)
}

/// Bets whose commitment is not the one that the player's bet before them had shown as the next, or whose fencing token is
/// not above that bet's.
///
/// # Errors
/// When PostgreSQL cannot be asked.
pub async fn broken_promises(connection: &mut PgConnection) -> Result<Vec<Finding>, LedgerError> {
    Ok(sqlx::query_as!(
        Finding,
        r#"with bet as (
               select bet_id, agent_id, user_id, nonce, sequence, commitment, next_commitment from bets
               union all select bet_id, agent_id, user_id, nonce, sequence, commitment, next_commitment from bets_archive),
           line as (
               select bet_id, nonce, sequence, commitment, lag(nonce) over player as earlier_nonce,
                      lag(sequence) over player as earlier_sequence, lag(next_commitment) over player as shown
               from bet window player as (partition by agent_id, user_id order by nonce, sequence)),
           wrong as materialized (
               select 'bet ' || bet_id as subject,
                      case when earlier_sequence >= sequence then 'its fencing token is not above that of the bet before'
                           else 'its commitment is not the one that was shown a round before' end as detail
               from line where earlier_sequence >= sequence or (earlier_nonce = nonce - 1 and shown <> commitment))
           select subject as "subject!", detail as "detail!", (select count(*) from wrong) as "total!" from wrong limit 5"#
    )
    .fetch_all(connection)
    .await?)
}

/// Players whose pair of commitments is not what their latest bet left them, is shared with another player, was revealed, or
/// was used by a bet other than the open one.
///
/// # Errors
/// When PostgreSQL cannot be asked.
pub async fn spoilt_pairs(connection: &mut PgConnection) -> Result<Vec<Finding>, LedgerError> {
    Ok(sqlx::query_as!(
        Finding,
        r#"with bet as (
               select agent_id, user_id, nonce, state, commitment, next_commitment from bets
               union all select agent_id, user_id, nonce, state, commitment, next_commitment from bets_archive),
           latest as (
               select distinct on (agent_id, user_id) agent_id, user_id, state in ('PENDING', 'PLACED') as open,
                      commitment as latest_commitment, next_commitment as latest_next
               from bet order by agent_id, user_id, nonce desc),
           shared as materialized (
               select held from player_seeds, unnest(array[commitment, next_commitment]) as held group by held having count(*) > 1),
           judged as materialized (
               select agent_id, user_id, case
                   when exists (select from revealed_commitments where revealed_commitments.commitment in (player_seeds.commitment, player_seeds.next_commitment))
                       then 'the current or the next commitment was revealed'
                   when exists (select from bets where bets.commitment = player_seeds.next_commitment)
                       then 'the next commitment was used by a bet'
                   when exists (select from bets where bets.commitment = player_seeds.commitment
                                    and not (bets.state in ('PENDING', 'PLACED') and bets.agent_id = player_seeds.agent_id and bets.user_id = player_seeds.user_id))
                       then 'the current commitment was used by a bet that is not this player''s open one'
                   when player_seeds.commitment in (select held from shared) or player_seeds.next_commitment in (select held from shared)
                       then 'a commitment is held twice'
                   when open and (player_seeds.commitment, player_seeds.next_commitment) is distinct from (latest_commitment, latest_next)
                       then 'the pair is not that of the open bet'
                   when not open and player_seeds.commitment is distinct from latest_next
                        and not exists (select from skipped_nonces
                                        where skipped_nonces.agent_id = player_seeds.agent_id and skipped_nonces.user_id = player_seeds.user_id
                                            and skipped_nonces.next_nonce = player_seeds.nonce)
                       then 'the current commitment is not the one that the latest bet showed as the next'
                   end as fault
               from player_seeds left join latest using (agent_id, user_id)),
           wrong as materialized (
               select 'player ' || agent_id || '/' || user_id as subject, fault as detail from judged where fault is not null)
           select subject as "subject!", detail as "detail!", (select count(*) from wrong) as "total!" from wrong limit 5"#
    )
    .fetch_all(connection)
    .await?)
}

/// Bets whose seed was not marked as revealed with their end, or was before it, and commitments that two bets used.
///
/// # Errors
/// When PostgreSQL cannot be asked.
pub async fn wrongly_revealed(connection: &mut PgConnection) -> Result<Vec<Finding>, LedgerError> {
    Ok(sqlx::query_as!(
        Finding,
        r#"with bet as (
               select bet_id, commitment, state in ('PENDING', 'PLACED') as open from bets
               union all select bet_id, commitment, false from bets_archive),
           judged as (
               select bet_id, case
                   when count(*) over (partition by commitment) > 1 then 'another bet has the same commitment'
                   when open and revealed_at is not null then 'it is open, and its seed is revealed'
                   when not open and revealed_at is null then 'it has ended, and its commitment is not listed as spent'
                   end as fault
               from bet left join revealed_commitments using (commitment)),
           wrong as materialized (select 'bet ' || bet_id as subject, fault as detail from judged where fault is not null)
           select subject as "subject!", detail as "detail!", (select count(*) from wrong) as "total!" from wrong limit 5"#
    )
    .fetch_all(connection)
    .await?)
}

/// Audited calls about a bet whose text is not the one that is stored for them. Beyond the retention a call may outlive its bet.
///
/// # Errors
/// When PostgreSQL cannot be asked.
pub async fn rewritten_messages(connection: &mut PgConnection, retention_days: i32) -> Result<Vec<Finding>, LedgerError> {
    Ok(sqlx::query_as!(
        Finding,
        r#"with stored as (
               select sequence, 'bet' as action, message from bets union all select sequence, 'bet', message from bets_archive
               union all select sequence, action, message from outbox),
           sent as (
               select audit_id, sequence, action, message, at from wallet_audit where sequence is not null
               union all select audit_id, sequence, action, message, at from wallet_audit_archive where sequence is not null),
           stored_or_first_sent as (
               select sequence, action, message from stored
               -- What was owed for a bet goes when it is archived: its calls are then held against the first of them.
               union all select distinct on (sequence, action) sequence, action, message from (
                   select sent.* from sent where action <> 'bet' and not exists (
                           select from outbox where outbox.sequence = sent.sequence and outbox.action = sent.action)
                       and not exists (select from bets where bets.sequence = sent.sequence) order by sequence, action, audit_id) as first),
           wrong as materialized (
               select 'call ' || audit_id as subject,
                      format('the %s of the bet with sequence %s was sent with other bytes than are stored', action, sequence) as detail
               from sent
               where at > now() - make_interval(days => $1) and not exists (
                   select from stored_or_first_sent as stored where stored.sequence = sent.sequence and stored.action = sent.action and stored.message = sent.message))
           select subject as "subject!", detail as "detail!", (select count(*) from wrong) as "total!" from wrong limit 5"#,
        retention_days
    )
    .fetch_all(connection)
    .await?)
}

/// Calls that count as done because the operator said "already applied" (1016, 1038), although by the record nothing of the kind may
/// have reached it before: no earlier call was made but such as were answered in the same way, and no claim was lost. How
/// many claims were lost goes with the outbox row when its bet is archived, so that archived calls are not looked at.
///
/// # Errors
/// When PostgreSQL cannot be asked.
pub async fn unfounded_successes(connection: &mut PgConnection) -> Result<Vec<Finding>, LedgerError> {
    Ok(sqlx::query_as!(
        Finding,
        r#"with sent as (
               select audit_id, sequence, agent_id, action, outcome, status from wallet_audit
               where sequence is not null and action in ('cancelBet', 'settle', 'voidBet')),
           reached as (
               select sequence, action, min(audit_id) as first_id from sent
               where not (status in ('1016', '1038') or status in ('not_sent', 'busy', 'breaker_open', 'too_late', 'address_refused'))
               group by sequence, action),
           wrong as materialized (
               select 'call ' || audit_id as subject,
                      format('the %s of the bet with sequence %s counts as done by %s, and nothing may have left before', action, sequence, status)
                          as detail
               from sent left join reached using (sequence, action)
               where outcome = 'applied' and status in ('1016', '1038') and (first_id is null or first_id > audit_id)
                   and (select max(lapsed_claims) from outbox where outbox.sequence = sent.sequence and outbox.action = sent.action) = 0)
           select subject as "subject!", detail as "detail!", (select count(*) from wrong) as "total!" from wrong limit 5"#
    )
    .fetch_all(connection)
    .await?)
}

/// Texts that operators saw and that have something in them that is as long as a seed. There should be none.
///
/// # Errors
/// When PostgreSQL cannot be asked.
pub async fn operator_texts_with_long_hex(connection: &mut PgConnection, limit: i64) -> Result<Vec<OperatorText>, LedgerError> {
    Ok(sqlx::query_as!(
        OperatorText,
        r#"with seen as (
               select 'the message of bet ' || bet_id as place, message as text from bets
               union all select 'the message of bet ' || bet_id, message from bets_archive
               union all select 'the message of outbox row ' || outbox_id, message from outbox
               union all select 'call ' || audit_id, concat(message, ' ', answer) from wallet_audit
               union all select 'call ' || audit_id, concat(message, ' ', answer) from wallet_audit_archive)
           select place as "place!", text as "text!" from seen where text ~ '[0-9A-Fa-f]{64}' limit $1"#,
        limit
    )
    .fetch_all(connection)
    .await?)
}
