//! Callers who mean harm or are broken: connections that dribble, bodies that never end, bodies made to end the process.

mod crafted;
mod slow;
