//! What a query could not do, and what that says about PostgreSQL.

use std::borrow::Cow;

/// What a query could not do.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// A named constraint refused the statement; nothing of it was done.
    #[error("the constraint {name} refused the statement")]
    Constraint { name: String },
    /// PostgreSQL did not answer, or not in time: what the statement did is not known.
    #[error("PostgreSQL: {0}")]
    Unavailable(sqlx::Error),
    /// A stored value is not what this program writes.
    #[error("a stored value cannot be read: {what}")]
    Unreadable { what: &'static str },
}

impl From<sqlx::Error> for LedgerError {
    fn from(error: sqlx::Error) -> Self {
        match error.as_database_error().and_then(|database| database.constraint()) {
            Some(name) => Self::Constraint { name: name.to_owned() },
            None => Self::Unavailable(error),
        }
    }
}

impl LedgerError {
    /// The name of the constraint that refused the statement.
    pub fn constraint(&self) -> Option<&str> {
        match self {
            Self::Constraint { name } => Some(name),
            Self::Unavailable(_) | Self::Unreadable { .. } => None,
        }
    }

    /// No answer came within our own deadline.
    pub(super) fn silent() -> Self {
        Self::Unavailable(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))
    }

    /// Whether PostgreSQL is not there or cannot be written. Load says nothing of the kind: a wait for a connection, a statement
    /// that PostgreSQL gave up for its length or for a lock, or one that it refused because of its values or its neighbours. One
    /// player's request must not stop the rounds of all.
    pub(super) fn speaks_against_the_record(&self) -> bool {
        let Self::Unavailable(error) = self else { return false };
        match error {
            sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => true,
            sqlx::Error::Database(_) => self
                .state()
                .is_some_and(|state| OUTAGES.contains(&&*state) || ["08", "58", "XX"].iter().any(|class| state.starts_with(class))),
            _ => false,
        }
    }

    /// Whether the statement gave up waiting for a lock that another holds.
    pub(super) fn is_of_a_locked_row(&self) -> bool {
        self.state().as_deref() == Some("55P03")
    }

    /// Whether the statement was given up for a lock or for its length: what it was about can be tried again later, and others
    /// need not wait for it.
    pub fn is_of_its_own(&self) -> bool {
        self.state().is_some_and(|state| ["55P03", "57014", "40P01"].contains(&&*state))
    }

    fn state(&self) -> Option<Cow<'_, str>> {
        let Self::Unavailable(error) = self else { return None };
        error.as_database_error().and_then(|database| database.code())
    }
}

/// The states that say so, beside the classes of lost connections and of failures of the system: it was shut down, it crashed,
/// it is starting, the database is gone, it takes no writes, its disk or its memory is full.
const OUTAGES: [&str; 7] = ["57P01", "57P02", "57P03", "57P04", "25006", "53100", "53200"];
