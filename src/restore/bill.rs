//! What a restore has done, for people and for the record.

use std::fmt;

use serde::Serialize;

/// Something that people should look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Remark {
    pub subject: String,
    pub detail: String,
}

/// What this run has done. After a run that was killed, the next counts of the open bets those that were left, and all else anew.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Bill {
    /// Open bets that ended as the operator had settled, voided or cancelled them.
    pub closed_by_operator: u64,
    /// Open bets that ended as their session in Redis had.
    pub closed_by_session: u64,
    /// Open bets whose stake goes back because the operator had confirmed them and nobody knows more.
    pub voided: u64,
    /// Open bets of which nobody knows whether the stake was taken.
    pub cancelled: u64,
    /// Open bets that have ended in a way that their road does not allow, or that cannot be computed any more.
    pub left_to_people: u64,
    /// Bets that only the operator knows and holds open: cancelled there.
    pub lost_bets_cancelled: u64,
    /// Bets that only the operator knows, and has closed.
    pub lost_bets_closed: u64,
    /// Players whom only the operator or Redis knew.
    pub lost_players: u64,
    /// Players who got a new pair of seeds and a nonce that was never used.
    pub pairs_rotated: u64,
    pub players_signed_out: u64,
    pub launch_links_burned: u64,
    pub redis_keys_removed: u64,
    /// The last fencing number that is passed over.
    pub sequence: i64,
    pub remarks: Vec<Remark>,
}

impl Bill {
    pub(super) fn remark(&mut self, subject: impl Into<String>, detail: impl Into<String>) {
        self.remarks.push(Remark {
            subject: subject.into(),
            detail: detail.into(),
        });
    }
}

impl fmt::Display for Bill {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (count, what) in [
            (self.closed_by_operator, "open bets closed as the operator's ledger says"),
            (self.closed_by_session, "open bets ended as their session had"),
            (self.voided, "open bets voided: the stake goes back"),
            (self.cancelled, "open bets cancelled: the stake goes back, if it was taken"),
            (self.left_to_people, "open bets left to people (`faircross queue list`)"),
            (self.lost_bets_cancelled, "bets that only the operator knows, cancelled there"),
            (self.lost_bets_closed, "bets that only the operator knows, closed there before"),
            (self.lost_players, "players that were not in the record"),
            (self.pairs_rotated, "players with new seeds and a new nonce"),
            (self.players_signed_out, "players signed out"),
            (self.launch_links_burned, "launch links made worthless"),
            (self.redis_keys_removed, "keys removed from Redis"),
        ] {
            writeln!(formatter, "{count:>10}  {what}")?;
        }
        writeln!(formatter, "{:>10}  is the last sequence that no bet will have", self.sequence)?;
        for remark in &self.remarks {
            writeln!(formatter, "{}: {}", remark.subject, remark.detail)?;
        }
        write!(formatter, "calls that are owed now go out when a server starts")
    }
}
