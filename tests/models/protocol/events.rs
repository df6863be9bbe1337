//! What can happen next: the player asks, the servers go on, the network delivers; and everything that goes wrong around
//! them, at any moment and in any order.

use super::Protocol;
use super::state::{Request, SERVERS, State, Task};

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A player's bet reaches a server, which commits the intent.
    Bet(usize),
    /// A player's step onto a lane, any lane.
    Step(usize, i8),
    /// A player's cash-out, perhaps naming a lane.
    CashOut(usize, Option<i8>),
    /// The sweep finds an open bet: a PENDING one is cancelled; a decided end is finished; else its time is over.
    Sweep(usize),
    /// The sweep reads how far the open round has come.
    ReadProgress(usize),
    /// A server claims a row of the outbox.
    Claim(usize, usize),
    /// A server does the next step of what it is at.
    GoOn(usize),
    /// A server stops waiting for an answer, or finds that it is too late to send a debit.
    GiveUp(usize),
    /// A server is killed.
    Crash(usize),
    /// A claim runs out, whether its holder is dead or slow.
    LeaseRunsOut(usize),
    /// The operator gets a request, and accepts it if it is a debit.
    Deliver { request: Request, stays: bool },
    /// The operator gets a debit and refuses it.
    Refuse(Request),
    /// A request is lost.
    Lose(Request),
    /// Redis loses everything.
    Wipe,
    /// What Redis has reaches its disk.
    Sync,
    /// Redis comes back with what its disk has, which may be older than what it had.
    ComeBackOlder,
    /// The session of an ended bet runs out.
    Expire,
}

impl Event {
    /// Whether it is something that goes wrong, as opposed to work being done.
    pub(super) fn is_fault(self) -> bool {
        matches!(
            self,
            Self::GiveUp(_)
                | Self::Crash(_)
                | Self::LeaseRunsOut(_)
                | Self::Deliver { stays: true, .. }
                | Self::Refuse(_)
                | Self::Lose(_)
                | Self::Wipe
                | Self::ComeBackOlder
        )
    }
}

impl Protocol {
    /// Everything that may be tried; what cannot be done changes nothing.
    pub(super) fn events(&self, state: &State, events: &mut Vec<Event>) {
        for server in 0..SERVERS {
            if state.servers[server] == Task::Idle {
                // Idle servers are alike, so it is enough that the first one begins something.
                if server > 0 && state.servers[server - 1] == Task::Idle {
                    continue;
                }
                events.extend([Event::Bet(server), Event::Sweep(server), Event::ReadProgress(server)]);
                if !self.player_is_careful {
                    events.push(Event::CashOut(server, None));
                }
                for lane in self.lanes_asked_for(state) {
                    events.extend([Event::Step(server, lane), Event::CashOut(server, Some(lane))]);
                }
                events.extend((0..state.outbox.len()).map(|row| Event::Claim(server, row)));
            } else {
                events.extend([Event::GoOn(server), Event::GiveUp(server), Event::Crash(server)]);
            }
        }
        events.extend((0..state.outbox.len()).map(Event::LeaseRunsOut));
        for request in &state.network {
            let request = *request;
            events.extend([
                Event::Deliver { request, stays: false },
                Event::Deliver { request, stays: true },
                Event::Refuse(request),
                Event::Lose(request),
            ]);
        }
        events.extend([Event::Wipe, Event::Expire]);
        if self.redis_has_disk {
            events.extend([Event::Sync, Event::ComeBackOlder]);
        }
    }

    /// A careful client names the lane on which it was shown standing, or the next; any other may name all.
    fn lanes_asked_for(&self, state: &State) -> std::ops::RangeInclusive<i8> {
        match state.told.last() {
            Some(told) if self.player_is_careful => told.lane.max(0)..=self.max_lane.min(told.lane + 1),
            _ => 0..=self.max_lane,
        }
    }
}
