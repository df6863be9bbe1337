//! What there is in the small world of the protocol model: PostgreSQL, Redis, the operator, the network, two servers, and what
//! the player was told. Everything that is left out (seeds, amounts, addresses) decides nothing here.

use std::collections::BTreeSet;

use faircross::game::bet_state::BetState;

/// How many servers there are. Each does one thing at a time: two things at once on one server meet in the stores just as
/// two servers do.
pub const SERVERS: usize = 2;

/// How a placed bet ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum End {
    Win(i8),
    CashOut(i8),
    Deadline(i8),
    Hazard(i8),
    Void,
}

impl End {
    /// What is paid, in a currency in which standing on lane k pays k + 2 and a stake is 1.
    pub fn payout(self) -> u8 {
        match self {
            Self::Win(lane) | Self::CashOut(lane) | Self::Deadline(lane) => lane.unsigned_abs() + 2,
            Self::Hazard(_) | Self::Void => 0,
        }
    }
}

/// A row of `bets`. Its place is its sequence.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Bet {
    /// The platformTxId.
    pub id: u8,
    pub state: BetState,
    pub last_lane: i8,
    pub end: Option<End>,
}

/// What is asked of the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    Bet,
    Cancel,
    Settle { payout: u8 },
    Void,
}

/// A row of `outbox`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Owed {
    pub sequence: u8,
    pub call: Call,
    /// Only due when the debit can no longer be on its way.
    pub is_second_cancel: bool,
    /// Sends so far, as far as anybody can tell them apart: counted only where each send has an id of its own.
    pub attempt: u8,
    pub leased_by: Option<u8>,
    pub is_done: bool,
}

/// The session in Redis; the road's own facts are the model's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Session {
    pub sequence: u8,
    pub lane: i8,
    pub restored: bool,
    /// It was written, or confirmed by PostgreSQL, in this run of Redis.
    pub is_confirmed: bool,
    pub end: Option<End>,
}

/// A request on its way. Equal bytes on their way twice are one entry that may be delivered any number of times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Request {
    pub id: u8,
    pub call: Call,
    pub attempt: u8,
}

/// What the operator said, where it was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Answer {
    Applied,
    Declined,
}

/// What a server is at. Its place in the order of the flows is all that it knows beyond the stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Task {
    Idle,
    /// Between K2 and K3: the intent is committed.
    SendDebit {
        sequence: u8,
        id: u8,
    },
    /// From K3 to K4.
    AwaitDebit {
        sequence: u8,
        id: u8,
        answer: Option<Answer>,
    },
    /// K5: the outcome is written.
    OpenSession {
        sequence: u8,
    },
    /// A lost session was missed, the row was read.
    Restore {
        sequence: u8,
        lane: i8,
    },
    /// K17: the sweep has read how far a round has come.
    KeepProgress {
        sequence: u8,
        lane: i8,
    },
    /// K9: a script has decided.
    Commit {
        sequence: u8,
        end: End,
    },
    /// K11 and K14: a row is claimed.
    Send {
        row: usize,
    },
    /// K12, K13, K15 and K16.
    Await {
        row: usize,
        request: Request,
        answer: Option<Answer>,
    },
    /// A mutant: the debit went out before the intent.
    IntentAfterDebit {
        id: u8,
    },
}

/// What the operator knows of one id.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Account {
    pub id: u8,
    pub debits: u8,
    /// Stakes returned and wins or losses settled: whatever ended the bet, each time that it did.
    pub endings: u8,
    pub refunds: u8,
    pub settled_payout: Option<u8>,
    pub is_refused: bool,
    /// Cancelled before it was seen, at an operator that remembers.
    pub is_barred: bool,
    /// The settles that were applied, by attempt.
    pub settled_attempts: BTreeSet<u8>,
}

/// What the player was told of a bet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Told {
    /// The highest lane on which they were shown standing while the round was open.
    pub lane: i8,
    pub end: Option<End>,
}

/// Everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub bets: Vec<Bet>,
    pub outbox: Vec<Owed>,
    pub session: Option<Session>,
    /// What of the session is on Redis's disk, where the model has one.
    pub on_disk: Option<Session>,
    /// Redis was wiped or came back older at some time: lanes that no sweep had kept may be forgotten.
    pub was_wiped: bool,
    /// A known limit: the server that placed a bet was so slow that its session was rebuilt, played on and lost in the meantime,
    /// and then opened it as if nothing had been played. The player is asked for lanes again that were shown; each gives
    /// the same answer as before.
    pub was_opened_late: bool,
    pub network: BTreeSet<Request>,
    pub accounts: Vec<Account>,
    pub servers: [Task; SERVERS],
    pub told: Vec<Told>,
    /// The next platformTxId.
    pub next_id: u8,
    /// The latest bet that had a session since there was none: what the session that stands may not give way below.
    pub highest_session: Option<u8>,
    /// How many more things may go wrong; `None`: any number.
    pub faults_left: Option<u8>,
}

impl State {
    /// Nothing has happened yet.
    pub fn new(faults: Option<u8>) -> Self {
        Self {
            bets: Vec::new(),
            outbox: Vec::new(),
            session: None,
            on_disk: None,
            was_wiped: false,
            was_opened_late: false,
            network: BTreeSet::new(),
            accounts: Vec::new(),
            servers: [Task::Idle; SERVERS],
            told: Vec::new(),
            next_id: 0,
            highest_session: None,
            faults_left: faults,
        }
    }

    pub fn bet(&self, sequence: u8) -> &Bet {
        &self.bets[usize::from(sequence)]
    }

    pub fn bet_mut(&mut self, sequence: u8) -> &mut Bet {
        &mut self.bets[usize::from(sequence)]
    }

    pub fn told_mut(&mut self, sequence: u8) -> &mut Told {
        &mut self.told[usize::from(sequence)]
    }

    /// The session of the open round is not behind the lane that the player was shown, or will walk there.
    pub fn can_go_on_from_what_was_shown(&self) -> bool {
        self.confirmed_session().is_none_or(|session| {
            let is_played = session.end.is_none() && self.bet(session.sequence).state == BetState::Placed;
            !is_played || self.was_opened_late || session.restored || session.lane >= self.told[usize::from(session.sequence)].lane
        })
    }

    /// The session on which a move may be decided: one of an earlier run of Redis counts as missing.
    pub fn confirmed_session(&self) -> Option<Session> {
        self.session.filter(|session| session.is_confirmed)
    }

    pub fn open_bet(&self) -> Option<u8> {
        let place = self.bets.iter().position(|bet| bet.state.is_open())?;
        u8::try_from(place).ok()
    }

    /// The operator's account of an id, made when it is first heard of.
    pub fn account_mut(&mut self, id: u8) -> &mut Account {
        let place = match self.accounts.binary_search_by_key(&id, |account| account.id) {
            Ok(place) => place,
            Err(place) => {
                self.accounts.insert(place, Account { id, ..Account::default() });
                place
            }
        };
        &mut self.accounts[place]
    }

    /// Nothing is under way and nothing is owed.
    pub fn is_at_rest(&self) -> bool {
        self.servers.iter().all(|task| *task == Task::Idle)
            && self.network.is_empty()
            && self.outbox.iter().all(|row| row.is_done)
            && self.bets.iter().all(|bet| bet.state.is_final())
    }

    /// The same state, written in one way. The servers are alike: of two states that differ only in who is who, one is enough. And
    /// of a bet that has come to its end nothing depends any more on the lanes by which it came there; they were checked
    /// when the end was committed.
    pub fn in_order(mut self) -> Self {
        for (bet, told) in self.bets.iter_mut().zip(&mut self.told).filter(|(bet, _)| bet.state.is_final()) {
            (bet.last_lane, told.lane) = (-1, -1);
        }
        if self.servers[0] > self.servers[1] {
            self.servers.swap(0, 1);
            for row in &mut self.outbox {
                row.leased_by = row.leased_by.map(|server| 1 - server);
            }
        }
        self
    }
}
