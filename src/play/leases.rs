//! Which rows of the outbox this server has claimed and not finished. A server that ends before its calls do gives their leases
//! back, so that nobody waits for them to run out.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

/// The leases that are held now, by row and token. Clones share them.
#[derive(Clone, Default)]
pub struct Leases(Arc<Mutex<HashSet<(i64, String)>>>);

/// One lease, held until this is dropped.
pub struct Held {
    leases: Leases,
    lease: (i64, String),
}

impl Leases {
    /// Notes that a row was claimed with this token.
    pub fn hold(&self, outbox_id: i64, token: &str) -> Held {
        let lease = (outbox_id, token.to_owned());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(lease.clone());
        Held {
            leases: self.clone(),
            lease,
        }
    }

    /// The rows and the tokens of all that are held.
    pub fn held(&self) -> (Vec<i64>, Vec<String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().unzip()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.leases.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.lease);
    }
}
