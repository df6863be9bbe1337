//! The product against models of it: small machines that say what must be true, and the real thing or every order of events
//! held against them.

mod bet_states;
mod linearizable;
mod protocol;
