//! The four roads a player can choose from. What each of them pays stands in the configuration.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A difficulty, in the order in which the risk rises.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(rename_all = "UPPERCASE")]
pub enum Difficulty {
    Easy,
    Medium,
    Hard,
    Daredevil,
}

/// The text names no difficulty.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a difficulty is EASY, MEDIUM, HARD or DAREDEVIL")]
pub struct DifficultyError;

impl Difficulty {
    /// All of them, the easiest first.
    pub const ALL: [Difficulty; 4] = [Difficulty::Easy, Difficulty::Medium, Difficulty::Hard, Difficulty::Daredevil];

    /// The name, which is also what the public road is drawn with.
    pub fn as_str(self) -> &'static str {
        match self {
            Difficulty::Easy => "EASY",
            Difficulty::Medium => "MEDIUM",
            Difficulty::Hard => "HARD",
            Difficulty::Daredevil => "DAREDEVIL",
        }
    }
}

impl FromStr for Difficulty {
    type Err = DifficultyError;

    fn from_str(text: &str) -> Result<Difficulty, DifficultyError> {
        Difficulty::ALL
            .into_iter()
            .find(|difficulty| difficulty.as_str() == text)
            .ok_or(DifficultyError)
    }
}

impl fmt::Display for Difficulty {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_read_as_it_is_written() {
        for difficulty in Difficulty::ALL {
            assert_eq!(difficulty.as_str().parse(), Ok(difficulty));
            assert_eq!(serde_json::to_string(&difficulty).unwrap(), format!("\"{difficulty}\""));
        }
        assert_eq!("easy".parse::<Difficulty>(), Err(DifficultyError));
    }
}
