//! The two keys that nobody but the server may know.
//!
//! They come from the environment only. A key that is missing, misspelled, guessable, the same as the other or printed
//! somewhere in this project is refused: whoever reads this repository could sign sessions and open seeds with it.

use std::collections::BTreeSet;

use secrecy::SecretBox;

use super::{
    Problem, SettingsError,
    layers::{Environment, SECRETS_PREFIX},
};

const JWT_KEY: &str = "FAIRCROSS__SECRETS__JWT_KEY";
const SEALING_KEY: &str = "FAIRCROSS__SECRETS__SEALING_KEY";
const REMEDY: &str = "set it to 64 hexadecimal characters of your own, from `openssl rand -hex 32`";
/// 64 random hexadecimal characters have fewer distinct ones once in 10^12 draws.
const FEWEST_DISTINCT: usize = 10;

/// Keys that stand in documents, examples and tests, here or all over the world. A test that starts a server draws its own.
const PUBLISHED: &str = include_str!("published_keys.txt");

/// The server's keys, 256 bits each; `Debug` shows none of them.
#[derive(Debug)]
pub struct Secrets {
    /// Signs the players' session tokens.
    pub jwt_key: SecretBox<[u8; 32]>,
    /// Seals server seeds, hazard links and certificates in PostgreSQL.
    pub sealing_key: SecretBox<[u8; 32]>,
}

impl Secrets {
    /// Both keys from the environment.
    ///
    /// # Errors
    /// Everything that is wrong with them, by name, never with their contents.
    pub fn load(environment: &Environment) -> Result<Self, SettingsError> {
        let mut problems = Vec::new();
        let unknown = environment
            .names()
            .filter(|name| name.starts_with(SECRETS_PREFIX) && *name != JWT_KEY && *name != SEALING_KEY);
        for name in unknown {
            problems.push(problem(name, "is not a secret of ours: there are JWT_KEY and SEALING_KEY"));
        }
        let jwt_key = key(environment, JWT_KEY).map_err(|problem| problems.push(problem));
        let sealing_key = key(environment, SEALING_KEY).map_err(|problem| problems.push(problem));
        if let (Ok(jwt), Ok(sealing)) = (&jwt_key, &sealing_key)
            && jwt == sealing
        {
            problems.push(problem(
                SEALING_KEY,
                &format!("is the same as {JWT_KEY}, but each must be its own: {REMEDY}"),
            ));
        }
        match (jwt_key, sealing_key) {
            (Ok(jwt), Ok(sealing)) if problems.is_empty() => Ok(Self {
                jwt_key: SecretBox::new(Box::new(jwt)),
                sealing_key: SecretBox::new(Box::new(sealing)),
            }),
            _ => Err(SettingsError { problems }),
        }
    }
}

/// Whether a key (hexadecimal, either case) is printed somewhere that others can read.
pub fn is_published(key: &str) -> bool {
    PUBLISHED.lines().any(|published| published.eq_ignore_ascii_case(key))
}

fn key(environment: &Environment, name: &str) -> Result<[u8; 32], Problem> {
    let text = environment
        .get(name)
        .filter(|text| !text.is_empty())
        .ok_or_else(|| problem(name, &format!("is not set: {REMEDY}")))?;
    let mut bytes = [0_u8; 32];
    hex::decode_to_slice(text, &mut bytes).map_err(|_| problem(name, &format!("is malformed: {REMEDY}")))?;
    if is_published(text) {
        return Err(problem(name, &format!("is a published value that anybody can look up: {REMEDY}")));
    }
    if is_guessable(text) {
        return Err(problem(name, &format!("is not random: {REMEDY}")));
    }
    Ok(bytes)
}

/// Whether a key was typed rather than drawn: few different characters, one part repeated, or counting up or down.
fn is_guessable(text: &str) -> bool {
    let characters: Vec<u8> = text.bytes().map(|c| c.to_ascii_lowercase()).collect();
    let distinct = characters.iter().collect::<BTreeSet<_>>().len();
    let repeats = (1..=characters.len() / 2).any(|period| characters.iter().zip(characters.iter().skip(period)).all(|(a, b)| a == b));
    let steps = characters
        .windows(2)
        .filter(|pair| matches!(pair, [a, b] if a.abs_diff(*b) == 1))
        .count();
    distinct < FEWEST_DISTINCT || repeats || steps > characters.len() / 2
}

fn problem(name: &str, explanation: &str) -> Problem {
    Problem {
        setting: name.to_owned(),
        explanation: explanation.to_owned(),
    }
}
