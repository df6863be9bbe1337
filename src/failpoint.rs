//! The points at which tests kill the process or make it fail: K1 to K20 of the design, `refilled` at the gate, and R1 to R5 between the steps of a restore. They are compiled for tests only
//! (feature `failpoints`); in every other build [`reach`] is empty. `FAILPOINTS="K3=1*return(kill)"` in the environment
//! arms one, in the syntax of the `fail` crate.

/// Arms the points that the environment names, for the life of the process.
#[cfg(feature = "failpoints")]
pub fn arm() {
    // Dropped, the scenario would disarm them.
    std::mem::forget(fail::FailScenario::setup());
}

/// Does nothing; this build has no failpoints.
#[cfg(not(feature = "failpoints"))]
pub fn arm() {}

/// Passes the point `name`, unless a test armed it: then the process is killed as by `kill -9`, or aborts the server's
/// progress in the way the test names.
#[cfg(feature = "failpoints")]
pub fn reach(name: &'static str) {
    let _ = fail::eval(name, |action| match action.as_deref() {
        Some("kill") => kill(name, libc::SIGKILL),
        Some("stop") => kill(name, libc::SIGSTOP),
        other => panic!("failpoint {name}: unknown action {other:?}"),
    });
}

#[cfg(feature = "failpoints")]
#[expect(
    unsafe_code,
    reason = "a process can only be killed at an exact point by itself, and there is no safe call for that"
)]
fn kill(name: &'static str, signal: libc::c_int) {
    use std::io::Write as _;
    // The line tells the test which point was really reached; it is flushed before the process is gone.
    let mut stderr = std::io::stderr().lock();
    let _ = writeln!(stderr, "failpoint {name} reached");
    let _ = stderr.flush();
    drop(stderr);
    // Sent to this very thread, so that it takes not one step more: of a signal to the process any thread may take care, and
    // when that is another one a STOP leaves this one running for a moment.
    // SAFETY: raise(3) with a valid signal touches no memory of ours.
    unsafe { libc::raise(signal) };
}

/// Passes the point `name`; this build has no failpoints.
#[cfg(not(feature = "failpoints"))]
pub fn reach(_name: &'static str) {}
