//! Everything that is read from outside, fed with what nobody would send. Each target is a plain function of bytes that says
//! whether it took them: it must not panic, and what it takes must be exactly what was sent. The corpus in `tests/corpus`
//! is run as it is, then changed at random; `FUZZ_SECONDS=60` gives each target so much time. The targets are
//! bolero's, so its command line tool can run them under a coverage-guided engine too.

mod game;
mod input;
mod live;
mod wire;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A test that runs the corpus and so many random inputs, or random inputs for `FUZZ_SECONDS`.
macro_rules! target {
    ($name:ident, $property:path, $inputs:expr $(, $more:expr)?) => {
        #[test]
        fn $name() {
            let name = stringify!($name);
            let corpus: Vec<Vec<u8>> = input::corpus(name).into_iter()$(.chain([$more]))?.collect();
            let (run, taken) = (AtomicU64::new(0), AtomicU64::new(0));
            let feed = |bytes: &[u8]| {
                let _shown = ShownOnFailure(bytes);
                run.fetch_add(1, Ordering::Relaxed);
                taken.fetch_add(u64::from($property(bytes)), Ordering::Relaxed);
            };
            for entry in &corpus {
                feed(entry);
            }
            assert!(taken.load(Ordering::Relaxed) > 0, "something in the corpus is taken");
            let fuzzer = bolero::check!().with_max_len(32);
            let fuzzer = match seconds() {
                Some(seconds) => fuzzer.with_test_time(Duration::from_secs(seconds)),
                None => fuzzer.with_iterations($inputs),
            };
            fuzzer.for_each(|program: &[u8]| feed(&input::shaped(&corpus, program)));
            println!("{name}: {} inputs, {} taken", run.load(Ordering::Relaxed), taken.load(Ordering::Relaxed));
        }
    };
}

/// The engine shows its own bytes; this shows what was made of them. The last one shown is the smallest that it found.
struct ShownOnFailure<'a>(&'a [u8]);

impl Drop for ShownOnFailure<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed on: {}", self.0.escape_ascii());
        }
    }
}

fn seconds() -> Option<u64> {
    let text = std::env::var("FUZZ_SECONDS").ok()?;
    Some(text.parse().expect("FUZZ_SECONDS is a number"))
}

target!(amounts, game::amounts, 20_000);
target!(claims, game::claims, 2_000);
target!(configurations, game::configurations, 300);
target!(lua_replies, live::lua_replies, 500);
target!(operator_answers, wire::operator_answers, 5_000);
target!(platform_fields, wire::platform_fields, 10_000);
target!(request_bodies, wire::request_bodies, 5_000);
target!(tokens, wire::tokens, 5_000, wire::ISSUED.clone().into_bytes());
