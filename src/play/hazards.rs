//! The public road: which link of the day's chain is shown when, and which link a bet is bound to. Redis's clock decides the
//! epoch; a link is public only once the publishing script has let it through.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Days, NaiveDate, SecondsFormat, Utc};
use secrecy::ExposeSecret;

use crate::game::difficulty::Difficulty;
use crate::game::fairness::HazardSeed;
use crate::game::hazards::{Chain, Epoch, visible_hazards};
use crate::ledger::{LedgerError, chains};
use crate::live::{HazardRecord, LiveError, Publish};
use crate::play::context::Context;
use crate::play::kept_answers::{ABSENT_FOR, CHANGING_FOR, FOR_EVER};
use crate::play::place_bet::unwritable;
use crate::play::view::ChainView;
use crate::play::{Refusal, admission};

/// The road of one difficulty as everybody may see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HazardsView {
    pub record: HazardRecord,
    /// The published anchor of the epoch's day.
    pub anchor: String,
}

/// Why a road could not be published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    #[error("{0}")]
    Ledger(#[from] LedgerError),
    #[error("{0}")]
    Live(#[from] LiveError),
    #[error("Redis's clock moved on while the road was published")]
    ClockMoved,
}

/// Publishes the road of the epoch that Redis's clock is in. Safe to call at any time and by any number of servers. Returns
/// Redis's time in Unix milliseconds, by which the caller finds the next instant.
///
/// # Errors
/// When a store cannot be used.
pub async fn refresh(context: &Context) -> Result<u64, PublishError> {
    let mut now_unix_ms = context.live.now_unix_ms().await?;
    for _ in 0..3 {
        let epoch = Epoch::at_unix_ms(now_unix_ms);
        let records = records_of(context, epoch).await?;
        match context.live.publish_hazards(epoch.number(), &records).await? {
            Publish::Published | Publish::Already => return Ok(now_unix_ms),
            Publish::WrongEpoch { now_unix_ms: now } => now_unix_ms = now,
        }
    }
    Err(PublishError::ClockMoved)
}

/// The records of an epoch, one JSON text for each difficulty.
async fn records_of(context: &Context, epoch: Epoch) -> Result<Vec<(Difficulty, String)>, LedgerError> {
    let (link, previous_link) = (link_of(context, epoch).await?, link_of(context, epoch.previous()).await?);
    Ok(Difficulty::ALL
        .into_iter()
        .map(|difficulty| {
            let record = record_of(context, difficulty, epoch, &link, &previous_link);
            (
                difficulty,
                serde_json::to_string(&record).expect("texts and numbers can always be written as JSON"),
            )
        })
        .collect())
}

fn record_of(context: &Context, difficulty: Difficulty, epoch: Epoch, link: &HazardSeed, previous_link: &HazardSeed) -> HazardRecord {
    let paytable = context.configuration.game.paytable(difficulty);
    HazardRecord {
        difficulty,
        hazards: visible_hazards(link, difficulty, paytable.lanes(), paytable.hazards()),
        epoch: epoch.number(),
        hazard_seed: link.as_str().to_owned(),
        previous_epoch: epoch.previous().number(),
        previous_hazard_seed: previous_link.as_str().to_owned(),
        last_refresh: instant_text(epoch.starts_at_unix_ms()),
        next_refresh: instant_text(epoch.next().starts_at_unix_ms()),
    }
}

fn instant_text(unix_ms: u64) -> String {
    let instant = i64::try_from(unix_ms)
        .ok()
        .and_then(DateTime::<Utc>::from_timestamp_millis)
        .unwrap_or_default();
    instant.to_rfc3339_opts(SecondsFormat::Secs, true)
}

async fn link_of(context: &Context, epoch: Epoch) -> Result<HazardSeed, LedgerError> {
    let chain = chain_of_day(context, epoch.day()).await?;
    chain.link(epoch.index()).cloned().ok_or(LedgerError::Unreadable {
        what: "a link beyond its day's chain",
    })
}

/// The chain of a day (counted from 1970-01-01): from memory, from the record, or made and offered to the record, whose copy
/// counts, because another server may have come first.
async fn chain_of_day(context: &Context, day: u64) -> Result<Arc<Chain>, LedgerError> {
    if let Some(known) = context.known_chain(day) {
        return Ok(known);
    }
    let date = date_of(day);
    let stored = context
        .ledger
        .run(async |connection| {
            if let Some(stored) = chains::chain(connection, &context.sealing, date).await? {
                return Ok(Some(stored));
            }
            chains::offer(
                connection,
                &context.sealing,
                date,
                &Chain::from_last_link(context.chance.bytes_32()),
            )
            .await?;
            chains::chain(connection, &context.sealing, date).await
        })
        .await?;
    let chain = stored.ok_or(LedgerError::Unreadable {
        what: "a hazard chain that was just inserted",
    })?;
    Ok(context.keep_chain(day, chain))
}

fn date_of(day: u64) -> NaiveDate {
    NaiveDate::default().checked_add_days(Days::new(day)).unwrap_or(NaiveDate::MAX)
}

/// Makes sure that the chains of today and tomorrow, by Redis's clock, are published.
///
/// # Errors
/// When the record cannot be used.
pub async fn publish_anchors(context: &Context, now_unix_ms: u64) -> Result<(), LedgerError> {
    let today = Epoch::at_unix_ms(now_unix_ms).day();
    chain_of_day(context, today).await?;
    chain_of_day(context, today + 1).await?;
    Ok(())
}

/// The current road of a difficulty; a record that is missing is published at once by whoever finds it missing.
///
/// # Errors
/// [`Refusal::Unavailable`] when a store cannot be used.
pub async fn current_hazards(context: &Context, difficulty: Difficulty) -> Result<HazardsView, Refusal> {
    let record = current_record(context, difficulty).await?;
    let epoch = Epoch::new(record.epoch).map_err(|_| Refusal::Unavailable)?;
    let chain = chain_of_day(context, epoch.day()).await.map_err(unwritable)?;
    Ok(HazardsView {
        record,
        anchor: chain.anchor().as_str().to_owned(),
    })
}

async fn current_record(context: &Context, difficulty: Difficulty) -> Result<HazardRecord, Refusal> {
    for _ in 0..2 {
        let (record, now_unix_ms) = context.live.read_hazards(difficulty).await.map_err(admission::unreachable)?;
        if let Some(record) = record.filter(|record| record.epoch == Epoch::at_unix_ms(now_unix_ms).number()) {
            return Ok(record);
        }
        refresh(context).await.map_err(|error| {
            tracing::warn!(%error, "the road could not be published");
            Refusal::Unavailable
        })?;
    }
    let (record, _) = context.live.read_hazards(difficulty).await.map_err(admission::unreachable)?;
    record.ok_or(Refusal::Unavailable)
}

/// The link that a bet is bound to: that of the epoch the player saw, if it is the current or the previous one. `found` is
/// what the bet's own script read together with the time.
///
/// # Errors
/// [`Refusal::StaleHazardEpoch`] with what is in force, or [`Refusal::Unavailable`].
pub async fn link_for(
    context: &Context,
    difficulty: Difficulty,
    named_epoch: u64,
    found: Option<HazardRecord>,
    now_unix_ms: u64,
) -> Result<String, Refusal> {
    let now = Epoch::at_unix_ms(now_unix_ms);
    if let Some(link) = found.as_ref().and_then(|record| link_in(record, named_epoch, now)) {
        return Ok(link);
    }
    // Before an epoch is refused the road is read afresh, and published if it is missing or late.
    let record = current_record(context, difficulty).await?;
    link_in(&record, named_epoch, now).ok_or(Refusal::StaleHazardEpoch {
        epoch: record.epoch,
        hazard_seed: record.hazard_seed,
    })
}

fn link_in(record: &HazardRecord, named_epoch: u64, now: Epoch) -> Option<String> {
    let in_force = named_epoch == now.number() || named_epoch == now.previous().number();
    match named_epoch {
        epoch if in_force && epoch == record.epoch => Some(record.hazard_seed.clone()),
        epoch if in_force && epoch == record.previous_epoch => Some(record.previous_hazard_seed.clone()),
        _ => None,
    }
}

/// What is public of a day's chain: the anchor of today and tomorrow, and the last link of days that are over. A day is over
/// when both stores say so: the last link tells the whole day, and Redis's clock is the one that epochs go by.
///
/// # Errors
/// [`Refusal::NotFound`] for a day without a chain.
pub async fn chain(context: &Arc<Context>, date: NaiveDate) -> Result<ChainView, Refusal> {
    const NOT_FOUND: Refusal = Refusal::NotFound {
        what: "a hazard chain of this day",
    };
    if is_far_ahead(context, date) {
        return Err(NOT_FOUND);
    }
    let kept = &context.kept.chains;
    refuse_too_many_days(context, date, kept.is_at_hand(&date, context.clock))?;
    let shared = Arc::clone(context);
    let reading = async move { read_chain(&shared, date).await };
    let found = kept.of(&date).get(&context.tasks, context.clock, reading, life_of_chain).await;
    found.unwrap_or(Err(Refusal::Unavailable))?.ok_or(NOT_FOUND)
}

fn life_of_chain(answer: &Result<Option<ChainView>, Refusal>) -> Duration {
    match answer {
        Ok(Some(view)) if view.seed.is_some() => FOR_EVER,
        Ok(None) => ABSENT_FOR,
        Ok(Some(_)) | Err(_) => CHANGING_FOR,
    }
}

/// Only today and tomorrow are ever published ahead; one day more for a clock that is slow.
fn is_far_ahead(context: &Context, date: NaiveDate) -> bool {
    date > context.clock.now().date_naive() + Days::new(2)
}

/// Of days that are long over there are many, and whoever asks for all of them comes again.
fn refuse_too_many_days(context: &Context, date: NaiveDate, is_at_hand: bool) -> Result<(), Refusal> {
    let is_long_over = date < context.clock.now().date_naive() - Days::new(2);
    if is_long_over && !is_at_hand && !context.kept.may_ask_for_unknown() {
        return Err(Refusal::Unavailable);
    }
    Ok(())
}

async fn read_chain(context: &Context, date: NaiveDate) -> Result<Option<ChainView>, Refusal> {
    let (published, today) = context
        .ledger
        .run(async |connection| Ok((chains::anchor(connection, date).await?, chains::today(connection).await?)))
        .await
        .map_err(unwritable)?;
    let Some(published) = published else { return Ok(None) };
    let day = u64::try_from(date.signed_duration_since(NaiveDate::default()).num_days()).unwrap_or_default();
    let seed = if date < today && is_over_for_redis(context, day).await {
        Some(last_link_of(context, date).await?)
    } else {
        None
    };
    Ok(Some(ChainView {
        date,
        anchor: published.anchor,
        published_at: published.published_at,
        seed,
    }))
}

/// While Redis cannot say what day it is, nothing is shown that would have to be hidden.
async fn is_over_for_redis(context: &Context, day: u64) -> bool {
    let now_unix_ms = context.live.now_unix_ms().await;
    now_unix_ms.is_ok_and(|now_unix_ms| Epoch::at_unix_ms(now_unix_ms).day() > day)
}

async fn last_link_of(context: &Context, date: NaiveDate) -> Result<String, Refusal> {
    let stored = context
        .ledger
        .run(async |connection| chains::last_link(connection, &context.sealing, date).await)
        .await;
    let link = stored.map_err(unwritable)?.ok_or(Refusal::NotFound {
        what: "a hazard chain of this day",
    })?;
    Ok(link.expose_secret().to_owned())
}

/// The published anchor of the day that an epoch belongs to, for whoever names the epoch.
///
/// # Errors
/// [`Refusal::Unavailable`] when the record cannot be used, or when too many days were asked for that are not known here.
pub async fn anchor_for_anybody(context: &Arc<Context>, epoch: u64) -> Result<Option<chains::PublishedAnchor>, Refusal> {
    if let Ok(epoch) = Epoch::new(epoch) {
        let is_at_hand = context.kept.anchors.is_at_hand(&epoch.day(), context.clock);
        refuse_too_many_days(context, date_of(epoch.day()), is_at_hand)?;
    }
    anchor_of_epoch(context, epoch).await
}

/// The same for an epoch of a bet of ours: no stranger's questions stand in its way.
///
/// # Errors
/// [`Refusal::Unavailable`] when the record cannot be used.
pub async fn anchor_of_epoch(context: &Arc<Context>, epoch: u64) -> Result<Option<chains::PublishedAnchor>, Refusal> {
    let Ok(epoch) = Epoch::new(epoch) else { return Ok(None) };
    let date = date_of(epoch.day());
    if is_far_ahead(context, date) {
        return Ok(None);
    }
    let shared = Arc::clone(context);
    let reading = async move {
        let found = shared.ledger.run(async |connection| chains::anchor(connection, date).await).await;
        found.map_err(unwritable)
    };
    let found = context
        .kept
        .anchors
        .of(&epoch.day())
        .get(&context.tasks, context.clock, reading, life_of_anchor)
        .await;
    found.unwrap_or(Err(Refusal::Unavailable))
}

fn life_of_anchor(answer: &Result<Option<chains::PublishedAnchor>, Refusal>) -> Duration {
    match answer {
        Ok(Some(_)) => FOR_EVER,
        Ok(None) => ABSENT_FOR,
        Err(_) => CHANGING_FOR,
    }
}
