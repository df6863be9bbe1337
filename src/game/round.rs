//! One round: its pinned terms, and the ends that they allow.
//!
//! The terms are fixed when the bet is placed. Whatever a store, a script or a retry says later, only `Terms::end` turns a lane
//! into a payout, and it refuses every end that the road does not allow.

use serde::{Deserialize, Serialize};

use super::money::{Amount, Coefficient, MoneyError, payout};

/// What a round was begun with and ends under.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Terms {
    pub stake: Amount,
    pub coefficients: Vec<Coefficient>,
    pub collision_columns: Vec<u8>,
    /// The last playable lane: reaching it cashes out.
    pub max_lane: u8,
}

/// How a round ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum EndReason {
    /// The last playable lane was reached.
    Win,
    /// The player took what stood on the lane.
    Cashout,
    /// The lane was a collision column.
    Hazard,
    /// Time was up while the player stood on a lane, which is paid.
    Deadline,
    /// The stake was given back: time was up before the first step, or a person decided so.
    Void,
    /// It is unknown whether the stake was taken, and it is being given back.
    Cancelled,
    /// The operator did not take the stake.
    Refused,
}

impl EndReason {
    const ALL: [EndReason; 7] = [
        EndReason::Win,
        EndReason::Cashout,
        EndReason::Hazard,
        EndReason::Deadline,
        EndReason::Void,
        EndReason::Cancelled,
        EndReason::Refused,
    ];

    /// The reason as it is stored and sent.
    pub fn as_str(self) -> &'static str {
        match self {
            EndReason::Win => "win",
            EndReason::Cashout => "cashout",
            EndReason::Hazard => "hazard",
            EndReason::Deadline => "deadline",
            EndReason::Void => "void",
            EndReason::Cancelled => "cancelled",
            EndReason::Refused => "refused",
        }
    }

    /// Reads a stored reason, or refuses it.
    pub fn parse(text: &str) -> Result<EndReason, RoundError> {
        EndReason::ALL
            .into_iter()
            .find(|reason| reason.as_str() == text)
            .ok_or(RoundError::UnknownEndReason)
    }
}

/// How a round ended, and what it pays.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ended {
    pub reason: EndReason,
    /// The last safe lane; on a hazard the lane that was hit; -1 before the first step.
    pub lane: i16,
    /// What the stake was multiplied by, where something is paid.
    pub coefficient: Option<Coefficient>,
    pub payout: Amount,
}

/// Why a move or an end is not possible.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RoundError {
    #[error("this is no reason for which a round ends")]
    UnknownEndReason,
    #[error("the round has no lane {lane}")]
    NoSuchLane { lane: i16 },
    #[error("lane {lane} lies on or beyond the first collision column")]
    BeyondCollision { lane: i16 },
    #[error("lane {lane} lies beyond the last playable lane")]
    BeyondLastLane { lane: i16 },
    #[error("lane {lane} is not where a round can end for this reason")]
    WrongLaneForReason { lane: i16 },
    #[error("the lane is not the next one")]
    OutOfSequence,
    #[error("there is nothing to cash out before the first step")]
    TooEarly,
    #[error("the payout: {0}")]
    Money(#[from] MoneyError),
}

impl Terms {
    /// The lane on which a player who goes on and on is stopped, if the road has one. It may lie beyond the last playable lane.
    pub fn first_collision(&self) -> Option<u8> {
        self.collision_columns.iter().copied().min()
    }

    /// What cashing out on this lane pays. Refuses a lane that cannot be stood on.
    pub fn winnings_at(&self, lane: i16) -> Result<Amount, RoundError> {
        let coefficient = self.coefficient_at(lane)?;
        self.check_can_stand_on(lane)?;
        Ok(payout(self.stake, coefficient)?)
    }

    /// The end of the round for this reason on this lane. Refuses every end that the road does not allow.
    pub fn end(&self, reason: EndReason, lane: i16) -> Result<Ended, RoundError> {
        match reason {
            EndReason::Win if lane != i16::from(self.max_lane) => Err(RoundError::WrongLaneForReason { lane }),
            EndReason::Win | EndReason::Cashout | EndReason::Deadline => {
                let coefficient = Some(self.coefficient_at(lane)?);
                Ok(Ended {
                    reason,
                    lane,
                    coefficient,
                    payout: self.winnings_at(lane)?,
                })
            }
            EndReason::Hazard if self.reachable_collision() != Some(lane) => Err(RoundError::WrongLaneForReason { lane }),
            EndReason::Hazard => Ok(Ended::unpaid(reason, lane)),
            // A void gives the stake back wherever the player stands; before the first step that is no lane at all.
            EndReason::Void if lane == -1 => Ok(Ended::unpaid(reason, lane)),
            EndReason::Void => self.check_can_stand_on(lane).map(|()| Ended::unpaid(reason, lane)),
            // These rounds were never played.
            EndReason::Cancelled | EndReason::Refused if lane == -1 => Ok(Ended::unpaid(reason, lane)),
            EndReason::Cancelled | EndReason::Refused => Err(RoundError::WrongLaneForReason { lane }),
        }
    }

    /// The collision that a player can run into: not one behind the last playable lane.
    fn reachable_collision(&self) -> Option<i16> {
        self.first_collision().filter(|lane| *lane <= self.max_lane).map(i16::from)
    }

    fn coefficient_at(&self, lane: i16) -> Result<Coefficient, RoundError> {
        let place = usize::try_from(lane).map_err(|_| RoundError::NoSuchLane { lane })?;
        self.coefficients.get(place).copied().ok_or(RoundError::NoSuchLane { lane })
    }

    /// Whether a player can stand on this lane at all.
    pub(super) fn check_can_stand_on(&self, lane: i16) -> Result<(), RoundError> {
        if lane < 0 {
            Err(RoundError::NoSuchLane { lane })
        } else if lane > i16::from(self.max_lane) {
            Err(RoundError::BeyondLastLane { lane })
        } else if self.first_collision().is_some_and(|collision| lane >= i16::from(collision)) {
            Err(RoundError::BeyondCollision { lane })
        } else {
            Ok(())
        }
    }
}

impl Ended {
    fn unpaid(reason: EndReason, lane: i16) -> Ended {
        Ended {
            reason,
            lane,
            coefficient: None,
            payout: Amount::ZERO,
        }
    }

    /// Whether the round pays for a lane.
    pub fn is_win(&self) -> bool {
        matches!(self.reason, EndReason::Win | EndReason::Cashout | EndReason::Deadline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(collision_columns: &[u8], max_lane: u8) -> Terms {
        let coefficients = [110, 150, 200, 300]
            .map(|hundredths| Coefficient::from_hundredths(hundredths).unwrap())
            .to_vec();
        Terms {
            stake: Amount::from_minor(1000).unwrap(),
            coefficients,
            collision_columns: collision_columns.to_vec(),
            max_lane,
        }
    }

    #[test]
    fn an_end_that_the_road_does_not_allow_is_refused() {
        let terms = terms(&[1, 3], 2);
        for (reason, lane, error) in [
            (EndReason::Cashout, -1, RoundError::NoSuchLane { lane: -1 }),
            (EndReason::Cashout, 1, RoundError::BeyondCollision { lane: 1 }),
            (EndReason::Deadline, 2, RoundError::BeyondCollision { lane: 2 }),
            (EndReason::Cashout, 3, RoundError::BeyondLastLane { lane: 3 }),
            (EndReason::Cashout, 4, RoundError::NoSuchLane { lane: 4 }),
            (EndReason::Win, 0, RoundError::WrongLaneForReason { lane: 0 }),
            (EndReason::Win, 2, RoundError::BeyondCollision { lane: 2 }),
            (EndReason::Hazard, 3, RoundError::WrongLaneForReason { lane: 3 }),
            (EndReason::Void, 1, RoundError::BeyondCollision { lane: 1 }),
            (EndReason::Cancelled, 0, RoundError::WrongLaneForReason { lane: 0 }),
        ] {
            assert_eq!(terms.end(reason, lane), Err(error), "{reason:?} on {lane}");
        }
        assert_eq!(terms.end(EndReason::Hazard, 1), Ok(Ended::unpaid(EndReason::Hazard, 1)));
        assert_eq!(terms.end(EndReason::Void, 0), Ok(Ended::unpaid(EndReason::Void, 0)));
    }

    #[test]
    fn a_reason_is_read_as_it_is_written() {
        for reason in EndReason::ALL {
            assert_eq!(EndReason::parse(reason.as_str()), Ok(reason));
        }
        assert_eq!(EndReason::parse("Win"), Err(RoundError::UnknownEndReason));
    }
}
