//! Callers who mean harm or are broken: connections that dribble or are reset, bodies that never end, bodies made to end the process.

mod crafted;
mod resets;
mod slow;
