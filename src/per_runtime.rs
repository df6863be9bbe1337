//! What every thread that serves has one of. Each worker of the HTTP server is a runtime of its own on one thread, and a
//! connection is driven by the runtime on which it was made: if another one asks through it, each command wakes a second
//! thread and each answer the first one again. So each runtime makes its own when it first needs it.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use tokio::runtime::{Handle, Id};

/// One `T` for each runtime that asked. They live as long as this does; there are as many as workers, and one for the jobs.
pub struct PerRuntime<T> {
    made: RwLock<HashMap<Id, T>>,
}

impl<T> Default for PerRuntime<T> {
    fn default() -> Self {
        Self { made: RwLock::default() }
    }
}

impl<T: Clone> PerRuntime<T> {
    /// This runtime's own, made now if there is none yet.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn here(&self, make: impl FnOnce() -> T) -> T {
        let id = Handle::current().id();
        if let Some(made) = self.made.read().unwrap_or_else(PoisonError::into_inner).get(&id) {
            return made.clone();
        }
        self.made
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(id)
            .or_insert_with(make)
            .clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_runtime_makes_its_own_once() {
        let numbers = PerRuntime::default();
        let mut made = 0;
        let mut next = || {
            made += 1;
            made
        };
        let [first, second] = [0, 1].map(|_| tokio::runtime::Builder::new_current_thread().build().expect("a runtime"));
        for expected in [1, 1] {
            assert_eq!(first.block_on(async { numbers.here(&mut next) }), expected);
        }
        assert_eq!(second.block_on(async { numbers.here(&mut next) }), 2);
        assert_eq!(first.block_on(async { numbers.here(&mut next) }), 1);
    }
}
