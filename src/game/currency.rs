//! What may be staked and won in one currency.

use serde::Deserialize;

use super::money::{Amount, MOST_DECIMAL_PLACES, MoneyError};

/// The limits of one currency, all in its minor units.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CurrencyRules {
    /// ISO 4217 style code, such as "INR".
    pub code: String,
    pub decimal_places: u8,
    pub min_bet: Amount,
    pub max_bet: Amount,
    /// Every stake is a whole multiple of this step.
    pub bet_step: Amount,
    pub default_bet: Amount,
    /// No round pays more than this: the last playable lane is chosen so that the payout is never cut.
    pub max_win: Amount,
    /// What the page offers at a touch, in ascending order.
    pub presets: Vec<Amount>,
}

/// Why a stake is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StakeError {
    #[error("the stake is below the smallest one")]
    BelowMinimum,
    #[error("the stake is above the largest one")]
    AboveMaximum,
    #[error("the stake is not a multiple of the step")]
    NotAMultipleOfTheStep,
    #[error("the stake is above the player's own limit")]
    AbovePlayerLimit,
}

/// The rule that a currency of a configuration breaks.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CurrencyError {
    #[error("a currency code is 2 to 10 characters of A-Z and 0-9")]
    Code,
    #[error("a currency has at most {MOST_DECIMAL_PLACES} decimal places")]
    DecimalPlaces,
    #[error("{field}: {source}")]
    Amount { field: &'static str, source: MoneyError },
    #[error("betStep must not be zero")]
    StepIsZero,
    #[error("minBetAmount must not be zero")]
    MinimumIsZero,
    #[error("the limits must satisfy minBetAmount <= defaultBetAmount <= maxBetAmount")]
    LimitsOutOfOrder,
    #[error("{field} is not a multiple of betStep")]
    NotAMultipleOfTheStep { field: &'static str },
    #[error("the preset {preset} lies outside the limits")]
    PresetOutsideLimits { preset: String },
    #[error("presets must strictly increase, and {preset} does not")]
    PresetsNotIncreasing { preset: String },
}

/// A currency as it is written in a configuration.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct CurrencyDocument {
    pub code: String,
    decimal_places: u8,
    min_bet_amount: String,
    max_bet_amount: String,
    bet_step: String,
    default_bet_amount: String,
    max_win_amount: String,
    bet_presets: Vec<String>,
}

impl CurrencyDocument {
    /// The rules that are written here, if they make sense by themselves.
    pub fn read(&self) -> Result<CurrencyRules, CurrencyError> {
        let is_code =
            (2..=10).contains(&self.code.len()) && self.code.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
        if !is_code {
            return Err(CurrencyError::Code);
        }
        if self.decimal_places > MOST_DECIMAL_PLACES {
            return Err(CurrencyError::DecimalPlaces);
        }
        let amount = |field, text: &str| Amount::parse(text, self.decimal_places).map_err(|source| CurrencyError::Amount { field, source });
        let rules = CurrencyRules {
            code: self.code.clone(),
            decimal_places: self.decimal_places,
            min_bet: amount("minBetAmount", &self.min_bet_amount)?,
            max_bet: amount("maxBetAmount", &self.max_bet_amount)?,
            bet_step: amount("betStep", &self.bet_step)?,
            default_bet: amount("defaultBetAmount", &self.default_bet_amount)?,
            max_win: amount("maxWinAmount", &self.max_win_amount)?,
            presets: self
                .bet_presets
                .iter()
                .map(|preset| amount("betPresets", preset))
                .collect::<Result<_, _>>()?,
        };
        rules.check_limits()?;
        rules.check_presets()?;
        Ok(rules)
    }
}

impl CurrencyRules {
    /// Whether a stake may be taken, from a player whose own limit, if there is one, is `player_limit`.
    pub fn check_stake(&self, stake: Amount, player_limit: Option<Amount>) -> Result<(), StakeError> {
        if stake < self.min_bet {
            Err(StakeError::BelowMinimum)
        } else if stake > self.max_bet {
            Err(StakeError::AboveMaximum)
        } else if !self.is_on_step(stake) {
            Err(StakeError::NotAMultipleOfTheStep)
        } else if player_limit.is_some_and(|limit| stake > limit) {
            Err(StakeError::AbovePlayerLimit)
        } else {
            Ok(())
        }
    }

    fn is_on_step(&self, amount: Amount) -> bool {
        amount.minor().is_multiple_of(self.bet_step.minor())
    }

    fn check_limits(&self) -> Result<(), CurrencyError> {
        if self.bet_step == Amount::ZERO {
            return Err(CurrencyError::StepIsZero);
        }
        if self.min_bet == Amount::ZERO {
            return Err(CurrencyError::MinimumIsZero);
        }
        if self.min_bet > self.default_bet || self.default_bet > self.max_bet {
            return Err(CurrencyError::LimitsOutOfOrder);
        }
        let stakes = [
            ("minBetAmount", self.min_bet),
            ("defaultBetAmount", self.default_bet),
            ("maxBetAmount", self.max_bet),
        ];
        match stakes.into_iter().find(|(_, stake)| !self.is_on_step(*stake)) {
            Some((field, _)) => Err(CurrencyError::NotAMultipleOfTheStep { field }),
            None => Ok(()),
        }
    }

    fn check_presets(&self) -> Result<(), CurrencyError> {
        let mut before = Amount::ZERO;
        for preset in self.presets.iter().copied() {
            let text = || preset.format(self.decimal_places);
            match self.check_stake(preset, None) {
                Ok(()) if preset > before => before = preset,
                Ok(()) => return Err(CurrencyError::PresetsNotIncreasing { preset: text() }),
                Err(StakeError::NotAMultipleOfTheStep) => return Err(CurrencyError::NotAMultipleOfTheStep { field: "betPresets" }),
                Err(_) => return Err(CurrencyError::PresetOutsideLimits { preset: text() }),
            }
        }
        Ok(())
    }
}
