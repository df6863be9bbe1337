//! The bet protocol in every order in which its steps can happen. A model checker walks through all states that two servers, one
//! player, one operator, Redis and PostgreSQL can come to: every step of placing a bet, moving, finishing, sweeping and draining, as
//! the product orders them, with a server killed between any two, Redis wiped or set back, and every request to the operator late, lost
//! or doubled. In each of these states the invariants of the money must hold, and from each of them, when the faults stop,
//! recovery alone must bring every bet to its end with books that agree.
//!
//! A model that cannot fail shows nothing, so the protocol is also broken on purpose, in ten ways, and each must be found.
//!
//! What the model assumes: each statement and each script happens at once or not at all; the operator keeps its word about ids
//! (one that forgets the cancels of unknown bets is checked too); a debit arrives or is lost within the two minutes before
//! the second cancel.

mod events;
mod moves;
mod operator;
mod state;

use faircross::clock::Clock;
use faircross::game::bet_state::BetState;
use stateright::{Checker, Model, Property};

use events::Event;
use operator::OperatorHabits;
use state::{End, State, Task};

/// A way to break the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mutant {
    /// The debit is sent first and the intent committed after.
    DebitBeforeIntent,
    /// A debit without an answer is sent again under a new id.
    UnknownRetriedAsNewBet,
    /// A debit without an answer is booked as refused.
    TimeoutTakenForRefusal,
    /// A 0000 places the bet whatever has become of it meanwhile.
    OutcomeOverCancel,
    /// The player hears of a hazard before the record has it.
    HazardToldBeforeCommit,
    /// Each attempt of a settle has an id of its own, as has a refund that is first paid and then marked.
    SettleUnderNewId,
    /// Only one cancel, at once.
    NoSecondCancel,
    /// A session is opened over whatever is there.
    UnfencedActivation,
    /// A session that Redis brought back from its disk is played on as it is.
    OldSessionTrusted,
    /// On a rebuilt session the player's lane is believed.
    NamedLaneTrusted,
}

/// A bounded world and how it is run.
#[derive(Clone, Debug)]
struct Protocol {
    /// How many bets the player places.
    bets: u8,
    collision: Option<i8>,
    max_lane: i8,
    operator: OperatorHabits,
    /// Every request arrives at once; only its answer may be lost.
    is_prompt: bool,
    /// Redis may come back with an older state than it had.
    redis_has_disk: bool,
    /// The player's client names the lanes that it was shown.
    player_is_careful: bool,
    /// How many things may go wrong; `None`: any number.
    faults: Option<u8>,
    mutant: Option<Mutant>,
}

impl Model for Protocol {
    type State = State;
    type Action = Event;

    fn init_states(&self) -> Vec<State> {
        vec![State::new(self.faults)]
    }

    fn actions(&self, state: &State, events: &mut Vec<Event>) {
        self.events(state, events);
    }

    fn next_state(&self, state: &State, event: Event) -> Option<State> {
        let faults_left = match state.faults_left {
            Some(left) if event.is_fault() => Some(left.checked_sub(1)?),
            unchanged => unchanged,
        };
        self.after(state, event).map(|after| State { faults_left, ..after })
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("a bet is ended once with the operator", |_, state: &State| {
                state.accounts.iter().all(|account| account.endings <= 1 && account.debits <= 1)
            }),
            Property::always("one open bet", |_, state: &State| {
                state.bets.iter().filter(|bet| bet.state.is_open()).count() <= 1
            }),
            Property::always("no payout beyond the last safe lane", Protocol::pays_what_the_road_allows),
            Property::always("the player is never told of an end that is not durable", |_, state: &State| {
                state
                    .told
                    .iter()
                    .zip(&state.bets)
                    .all(|(told, bet)| told.end.is_none() || told.end == bet.end)
            }),
            Property::always("what was shown is paid", |_, state: &State| {
                state.was_wiped
                    || state
                        .told
                        .iter()
                        .zip(&state.bets)
                        .all(|(told, bet)| is_paid_as_shown(told.lane, bet.end))
            }),
            Property::always("a careful player goes on from what was shown", |model, state: &State| {
                !model.player_is_careful || state.can_go_on_from_what_was_shown()
            }),
            Property::always("a session never gives way to an earlier bet's", |_, state: &State| {
                state.session.is_none_or(|session| state.highest_session <= Some(session.sequence))
            }),
            Property::always("at rest the books agree", |_, state: &State| {
                !state.is_at_rest() || books_agree(state)
            }),
            Property::always("when the faults stop every bet ends and the books agree", |model, state: &State| {
                model.goes_on_by_itself(state) || model.recovers(state)
            }),
            Property::sometimes("a round is won", |_, state: &State| {
                state.is_at_rest() && state.bets.iter().any(|bet| bet.state == BetState::Won)
            }),
            Property::sometimes("a bet is cancelled after its debit", |_, state: &State| {
                state.is_at_rest() && state.accounts.iter().any(|account| account.debits == 1 && account.refunds == 1)
            }),
        ]
    }
}

/// Without a loss of Redis nobody is set back behind a lane on which they were shown standing.
fn is_paid_as_shown(shown: i8, end: Option<End>) -> bool {
    match end {
        None => true,
        Some(End::Win(lane) | End::CashOut(lane) | End::Deadline(lane)) => lane >= shown,
        Some(End::Hazard(lane)) => lane > shown,
        Some(End::Void) => shown == -1,
    }
}

/// Every account of the operator is a bet of ours that ended in the same way.
fn books_agree(state: &State) -> bool {
    state
        .accounts
        .iter()
        .all(|account| account.debits == 0 || state.bets.iter().any(|bet| bet.id == account.id))
        && state.bets.iter().all(|bet| {
            let account = state
                .accounts
                .iter()
                .find(|account| account.id == bet.id)
                .cloned()
                .unwrap_or_default();
            match bet.state {
                BetState::Won | BetState::Lost => {
                    account.debits == 1 && account.settled_payout == bet.end.map(End::payout) && account.refunds == 0
                }
                BetState::Voided => account.debits == 1 && account.refunds == 1,
                BetState::Cancelled => account.debits == account.refunds && account.settled_payout.is_none(),
                BetState::Rejected => account.debits == 0,
                _ => false,
            }
        })
}

impl Protocol {
    fn pays_what_the_road_allows(&self, state: &State) -> bool {
        state.bets.iter().all(|bet| match bet.end {
            Some(End::Win(lane) | End::CashOut(lane) | End::Deadline(lane)) => {
                lane <= self.max_lane && self.collision.is_none_or(|collision| lane < collision)
            }
            Some(End::Hazard(lane)) => self.collision == Some(lane),
            Some(End::Void) | None => true,
        })
    }

    /// The next step of the recovery is work that is under way, so the state after it is visited and checked itself. Such
    /// work comes to its end: no step goes back, and while it lasts nothing new is begun.
    fn goes_on_by_itself(&self, state: &State) -> bool {
        let busy = state.servers.iter().position(|task| *task != Task::Idle);
        !state.network.is_empty() || busy.is_some_and(|server| self.after(state, Event::GoOn(server)).is_some())
    }

    /// From here on nothing goes wrong and no player comes: what is under way goes on, what is on its way arrives, leases run
    /// out, the outbox is drained and the sweep ends what is open.
    fn recovers(&self, from: &State) -> bool {
        let mut state = from.clone();
        for _ in 0..100 {
            match self.next_of_recovery(&state) {
                Some(next) => state = next,
                None => return state.is_at_rest() && books_agree(&state),
            }
        }
        false
    }

    fn next_of_recovery(&self, state: &State) -> Option<State> {
        if let Some(request) = state.network.first() {
            return self.after(
                state,
                Event::Deliver {
                    request: *request,
                    stays: false,
                },
            );
        }
        if let Some(server) = state.servers.iter().position(|task| *task != Task::Idle) {
            return self
                .after(state, Event::GoOn(server))
                .or_else(|| self.after(state, Event::GiveUp(server)))
                .or_else(|| self.after(state, Event::Crash(server)));
        }
        if let Some(row) = state.outbox.iter().position(|row| !row.is_done) {
            return self
                .after(state, Event::LeaseRunsOut(row))
                .or_else(|| self.after(state, Event::Claim(0, row)));
        }
        self.after(state, Event::Sweep(0))
    }
}

const HONEST: OperatorHabits = OperatorHabits { remembers_cancels: true };
const FORGETFUL: OperatorHabits = OperatorHabits { remembers_cancels: false };

/// One bet on a road of two lanes, of which the second is hit.
fn one_bet(operator: OperatorHabits) -> Protocol {
    Protocol {
        bets: 1,
        collision: Some(1),
        max_lane: 1,
        operator,
        is_prompt: false,
        redis_has_disk: false,
        player_is_careful: false,
        faults: None,
        mutant: None,
    }
}

/// Walks through all states; prints how many there were, how deep they lie and how long it took.
fn check(name: &str, model: Protocol) {
    let clock = Clock::default();
    let start = clock.monotonic();
    let checker = model.checker().spawn_bfs().join();
    println!(
        "{name}: {} states ({} reached again), at most {} steps deep, {:.1} s",
        checker.unique_state_count(),
        checker.state_count() - checker.unique_state_count(),
        checker.max_depth(),
        clock.elapsed_since(start).as_secs_f32()
    );
    checker.assert_properties();
}

/// Asserts that a property breaks, and prints which and the shortest way there.
fn assert_caught(model: Protocol, mutant: Mutant) {
    let model = Protocol {
        mutant: Some(mutant),
        ..model
    };
    let checker = model
        .checker()
        .finish_when(stateright::HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    let found = checker
        .discoveries()
        .into_iter()
        .find(|(name, _)| checker.model().property(name).expectation.discovery_is_failure());
    let (name, path) = found.unwrap_or_else(|| panic!("{mutant:?} went unnoticed in {} states", checker.unique_state_count()));
    let events: Vec<String> = path.into_actions().iter().map(|event| format!("{event:?}")).collect();
    println!("{mutant:?} breaks \"{name}\": {}", events.join(", "));
}

/// Two bets, one after the other, with an operator that answers at once: what is left over of the first meets the second.
fn two_bets() -> Protocol {
    Protocol {
        bets: 2,
        is_prompt: true,
        faults: Some(faults()),
        ..one_bet(HONEST)
    }
}

/// One bet, and a Redis that comes back older, with an operator that answers at once.
fn redis_comes_back_older() -> Protocol {
    Protocol {
        is_prompt: true,
        redis_has_disk: true,
        player_is_careful: true,
        ..one_bet(HONEST)
    }
}

/// How many things may go wrong with two bets: one, and more in a longer run.
fn faults() -> u8 {
    std::env::var("MODEL_FAULTS").map_or(1, |text| text.parse().expect("MODEL_FAULTS is a small number"))
}

#[test]
fn one_bet_survives_every_order_of_events() {
    check("one bet, an operator that remembers cancels", one_bet(HONEST));
    check("one bet, an operator that forgets cancels", one_bet(FORGETFUL));
}

#[test]
fn what_is_left_of_a_bet_does_the_next_no_harm() {
    check("two bets", two_bets());
}

#[test]
fn a_redis_that_comes_back_older_takes_nothing_back_that_was_told() {
    check("one bet, a Redis that comes back older", redis_comes_back_older());
}

#[test]
fn every_planted_mistake_is_found() {
    let broken = [
        (one_bet(HONEST), Mutant::DebitBeforeIntent),
        (one_bet(HONEST), Mutant::UnknownRetriedAsNewBet),
        (one_bet(HONEST), Mutant::TimeoutTakenForRefusal),
        (one_bet(HONEST), Mutant::OutcomeOverCancel),
        (one_bet(HONEST), Mutant::HazardToldBeforeCommit),
        (one_bet(HONEST), Mutant::SettleUnderNewId),
        (one_bet(FORGETFUL), Mutant::NoSecondCancel),
        (one_bet(HONEST), Mutant::UnfencedActivation),
        (two_bets(), Mutant::UnfencedActivation),
        (redis_comes_back_older(), Mutant::OldSessionTrusted),
        (one_bet(HONEST), Mutant::NamedLaneTrusted),
    ];
    for (model, mutant) in broken {
        assert_caught(model, mutant);
    }
}
