//! What each event does: the steps of the flows, in the order in which the product makes them.

use faircross::game::bet_state::BetState;

use super::events::Event;
use super::operator;
use super::state::{Answer, Bet, Call, End, Owed, Request, Session, State, Task, Told};
use super::{Mutant, Protocol};

impl Protocol {
    /// The state after an event; `None` where it cannot happen or changes nothing.
    pub(super) fn after(&self, before: &State, event: Event) -> Option<State> {
        let mut state = before.clone();
        match event {
            Event::Bet(server) => self.begin_bet(&mut state, server)?,
            Event::Step(server, lane) => self.move_on(&mut state, server, Some(lane), false)?,
            Event::CashOut(server, lane) => self.move_on(&mut state, server, lane, true)?,
            Event::Sweep(server) => self.sweep(&mut state, server)?,
            Event::ReadProgress(server) => read_progress(&mut state, server)?,
            Event::Claim(server, row) => claim(&mut state, server, row)?,
            Event::GoOn(server) => self.go_on(&mut state, server)?,
            Event::GiveUp(server) => self.give_up(&mut state, server)?,
            Event::Crash(server) => state.servers[server] = Task::Idle,
            Event::LeaseRunsOut(row) => state.outbox[row].leased_by = None,
            Event::Deliver { request, stays } => self.deliver(&mut state, request, true, stays),
            Event::Refuse(request) if request.call == Call::Bet => self.deliver(&mut state, request, false, false),
            Event::Refuse(_) => return None,
            Event::Lose(request) => drop(state.network.remove(&request)),
            Event::Sync => state.on_disk = state.session,
            Event::ComeBackOlder => {
                let is_confirmed = self.mutant == Some(Mutant::OldSessionTrusted);
                state.session = state.on_disk.map(|session| Session { is_confirmed, ..session });
                state.on_disk = state.session;
                state.highest_session = state.session.map(|session| session.sequence);
                state.was_wiped = true;
            }
            Event::Wipe => {
                state.on_disk = None;
                (state.session, state.highest_session) = (None, None);
                state.was_wiped = !state.bets.is_empty();
            }
            Event::Expire => {
                let session = state.session?;
                if state.bet(session.sequence).state.is_open() {
                    return None;
                }
                (state.session, state.highest_session) = (None, None);
            }
        }
        (state != *before).then(|| state.in_order())
    }

    /// K1 and K2: the unique index allows one open bet.
    fn begin_bet(&self, state: &mut State, server: usize) -> Option<()> {
        if state.open_bet().is_some() || state.next_id >= self.bets {
            return None;
        }
        let id = state.next_id;
        state.next_id += 1;
        if self.mutant == Some(Mutant::DebitBeforeIntent) {
            state.network.insert(debit(id));
            state.servers[server] = Task::IntentAfterDebit { id };
        } else {
            state.servers[server] = commit_intent(state, id)?;
        }
        Some(())
    }

    /// A step or a cash-out: one script, or the rebuilding of a session that is missing.
    fn move_on(&self, state: &mut State, server: usize, lane: Option<i8>, cashes_out: bool) -> Option<()> {
        let Some(session) = state.confirmed_session() else {
            return restore(state, server);
        };
        let moved = if session.end.is_some() {
            session
        } else {
            self.script(session, lane, cashes_out)?
        };
        state.session = Some(moved);
        self.heed(state, server, moved);
        Some(())
    }

    /// The scripts step.lua and cash_out.lua. `None`: refused.
    fn script(&self, session: Session, lane: Option<i8>, cashes_out: bool) -> Option<Session> {
        let lane = lane.unwrap_or(session.lane);
        if cashes_out && session.lane == -1 && (lane == -1 || !session.restored) {
            return None;
        }
        let highest = match (session.restored, cashes_out) {
            (true, _) => self.max_lane,
            (false, true) => session.lane,
            (false, false) => session.lane + 1,
        };
        if lane < session.lane || lane > highest {
            return None;
        }
        let walked = self.walk(session, lane);
        Some(if cashes_out && walked.end.is_none() {
            ended(session, End::CashOut(lane))
        } else {
            walked
        })
    }

    /// Walks to a lane: a hazard on the way ends the round there, the last playable lane wins.
    fn walk(&self, session: Session, lane: i8) -> Session {
        let trusts = self.mutant == Some(Mutant::NamedLaneTrusted) && session.restored;
        if self.collision.is_some_and(|collision| collision <= lane) && !trusts {
            return ended(session, End::Hazard(self.collision.unwrap_or(lane)));
        }
        if lane == self.max_lane {
            return ended(session, End::Win(lane));
        }
        let restored = session.restored && lane == session.lane;
        Session { lane, restored, ..session }
    }

    /// What a server does with the session that a script returned.
    fn heed(&self, state: &mut State, server: usize, session: Session) {
        match session.end {
            Some(end) => {
                if self.mutant == Some(Mutant::HazardToldBeforeCommit) && matches!(end, End::Hazard(_)) {
                    state.told_mut(session.sequence).end = Some(end);
                }
                state.servers[server] = Task::Commit {
                    sequence: session.sequence,
                    end,
                };
            }
            // A rebuilt session may outlive its round by an answer; it shows a lane and pays nothing.
            None if state.bet(session.sequence).state == BetState::Placed => {
                let told = state.told_mut(session.sequence);
                told.lane = told.lane.max(session.lane);
            }
            None => {}
        }
    }

    fn sweep(&self, state: &mut State, server: usize) -> Option<()> {
        let sequence = state.open_bet()?;
        if state.bet(sequence).state == BetState::Pending {
            self.cancel(state, sequence);
            return Some(());
        }
        // The deadline may have come at any time; its script goes by the sequence.
        let Some(session) = state.confirmed_session().filter(|session| session.sequence == sequence) else {
            return restore(state, server);
        };
        let session = match session {
            Session { end: Some(_), .. } => session,
            Session { lane: -1, .. } => ended(session, End::Void),
            Session { lane, .. } => match self.walk(session, lane) {
                walked @ Session { end: Some(_), .. } => walked,
                _ => ended(session, End::Deadline(lane)),
            },
        };
        state.session = Some(session);
        self.heed(state, server, session);
        Some(())
    }

    /// The next step of what a server is at.
    fn go_on(&self, state: &mut State, server: usize) -> Option<()> {
        state.servers[server] = match state.servers[server] {
            Task::Idle => return None,
            Task::IntentAfterDebit { id } => {
                if state.open_bet().is_some() {
                    return None;
                }
                commit_intent(state, id)?
            }
            Task::SendDebit { sequence, id } => Task::AwaitDebit {
                sequence,
                id,
                answer: self.put_on_the_way(state, debit(id)),
            },
            Task::AwaitDebit { sequence, answer, .. } => self.record_outcome(state, sequence, answer?),
            Task::OpenSession { sequence } => {
                state.was_opened_late |= self.player_is_careful && state.session.is_none() && state.told[usize::from(sequence)].lane >= 0;
                self.open_session(
                    state,
                    Session {
                        sequence,
                        lane: -1,
                        restored: false,
                        is_confirmed: true,
                        end: None,
                    },
                );
                Task::Idle
            }
            Task::Restore { sequence, lane } => {
                self.open_session(
                    state,
                    Session {
                        sequence,
                        lane,
                        restored: true,
                        is_confirmed: true,
                        end: None,
                    },
                );
                Task::Idle
            }
            Task::KeepProgress { sequence, lane } => {
                let bet = state.bet_mut(sequence);
                if bet.state == BetState::Placed && bet.last_lane < lane {
                    bet.last_lane = lane;
                }
                Task::Idle
            }
            Task::Commit { sequence, end } => self.commit_end(state, server, sequence, end),
            Task::Send { row } => self.send(state, row),
            Task::Await { row, answer, .. } => {
                record_answer(state, row, answer?);
                Task::Idle
            }
        };
        Some(())
    }

    /// K4: one statement records what came of the debit.
    fn record_outcome(&self, state: &mut State, sequence: u8, answer: Answer) -> Task {
        let revives = self.mutant == Some(Mutant::OutcomeOverCancel);
        let is_pending = state.bet(sequence).state == BetState::Pending;
        match answer {
            Answer::Applied if is_pending || revives => {
                state.bet_mut(sequence).state = BetState::Placed;
                return Task::OpenSession { sequence };
            }
            // Its cancellation had begun: this debit may have come after the first cancel.
            Answer::Applied => match state.bet(sequence).state {
                BetState::PendingCancel | BetState::Cancelled | BetState::Rejected => owe(state, sequence, Call::Cancel, false),
                _ => {}
            },
            Answer::Declined if is_pending => state.bet_mut(sequence).state = BetState::Rejected,
            Answer::Declined => {}
        }
        Task::Idle
    }

    fn give_up(&self, state: &mut State, server: usize) -> Option<()> {
        state.servers[server] = match (state.servers[server], self.mutant) {
            (Task::AwaitDebit { sequence, .. }, Some(Mutant::UnknownRetriedAsNewBet)) if state.next_id <= self.bets => {
                let id = state.next_id;
                state.next_id += 1;
                state.network.insert(debit(id));
                Task::AwaitDebit {
                    sequence,
                    id,
                    answer: None,
                }
            }
            (Task::AwaitDebit { sequence, .. }, Some(Mutant::TimeoutTakenForRefusal)) => {
                self.record_outcome(state, sequence, Answer::Declined)
            }
            (Task::SendDebit { sequence, .. } | Task::AwaitDebit { sequence, .. }, _) => {
                self.cancel(state, sequence);
                Task::Idle
            }
            // The row is put off: it is due again at any later time.
            (Task::Await { row, .. }, _) => {
                if state.outbox[row].leased_by.map(usize::from) == Some(server) {
                    state.outbox[row].leased_by = None;
                }
                Task::Idle
            }
            _ => return None,
        };
        Some(())
    }

    /// Nobody knows whether the stake was taken: it is returned, at once and once more later.
    fn cancel(&self, state: &mut State, sequence: u8) {
        if state.bet(sequence).state != BetState::Pending {
            return;
        }
        state.bet_mut(sequence).state = BetState::PendingCancel;
        owe(state, sequence, Call::Cancel, false);
        if self.mutant != Some(Mutant::NoSecondCancel) {
            owe(state, sequence, Call::Cancel, true);
        }
    }

    /// open_session.lua: never in the place of the same or a later bet. One of the same bet that an earlier run of Redis left is
    /// confirmed, on the later of both lanes.
    fn open_session(&self, state: &mut State, offered: Session) {
        state.session = match state.session {
            Some(standing) if self.mutant == Some(Mutant::UnfencedActivation) || standing.sequence < offered.sequence => Some(offered),
            Some(standing) if standing.sequence == offered.sequence && !standing.is_confirmed => Some(Session {
                is_confirmed: true,
                restored: standing.end.is_none(),
                lane: if standing.end.is_none() {
                    standing.lane.max(offered.lane)
                } else {
                    standing.lane
                },
                ..standing
            }),
            Some(standing) => Some(standing),
            None => Some(offered),
        };
        let now = state.session.map(|session| session.sequence);
        state.highest_session = state.highest_session.max(now);
    }

    /// K10: the transition and the outbox row; then the player is told.
    fn commit_end(&self, state: &mut State, server: usize, sequence: u8, end: End) -> Task {
        let bet = state.bet_mut(sequence);
        if bet.state != BetState::Placed {
            if !bet.state.is_open() {
                state.told[usize::from(sequence)].end = state.bets[usize::from(sequence)].end;
            }
            return Task::Idle;
        }
        let (next, call) = match end {
            End::Void => (BetState::PendingVoid, Call::Void),
            end => (BetState::PendingSettlement, Call::Settle { payout: end.payout() }),
        };
        (bet.state, bet.end) = (next, Some(end));
        owe(state, sequence, call, false);
        let row = state.outbox.len() - 1;
        state.outbox[row].leased_by = u8::try_from(server).ok();
        state.told_mut(sequence).end = Some(end);
        Task::Send { row }
    }

    /// K12 and K15: the bytes go out as they were stored.
    fn send(&self, state: &mut State, row: usize) -> Task {
        let renames = self.mutant == Some(Mutant::SettleUnderNewId);
        let id = state.bet(state.outbox[row].sequence).id;
        let owed = &mut state.outbox[row];
        let request = Request {
            id,
            call: owed.call,
            attempt: owed.attempt,
        };
        if renames {
            owed.attempt = (owed.attempt + 1).min(2);
        }
        Task::Await {
            row,
            request,
            answer: self.put_on_the_way(state, request),
        }
    }

    /// A request goes out. In a prompt network it has arrived and was answered when this returns.
    fn put_on_the_way(&self, state: &mut State, request: Request) -> Option<Answer> {
        if self.is_prompt {
            return Some(operator::apply(self.operator, state.account_mut(request.id), request, true));
        }
        state.network.insert(request);
        None
    }

    /// A request comes to the operator; whoever waits for its answer may hear it.
    fn deliver(&self, state: &mut State, request: Request, accepts: bool, stays: bool) {
        if !stays {
            state.network.remove(&request);
        }
        let said = operator::apply(self.operator, state.account_mut(request.id), request, accepts);
        for task in &mut state.servers {
            match task {
                Task::AwaitDebit { id, answer, .. } if request == debit(*id) => *answer = Some(said),
                Task::Await {
                    request: awaited, answer, ..
                } if request == *awaited => *answer = Some(said),
                _ => {}
            }
        }
    }
}

fn debit(id: u8) -> Request {
    Request {
        id,
        call: Call::Bet,
        attempt: 0,
    }
}

fn ended(session: Session, end: End) -> Session {
    let lane = match end {
        End::Win(lane) | End::CashOut(lane) | End::Deadline(lane) | End::Hazard(lane) => lane,
        End::Void => -1,
    };
    Session {
        lane,
        restored: false,
        end: Some(end),
        ..session
    }
}

/// The intent: one row, and the sequence is its place.
fn commit_intent(state: &mut State, id: u8) -> Option<Task> {
    let sequence = u8::try_from(state.bets.len()).ok()?;
    state.bets.push(Bet {
        id,
        state: BetState::Pending,
        last_lane: -1,
        end: None,
    });
    state.told.push(Told { lane: -1, end: None });
    Some(Task::SendDebit { sequence, id })
}

/// A session is missing: the row of the open round is read, and the session opened from it in a second step.
fn restore(state: &mut State, server: usize) -> Option<()> {
    let sequence = state.open_bet().filter(|sequence| state.bet(*sequence).state == BetState::Placed)?;
    let lane = state.bet(sequence).last_lane;
    state.servers[server] = Task::Restore { sequence, lane };
    Some(())
}

fn read_progress(state: &mut State, server: usize) -> Option<()> {
    let session = state.session.filter(|session| session.end.is_none())?;
    let bet = state.bet(session.sequence);
    if bet.state != BetState::Placed || session.lane <= bet.last_lane {
        return None;
    }
    state.servers[server] = Task::KeepProgress {
        sequence: session.sequence,
        lane: session.lane,
    };
    Some(())
}

fn owe(state: &mut State, sequence: u8, call: Call, is_second_cancel: bool) {
    state.outbox.push(Owed {
        sequence,
        call,
        is_second_cancel,
        attempt: 0,
        leased_by: None,
        is_done: false,
    });
}

fn claim(state: &mut State, server: usize, row: usize) -> Option<()> {
    let owed = &state.outbox[row];
    let id = state.bet(owed.sequence).id;
    // The second cancel is timed so that the debit has come or is lost: this is what its two minutes are for.
    let debit_may_come = state.network.contains(&debit(id))
        || state
            .servers
            .iter()
            .any(|task| matches!(task, Task::SendDebit { id: other, .. } if *other == id));
    if owed.is_done || owed.leased_by.is_some() || (owed.is_second_cancel && debit_may_come) {
        return None;
    }
    state.outbox[row].leased_by = u8::try_from(server).ok();
    state.servers[server] = Task::Send { row };
    Some(())
}

/// K13 and K16: a success ends the row and the bet, whoever holds the lease by now.
fn record_answer(state: &mut State, row: usize, answer: Answer) {
    let owed = &mut state.outbox[row];
    owed.leased_by = None;
    if answer == Answer::Declined || owed.is_done {
        return;
    }
    owed.is_done = true;
    let (sequence, call) = (owed.sequence, owed.call);
    let bet = state.bet_mut(sequence);
    bet.state = match (call, bet.state) {
        (Call::Cancel, BetState::PendingCancel) => BetState::Cancelled,
        (Call::Void, BetState::PendingVoid) => BetState::Voided,
        (Call::Settle { payout: 0 }, BetState::PendingSettlement) => BetState::Lost,
        (Call::Settle { .. }, BetState::PendingSettlement) => BetState::Won,
        (_, unmoved) => unmoved,
    };
}
