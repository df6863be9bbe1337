//! Each round computed again from what its row pins: the seed that was committed to, the road that follows from it, the end
//! that this road allows, and what that end pays under the configuration that the round began with.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, NaiveDate};
use secrecy::ExposeSecret;
use sqlx::PgConnection;

use super::AuditError;
use super::report::Check;
use super::walk::BetInFull;
use crate::game::claim::{Claim, ClaimedEnd, Published};
use crate::game::configuration::GameConfiguration;
use crate::game::difficulty::Difficulty;
use crate::game::fairness::{Commitment, HazardSeed, Nonce, ServerSeed, UserSeed};
use crate::game::hazards::{Chain, Epoch};
use crate::game::money::{Amount, payout};
use crate::game::player::{AgentId, PlayerId, UserId};
use crate::game::proof::{Proof, verify};
use crate::game::round::{EndReason, Terms};
use crate::ledger::audit_reads::{AuditedBet, seed_pairs_after};
use crate::ledger::sealing::{Sealing, server_seed_row};
use crate::ledger::{chains, configurations};

/// Players whose seeds are in memory at once.
const PAGE: i64 = 1_000;
const SECONDS_PER_DAY: i64 = 86_400;

/// The checks on what a round was made of and what it came to.
pub struct RoundChecks<'a> {
    sealing: &'a Sealing,
    configurations: HashMap<i32, Option<Arc<GameConfiguration>>>,
    chains: HashMap<u64, Option<Chain>>,
    seeds: Check,
    links: Check,
    ends: Check,
    payouts: Check,
}

impl<'a> RoundChecks<'a> {
    pub fn new(sealing: &'a Sealing) -> Self {
        Self {
            sealing,
            configurations: HashMap::new(),
            chains: HashMap::new(),
            seeds: Check::new(
                "seeds_match_commitments",
                "every server seed, spent or still to come, hashes to the commitment that was shown for it",
            ),
            links: Check::new(
                "roads_are_public",
                "every round is bound to the link of its hazard epoch under the published anchor",
            ),
            ends: Check::new(
                "ends_follow_the_road",
                "every round ended on a lane that the recomputed road allows: paid before the first collision, or hit exactly there",
            ),
            payouts: Check::new(
                "payouts_exact",
                "payout = floor(stake * coefficient of the last safe lane), under the round's own configuration",
            ),
        }
    }

    /// Looks at one bet.
    ///
    /// # Errors
    /// When PostgreSQL cannot be asked.
    pub async fn bet(&mut self, connection: &mut PgConnection, bet: &BetInFull) -> Result<(), AuditError> {
        self.look_at_link(connection, bet).await?;
        self.ends.look();
        let Some(configuration) = self.configuration(connection, bet.row.configuration_version).await? else {
            self.ends
                .violate(bet, format!("there is no readable configuration {}", bet.row.configuration_version));
            return Ok(());
        };
        match pinned(&bet.row) {
            Err(what) => self.ends.violate(bet, format!("its {what} is not one")),
            Ok(pinned) => {
                self.look_at_payout(bet, &pinned, &configuration);
                if let Some(proof) = self.prove(bet, pinned.clone(), &configuration) {
                    self.look_at_end(bet, &pinned, &proof, &configuration);
                }
            }
        }
        Ok(())
    }

    /// The seeds that players hold for bets to come.
    ///
    /// # Errors
    /// When PostgreSQL cannot be asked.
    pub async fn players(&mut self, connection: &mut PgConnection) -> Result<(), AuditError> {
        let mut after = (String::new(), String::new());
        loop {
            let page = seed_pairs_after(connection, (&after.0, &after.1), PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = (last.agent_id.clone(), last.user_id.clone());
            for pair in &page {
                let subject = format!("player {}/{}", pair.agent_id, pair.user_id);
                let current = (&pair.server_seed_sealed, &pair.commitment, "current");
                let next = (&pair.next_server_seed_sealed, &pair.next_commitment, "next");
                for (sealed, commitment, which) in [current, next] {
                    self.seeds.look();
                    match self.open(&pair.agent_id, &pair.user_id, sealed) {
                        None => self.seeds.violate(&subject, format!("the {which} server seed cannot be opened")),
                        Some(seed) if seed.commitment().as_str() != commitment => {
                            self.seeds
                                .violate(&subject, format!("the {which} server seed is not the one that is committed to"));
                        }
                        Some(_) => {}
                    }
                }
            }
        }
    }

    /// The checks.
    pub fn finish(self) -> Vec<Check> {
        vec![self.seeds, self.links, self.ends, self.payouts]
    }

    /// A configuration by its version, read once. `None`: there is none, or it breaks the rules of the game.
    ///
    /// # Errors
    /// When PostgreSQL cannot be asked.
    pub async fn configuration(
        &mut self,
        connection: &mut PgConnection,
        version: i32,
    ) -> Result<Option<Arc<GameConfiguration>>, AuditError> {
        if let Some(known) = self.configurations.get(&version) {
            return Ok(known.clone());
        }
        let content = configurations::content(connection, version).await?;
        let configuration = content.and_then(|bytes| GameConfiguration::parse(&bytes).ok()).map(Arc::new);
        self.configurations.insert(version, configuration.clone());
        Ok(configuration)
    }

    async fn look_at_link(&mut self, connection: &mut PgConnection, bet: &BetInFull) -> Result<(), AuditError> {
        self.links.look();
        let Some(epoch) = u64::try_from(bet.row.hazard_epoch).ok().and_then(|number| Epoch::new(number).ok()) else {
            self.links.violate(bet, "its hazard epoch is not one");
            return Ok(());
        };
        if !self.chains.contains_key(&epoch.day()) {
            let chain = match day_of(epoch) {
                // A chain that cannot be opened is a violation of every round on it, not a reason to stop.
                Some(day) => chains::chain(connection, self.sealing, day).await.or_else(unreadable_is_none)?,
                None => None,
            };
            self.chains.insert(epoch.day(), chain);
        }
        let chain = self.chains.get(&epoch.day()).and_then(Option::as_ref);
        match chain.and_then(|chain| chain.link(epoch.index())) {
            None => self
                .links
                .violate(bet, format!("there is no readable hazard chain for its epoch {}", epoch.number())),
            Some(link) if link.as_str() != bet.row.hazard_seed => {
                self.links
                    .violate(bet, format!("its hazard seed is not the link of epoch {}", epoch.number()));
            }
            Some(_) => {}
        }
        Ok(())
    }

    /// Opens the seed and computes the road.
    fn prove(&mut self, bet: &BetInFull, pinned: Pinned, configuration: &GameConfiguration) -> Option<Proof> {
        self.seeds.look();
        let Some(server_seed) = self.open(&bet.row.agent_id, &bet.row.user_id, &bet.row.server_seed_sealed) else {
            self.seeds.violate(bet, "its server seed cannot be opened");
            return None;
        };
        let proof = verify(&pinned.claim(server_seed), configuration);
        if let Some(mismatch) = proof.first_mismatch() {
            self.seeds.violate(bet, &mismatch.detail);
        }
        Some(proof)
    }

    fn open(&self, agent_id: &str, user_id: &str, sealed: &[u8]) -> Option<ServerSeed> {
        let player = PlayerId {
            agent_id: AgentId::parse(agent_id).ok()?,
            user_id: UserId::parse(user_id).ok()?,
        };
        let text = self.sealing.open(&server_seed_row(&player), sealed).ok()?;
        ServerSeed::parse(text.expose_secret()).ok()
    }

    fn look_at_end(&mut self, bet: &BetInFull, pinned: &Pinned, proof: &Proof, configuration: &GameConfiguration) {
        let row = &bet.row;
        let terms = Terms {
            stake: pinned.stake,
            coefficients: configuration.paytable(pinned.difficulty).coefficients().to_vec(),
            collision_columns: proof.collision_columns.clone().unwrap_or_default(),
            max_lane: pinned.max_lane,
        };
        let max_win = configuration.currency(&row.currency).map(|rules| rules.max_win);
        let last_lane = max_win.and_then(|max_win| configuration.paytable(pinned.difficulty).max_lane(pinned.stake, max_win));
        if last_lane != Some(pinned.max_lane) {
            self.ends.violate(
                bet,
                format!("its last playable lane is {}, and should be {last_lane:?}", pinned.max_lane),
            );
        }
        let wrong = match pinned.end {
            Some(reason) => terms.end(reason, row.last_lane).err(),
            None if row.last_lane >= 0 => terms.winnings_at(row.last_lane).err(),
            None => None,
        };
        if let Some(wrong) = wrong {
            let end = row.end_reason.as_deref().unwrap_or("open");
            self.ends.violate(bet, format!("{end} on lane {}: {wrong}", row.last_lane));
        }
    }

    /// By the rule alone, whatever the road says.
    fn look_at_payout(&mut self, bet: &BetInFull, pinned: &Pinned, configuration: &GameConfiguration) {
        self.payouts.look();
        let row = &bet.row;
        let coefficient = match pinned.end {
            Some(EndReason::Win | EndReason::Cashout | EndReason::Deadline) => u8::try_from(row.last_lane)
                .ok()
                .and_then(|lane| configuration.paytable(pinned.difficulty).coefficient(lane)),
            _ => None,
        };
        let (hundredths, due) = match coefficient {
            Some(coefficient) => (coefficient.hundredths(), payout(pinned.stake, coefficient).ok()),
            None => (0, Some(Amount::ZERO)),
        };
        if due.map(Amount::as_i64) != Some(row.payout_minor) {
            let due = due.map_or_else(|| "nothing that can be counted".to_owned(), |due| due.minor().to_string());
            self.payouts
                .violate(bet, format!("paid {} minor units where the rule gives {due}", row.payout_minor));
        }
        if u64::try_from(row.coefficient_hundredths) != Ok(hundredths) {
            self.payouts.violate(
                bet,
                format!(
                    "says {} hundredths where the configuration gives {hundredths}",
                    row.coefficient_hundredths
                ),
            );
        }
    }
}

/// What a row pins, parsed.
#[derive(Clone)]
struct Pinned {
    difficulty: Difficulty,
    stake: Amount,
    max_lane: u8,
    user_seed: UserSeed,
    nonce: Nonce,
    hazard_seed: HazardSeed,
    commitment: Commitment,
    end: Option<EndReason>,
}

impl Pinned {
    fn claim(self, server_seed: ServerSeed) -> Claim {
        Claim {
            server_seed,
            user_seed: self.user_seed,
            nonce: self.nonce,
            hazard_seed: self.hazard_seed,
            difficulty: self.difficulty,
            hashed_server_seed: Some(self.commitment),
            // The link is compared with the day's chain, which is computed once for all rounds of a day.
            hazard_epoch: None,
            anchor: None,
            published: Published::Unknown,
            collision_columns: None,
            config_hash: None,
            // Ends and payments are looked at by themselves.
            end: ClaimedEnd::default(),
            user_seed_fresh: None,
            recorded_fresh: None,
        }
    }
}

/// The parts of a row, or the name of the part that is not what this program writes.
fn pinned(row: &AuditedBet) -> Result<Pinned, &'static str> {
    Ok(Pinned {
        difficulty: row.difficulty.parse().map_err(|_| "difficulty")?,
        stake: u64::try_from(row.stake_minor)
            .ok()
            .and_then(|minor| Amount::from_minor(minor).ok())
            .ok_or("stake")?,
        max_lane: u8::try_from(row.max_lane).map_err(|_| "last playable lane")?,
        user_seed: UserSeed::parse(&row.user_seed).map_err(|_| "user seed")?,
        nonce: u64::try_from(row.nonce)
            .ok()
            .and_then(|nonce| Nonce::new(nonce).ok())
            .ok_or("nonce")?,
        hazard_seed: HazardSeed::parse(&row.hazard_seed).map_err(|_| "hazard seed")?,
        commitment: Commitment::parse(&row.commitment).map_err(|_| "commitment")?,
        end: row
            .end_reason
            .as_deref()
            .map(EndReason::parse)
            .transpose()
            .map_err(|_| "end reason")?,
    })
}

fn day_of(epoch: Epoch) -> Option<NaiveDate> {
    let seconds = i64::try_from(epoch.day()).ok()?.checked_mul(SECONDS_PER_DAY)?;
    Some(DateTime::from_timestamp(seconds, 0)?.date_naive())
}

fn unreadable_is_none<T>(error: crate::ledger::LedgerError) -> Result<Option<T>, crate::ledger::LedgerError> {
    match error {
        crate::ledger::LedgerError::Unreadable { .. } => Ok(None),
        error => Err(error),
    }
}
