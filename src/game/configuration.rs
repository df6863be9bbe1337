//! The versioned document that says what can be played: the RTP, the four roads, the currencies.
//!
//! A configuration is immutable and keeps its exact bytes: a round ends under the version it began with, and the SHA-256 of the
//! bytes stands in the proof. One that breaks a rule of the game is refused when it is read, and the rule is named.

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::currency::{CurrencyDocument, CurrencyError, CurrencyRules};
use super::difficulty::Difficulty;
use super::money::{Amount, Coefficient, MoneyError, payout};
use super::paytable::{MOST_LANES, Paytable, PaytableError};
use super::ratio::Ratio;

/// The rule that a configuration breaks, and where.
#[derive(Debug, thiserror::Error)]
pub enum ConfigurationError {
    #[error("the configuration is not the document that is expected: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error("rtp: must be a decimal between 0 and 1 with at most 6 places, such as \"0.955\"")]
    Rtp,
    #[error("worstLaneReturnFloor: must be a decimal between 0 and 1 with at most 6 places, such as \"0.94\"")]
    Floor,
    #[error("{difficulty}: the survival law \"{law}\" is unknown; there are rtp_over_coefficient and columns_without_replacement")]
    UnknownSurvivalLaw { difficulty: Difficulty, law: String },
    #[error("{difficulty}: the law rtp_over_coefficient takes coefficients, columns_without_replacement takes columns")]
    FieldsOfAnotherLaw { difficulty: Difficulty },
    #[error("{difficulty}: coefficient of lane {lane}: {source}")]
    Coefficient {
        difficulty: Difficulty,
        lane: usize,
        source: MoneyError,
    },
    #[error("{difficulty}: {source}")]
    Paytable { difficulty: Difficulty, source: PaytableError },
    #[error("there is no currency")]
    NoCurrency,
    #[error("currency {code}: {source}")]
    Currency { code: String, source: CurrencyError },
    #[error("currency {code} is defined twice")]
    DuplicateCurrency { code: String },
    #[error("currency {code}, {difficulty}: the smallest stake cannot reach lane 0 within maxWinAmount")]
    FirstLaneOutOfReach { code: String, difficulty: Difficulty },
    #[error("currency {code}, {difficulty}: a stake of {stake} returns too little on lane {lane} after rounding down")]
    ReturnBelowFloor {
        code: String,
        difficulty: Difficulty,
        stake: String,
        lane: u8,
    },
    #[error("currency {code}, {difficulty}: the numbers are too large to be checked exactly")]
    NumbersTooLarge { code: String, difficulty: Difficulty },
}

/// One version of what can be played.
#[derive(Clone, Debug)]
pub struct GameConfiguration {
    bytes: Vec<u8>,
    hash: String,
    rtp_text: String,
    rtp: Ratio,
    paytables: [Paytable; 4],
    currencies: Vec<CurrencyRules>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    rtp: String,
    worst_lane_return_floor: String,
    difficulties: DifficultiesDocument,
    currencies: Vec<CurrencyDocument>,
}

#[derive(Deserialize)]
#[serde(rename_all = "UPPERCASE", deny_unknown_fields)]
struct DifficultiesDocument {
    easy: PaytableDocument,
    medium: PaytableDocument,
    hard: PaytableDocument,
    daredevil: PaytableDocument,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PaytableDocument {
    survival_law: String,
    hazards: u64,
    coefficients: Option<Vec<String>>,
    columns: Option<u64>,
}

impl GameConfiguration {
    /// Reads a configuration and checks every rule of the game. The error names the first rule that is broken.
    pub fn parse(bytes: &[u8]) -> Result<GameConfiguration, ConfigurationError> {
        let document: Document = serde_json::from_slice(bytes)?;
        let rtp = Ratio::parse_below_one(&document.rtp)
            .filter(|rtp| rtp.numerator() > 0)
            .ok_or(ConfigurationError::Rtp)?;
        let floor = Ratio::parse_below_one(&document.worst_lane_return_floor).ok_or(ConfigurationError::Floor)?;
        let DifficultiesDocument {
            easy,
            medium,
            hard,
            daredevil,
        } = &document.difficulties;
        let paytables = [
            easy.read(rtp, Difficulty::Easy)?,
            medium.read(rtp, Difficulty::Medium)?,
            hard.read(rtp, Difficulty::Hard)?,
            daredevil.read(rtp, Difficulty::Daredevil)?,
        ];
        let currencies = read_currencies(&document.currencies)?;
        for rules in &currencies {
            for (difficulty, paytable) in Difficulty::ALL.into_iter().zip(&paytables) {
                check_returns(rules, difficulty, paytable, floor)?;
            }
        }
        let hash = hex::encode(Sha256::digest(bytes));
        Ok(GameConfiguration {
            bytes: bytes.to_vec(),
            hash,
            rtp_text: document.rtp,
            rtp,
            paytables,
            currencies,
        })
    }

    /// The configuration that comes with the program (`config/game.json`).
    pub fn embedded_default() -> GameConfiguration {
        GameConfiguration::parse(include_bytes!("../../config/game.json")).expect("a test reads the embedded configuration")
    }

    /// The exact bytes that were read.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The SHA-256 of the bytes, in lower-case hexadecimal.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The RTP as the document writes it: "0.955".
    pub fn rtp_text(&self) -> &str {
        &self.rtp_text
    }

    /// The RTP as the fraction that it is.
    pub fn rtp(&self) -> Ratio {
        self.rtp
    }

    /// The road of a difficulty.
    pub fn paytable(&self, difficulty: Difficulty) -> &Paytable {
        let [easy, medium, hard, daredevil] = &self.paytables;
        match difficulty {
            Difficulty::Easy => easy,
            Difficulty::Medium => medium,
            Difficulty::Hard => hard,
            Difficulty::Daredevil => daredevil,
        }
    }

    /// The rules of a currency, if it can be played in.
    pub fn currency(&self, code: &str) -> Option<&CurrencyRules> {
        self.currencies.iter().find(|rules| rules.code == code)
    }

    /// All currencies, in the document's order.
    pub fn currencies(&self) -> impl Iterator<Item = &CurrencyRules> {
        self.currencies.iter()
    }
}

impl PaytableDocument {
    fn read(&self, rtp: Ratio, difficulty: Difficulty) -> Result<Paytable, ConfigurationError> {
        let paytable = match (self.survival_law.as_str(), &self.coefficients, self.columns) {
            ("rtp_over_coefficient", Some(texts), None) => {
                Paytable::from_coefficients(rtp, read_coefficients(texts, difficulty)?, self.hazards)
            }
            ("columns_without_replacement", None, Some(columns)) => Paytable::from_columns(rtp, columns, self.hazards),
            ("rtp_over_coefficient" | "columns_without_replacement", _, _) => {
                return Err(ConfigurationError::FieldsOfAnotherLaw { difficulty });
            }
            (law, _, _) => {
                return Err(ConfigurationError::UnknownSurvivalLaw {
                    difficulty,
                    law: law.to_owned(),
                });
            }
        };
        paytable.map_err(|source| ConfigurationError::Paytable { difficulty, source })
    }
}

fn read_coefficients(texts: &[String], difficulty: Difficulty) -> Result<Vec<Coefficient>, ConfigurationError> {
    let read = |(lane, text): (usize, &String)| {
        Coefficient::parse(text).map_err(|source| ConfigurationError::Coefficient { difficulty, lane, source })
    };
    // One more than allowed is enough to be refused for their number.
    texts.iter().take(MOST_LANES + 1).enumerate().map(read).collect()
}

fn read_currencies(documents: &[CurrencyDocument]) -> Result<Vec<CurrencyRules>, ConfigurationError> {
    let mut currencies: Vec<CurrencyRules> = Vec::with_capacity(documents.len());
    for document in documents {
        let rules = document.read().map_err(|source| ConfigurationError::Currency {
            code: document.code.clone(),
            source,
        })?;
        if currencies.iter().any(|earlier| earlier.code == rules.code) {
            return Err(ConfigurationError::DuplicateCurrency { code: rules.code });
        }
        currencies.push(rules);
    }
    if currencies.is_empty() {
        Err(ConfigurationError::NoCurrency)
    } else {
        Ok(currencies)
    }
}

/// Every allowed stake keeps the return of every lane it can play above the floor, after the payout is rounded down.
///
/// The first hundred stakes decide about all of them. On a lane with coefficient c (hundredths) and survival p, a stake of s minor
/// units is paid `(s*c - r) / 100` with `r = s*c mod 100`, so its return exceeds the floor f if and only if `s * (c*p - 100*f) > r*p`.
/// The right side depends on s only through `s mod 100`. Within one residue class the left side grows with s or is never positive,
/// so the smallest stake of a class passes if and only if all of the class do, and it can play every lane that a larger one can.
/// Stakes are an arithmetic progression, whose residues modulo 100 repeat after at most 100 terms: its first hundred terms contain
/// the smallest stake of every class that occurs.
fn check_returns(rules: &CurrencyRules, difficulty: Difficulty, paytable: &Paytable, floor: Ratio) -> Result<(), ConfigurationError> {
    let code = || rules.code.clone();
    if paytable.max_lane(rules.min_bet, rules.max_win).is_none() {
        return Err(ConfigurationError::FirstLaneOutOfReach { code: code(), difficulty });
    }
    let (first, step, last) = (rules.min_bet.minor(), rules.bet_step.minor(), rules.max_bet.minor());
    let first_stakes = std::iter::successors(Some(first), |stake| stake.checked_add(step))
        .take_while(|stake| *stake <= last)
        .take(100);
    for minor in first_stakes {
        let stake = Amount::from_minor(minor).map_err(|_| ConfigurationError::NumbersTooLarge { code: code(), difficulty })?;
        let Some(last_lane) = paytable.max_lane(stake, rules.max_win) else {
            continue;
        };
        for lane in 0..=last_lane {
            match returns_more_than(floor, paytable, stake, lane) {
                Some(true) => {}
                Some(false) => {
                    let stake = stake.format(rules.decimal_places);
                    return Err(ConfigurationError::ReturnBelowFloor {
                        code: code(),
                        difficulty,
                        stake,
                        lane,
                    });
                }
                None => return Err(ConfigurationError::NumbersTooLarge { code: code(), difficulty }),
            }
        }
    }
    Ok(())
}

/// Whether `payout * survival / stake > floor`, multiplied out; nothing if that exceeds 128 bits.
fn returns_more_than(floor: Ratio, paytable: &Paytable, stake: Amount, lane: u8) -> Option<bool> {
    let survival = paytable.survival(lane)?;
    let paid = u128::from(payout(stake, paytable.coefficient(lane)?).ok()?.minor());
    let returned = paid.checked_mul(survival.numerator())?.checked_mul(floor.denominator())?;
    let required = u128::from(stake.minor())
        .checked_mul(survival.denominator())?
        .checked_mul(floor.numerator())?;
    Some(returned > required)
}
