//! The round as a player walks it: the only moves, and what becomes of a round by each.
//!
//! The scripts in `lua/` move the rounds that are really played; this is the same walk as a pure machine, the model that they are
//! compared with. It consumes itself with each move, so that nothing can be done with a round that has ended.

use super::round::{EndReason, Ended, RoundError, Terms};

/// A round that is being played. The player stands on a safe lane, or before the road.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Open {
    terms: Terms,
    lane: i16,
    is_restored: bool,
}

/// What became of a round by one move.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Move {
    /// The round goes on from the lane where the player now stands.
    Standing(Open),
    Ended(Ended),
    /// The move was not possible, and nothing has changed.
    Refused(Open, RoundError),
}

impl Open {
    /// A new round, before its first step.
    pub fn begin(terms: Terms) -> Open {
        Open {
            terms,
            lane: -1,
            is_restored: false,
        }
    }

    /// A round whose live state was lost, set up again at the last lane that is known. The player may have stood further on.
    /// Refuses a lane on which nobody can stand.
    pub fn restore(terms: Terms, lane: i16) -> Result<Open, RoundError> {
        if lane != -1 {
            terms.check_can_stand_on(lane)?;
        }
        Ok(Open {
            terms,
            lane,
            is_restored: true,
        })
    }

    /// The last safe lane, or -1.
    pub fn lane(&self) -> i16 {
        self.lane
    }

    /// Steps onto a lane: the next one. Naming the lane where the player stands is a repeat and changes nothing. After a loss of
    /// the live state the player may name any lane further on, and walks there.
    pub fn step(self, lane: u8) -> Move {
        let target = i16::from(lane);
        let is_reachable = target == self.lane + 1 || (self.is_restored && target > self.lane);
        if target == self.lane {
            self.stand_or_win()
        } else if is_reachable && lane <= self.terms.max_lane {
            self.walk_to(target)
        } else {
            Move::Refused(self, RoundError::OutOfSequence)
        }
    }

    /// Takes what stands on the lane. A player who names a lane means that one; after a loss of the live state the round first
    /// walks there.
    pub fn cash_out(self, lane: Option<u8>) -> Move {
        let target = lane.map_or(self.lane, i16::from);
        if target == self.lane {
            return self.cash_out_here();
        }
        if !self.is_restored || target < self.lane || target > i16::from(self.terms.max_lane) {
            return Move::Refused(self, RoundError::OutOfSequence);
        }
        match self.walk_to(target) {
            Move::Standing(open) => open.cash_out_here(),
            other => other,
        }
    }

    /// Ends the round because its time is up: what stands on the lane is paid, and before the first step the stake is given back.
    pub fn deadline(self) -> Move {
        if self.lane == -1 {
            self.end_on(EndReason::Void, -1)
        } else {
            self.end_here(EndReason::Deadline)
        }
    }

    /// Goes lane by lane, so that naming a lane further on gains nothing: a collision on the way ends the round there.
    fn walk_to(mut self, target: i16) -> Move {
        if let Some(collision) = self.terms.first_collision().map(i16::from).filter(|collision| *collision <= target) {
            return self.end_on(EndReason::Hazard, collision);
        }
        self.lane = target;
        self.is_restored = false;
        self.stand_or_win()
    }

    /// Reaching the last playable lane cashes out. A restored round may already stand there.
    fn stand_or_win(self) -> Move {
        if self.is_on_last_lane() {
            self.end_here(EndReason::Win)
        } else {
            Move::Standing(self)
        }
    }

    fn cash_out_here(self) -> Move {
        let reason = if self.is_on_last_lane() {
            EndReason::Win
        } else {
            EndReason::Cashout
        };
        self.end_here(reason)
    }

    fn is_on_last_lane(&self) -> bool {
        self.lane == i16::from(self.terms.max_lane)
    }

    fn end_here(self, reason: EndReason) -> Move {
        if self.lane == -1 {
            return Move::Refused(self, RoundError::TooEarly);
        }
        let lane = self.lane;
        self.end_on(reason, lane)
    }

    fn end_on(self, reason: EndReason, lane: i16) -> Move {
        match self.terms.end(reason, lane) {
            Ok(ended) => Move::Ended(ended),
            Err(error) => Move::Refused(self, error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::game::money::{Amount, Coefficient};

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

    fn standing(outcome: Move) -> Open {
        match outcome {
            Move::Standing(open) => open,
            other => panic!("the round should go on: {other:?}"),
        }
    }

    fn ended(outcome: Move) -> (EndReason, i16, u64) {
        match outcome {
            Move::Ended(ended) => (ended.reason, ended.lane, ended.payout.minor()),
            other => panic!("the round should have ended: {other:?}"),
        }
    }

    fn refused(outcome: Move) -> RoundError {
        match outcome {
            Move::Refused(_, error) => error,
            other => panic!("the move should be refused: {other:?}"),
        }
    }

    #[test]
    fn walks_wins_loses_and_cashes_out() {
        let on_lane_0 = || standing(Open::begin(terms(&[2], 3)).step(0));
        assert_eq!(ended(on_lane_0().cash_out(None)), (EndReason::Cashout, 0, 1100));
        assert_eq!(ended(on_lane_0().cash_out(Some(0))), (EndReason::Cashout, 0, 1100));
        assert_eq!(ended(standing(on_lane_0().step(1)).step(2)), (EndReason::Hazard, 2, 0));
        assert_eq!(
            ended(standing(Open::begin(terms(&[2], 1)).step(0)).step(1)),
            (EndReason::Win, 1, 1500)
        );
        assert_eq!(ended(on_lane_0().deadline()), (EndReason::Deadline, 0, 1100));
        assert_eq!(ended(Open::begin(terms(&[], 3)).deadline()), (EndReason::Void, -1, 0));
    }

    #[test]
    fn a_repeat_changes_nothing_and_a_jump_is_refused() {
        let open = standing(Open::begin(terms(&[], 3)).step(0));
        assert_eq!(open.clone().step(0), Move::Standing(open.clone()));
        assert_eq!(refused(open.clone().step(2)), RoundError::OutOfSequence);
        assert_eq!(refused(open.clone().cash_out(Some(1))), RoundError::OutOfSequence);
        assert_eq!(refused(Open::begin(terms(&[], 3)).cash_out(None)), RoundError::TooEarly);
    }

    #[test]
    fn a_restored_round_walks_to_the_named_lane_once() {
        let restored = |collisions: &[u8]| Open::restore(terms(collisions, 3), 0).unwrap();
        assert_eq!(ended(restored(&[3]).cash_out(Some(2))), (EndReason::Cashout, 2, 2000));
        assert_eq!(ended(restored(&[1]).cash_out(Some(2))), (EndReason::Hazard, 1, 0));
        assert_eq!(ended(restored(&[]).step(3)), (EndReason::Win, 3, 3000));
        assert_eq!(ended(restored(&[]).cash_out(Some(3))), (EndReason::Win, 3, 3000));
        assert_eq!(refused(restored(&[]).step(4)), RoundError::OutOfSequence);
        let walked = standing(restored(&[]).step(1));
        assert_eq!(refused(walked.step(3)), RoundError::OutOfSequence);
        assert_eq!(ended(Open::restore(terms(&[], 3), 3).unwrap().step(3)), (EndReason::Win, 3, 3000));
        assert_eq!(Open::restore(terms(&[0], 3), 0), Err(RoundError::BeyondCollision { lane: 0 }));
    }
}
