//! Money as whole minor units, coefficients as whole hundredths, and the one place where a payout is rounded.
//!
//! An amount never exceeds 2^53 - 1 minor units, because the scripts that carry numbers past this core (Lua, JavaScript) know
//! nothing above it exactly. Text is accepted in one spelling only: ASCII digits, and after a point no more digits than the
//! currency has.

use std::fmt;

/// The largest whole number that every part of the system carries exactly: 2^53 - 1.
pub const LARGEST_WHOLE_NUMBER: u64 = (1 << 53) - 1;

/// How many decimal places a currency may have at most.
pub const MOST_DECIMAL_PLACES: u8 = 4;

/// Why a text or a number is not an amount or a coefficient.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MoneyError {
    #[error("not a plain decimal number (ASCII digits, at most one point with digits on both sides, no sign, exponent or spaces)")]
    Malformed,
    #[error("more than {allowed} decimal places")]
    TooPrecise { allowed: u8 },
    #[error("larger than 2^53 - 1 minor units")]
    TooLarge,
}

/// An amount of money in a currency's minor units (10.00 INR is 1000), at most 2^53 - 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Amount(u64);

impl Amount {
    /// Nothing.
    pub const ZERO: Amount = Amount(0);

    /// The amount of so many minor units. Refuses more than 2^53 - 1.
    pub fn from_minor(minor: u64) -> Result<Amount, MoneyError> {
        if minor > LARGEST_WHOLE_NUMBER {
            Err(MoneyError::TooLarge)
        } else {
            Ok(Amount(minor))
        }
    }

    /// The minor units.
    pub fn minor(self) -> u64 {
        self.0
    }

    /// The minor units as a database keeps them.
    pub fn as_i64(self) -> i64 {
        self.0.cast_signed()
    }

    /// Reads "10", "10.0" or "10.00" (for two decimal places). Refuses every other spelling of a number.
    pub fn parse(text: &str, decimal_places: u8) -> Result<Amount, MoneyError> {
        parse_scaled(text, decimal_places).and_then(Amount::from_minor)
    }

    /// Writes the amount with exactly the currency's decimal places: "10.00".
    pub fn format(self, decimal_places: u8) -> String {
        format_scaled(self.0, decimal_places)
    }

    /// The sum, or `TooLarge`.
    pub fn checked_add(self, other: Amount) -> Result<Amount, MoneyError> {
        self.0.checked_add(other.0).ok_or(MoneyError::TooLarge).and_then(Amount::from_minor)
    }

    /// The difference, or nothing where it would be negative.
    pub fn checked_sub(self, other: Amount) -> Option<Amount> {
        self.0.checked_sub(other.0).map(Amount)
    }
}

/// What a stake is multiplied by on a lane, in hundredths ("1.01" is 101), at most 2^53 - 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Coefficient(u64);

impl Coefficient {
    /// What a lane that pays nothing multiplies the stake by.
    pub const ZERO: Coefficient = Coefficient(0);

    /// The coefficient of so many hundredths. Refuses more than 2^53 - 1.
    pub fn from_hundredths(hundredths: u64) -> Result<Coefficient, MoneyError> {
        if hundredths > LARGEST_WHOLE_NUMBER {
            Err(MoneyError::TooLarge)
        } else {
            Ok(Coefficient(hundredths))
        }
    }

    /// Reads "1.01", "1.1" or "2".
    pub fn parse(text: &str) -> Result<Coefficient, MoneyError> {
        parse_scaled(text, 2).and_then(Coefficient::from_hundredths)
    }

    /// The hundredths.
    pub fn hundredths(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Coefficient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{:02}", self.0 / 100, self.0 % 100)
    }
}

/// What a stake pays at a coefficient: `floor(stake * coefficient)` in minor units. Nothing else in the system rounds a payout.
pub fn payout(stake: Amount, coefficient: Coefficient) -> Result<Amount, MoneyError> {
    let hundredths_of_minor = u128::from(stake.0) * u128::from(coefficient.0);
    u64::try_from(hundredths_of_minor / 100)
        .map_err(|_| MoneyError::TooLarge)
        .and_then(Amount::from_minor)
}

/// Reads a plain decimal number as a whole number of its smallest unit.
pub(super) fn parse_scaled(text: &str, decimal_places: u8) -> Result<u64, MoneyError> {
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (text, None),
    };
    if !is_digits(whole) || fraction.is_some_and(|digits| !is_digits(digits)) || has_needless_zero(whole) {
        return Err(MoneyError::Malformed);
    }
    let fraction = fraction.unwrap_or("");
    let missing_places = usize::from(decimal_places)
        .checked_sub(fraction.len())
        .ok_or(MoneyError::TooPrecise { allowed: decimal_places })?;
    let zeros = std::iter::repeat_n(b'0', missing_places);
    whole.bytes().chain(fraction.bytes()).chain(zeros).try_fold(0_u64, |number, digit| {
        number
            .checked_mul(10)
            .and_then(|tens| tens.checked_add(u64::from(digit - b'0')))
            .ok_or(MoneyError::TooLarge)
    })
}

fn format_scaled(number: u64, decimal_places: u8) -> String {
    if decimal_places == 0 {
        return number.to_string();
    }
    let unit = 10_u64.checked_pow(decimal_places.into());
    let (whole, fraction) = unit.map_or((0, number), |unit| (number / unit, number % unit));
    format!("{whole}.{fraction:0places$}", places = usize::from(decimal_places))
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// "007" may be a typing error or an octal number somewhere; one number has one spelling.
fn has_needless_zero(whole: &str) -> bool {
    whole.len() > 1 && whole.starts_with('0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_plain_decimals_and_writes_all_places() {
        for (text, minor) in [
            ("10", 1000),
            ("10.0", 1000),
            ("10.00", 1000),
            ("0", 0),
            ("0.01", 1),
            ("150.00", 15000),
        ] {
            assert_eq!(Amount::parse(text, 2).map(Amount::minor), Ok(minor), "{text}");
        }
        assert_eq!(Amount(1).format(2), "0.01");
        assert_eq!(Amount(123_456).format(2), "1234.56");
        assert_eq!(Amount(7).format(0), "7");
        assert_eq!(Amount(7).format(8), "0.00000007");
        assert_eq!(Amount::parse("7", 0), Ok(Amount(7)));
        assert_eq!(Coefficient(360_885_525).to_string(), "3608855.25");
    }

    #[test]
    fn refuses_every_other_spelling() {
        let malformed = [
            "", ".", "1.", ".5", "-1", "+1", " 1", "1 ", "1e3", "1e309", "1E3", "NaN", "inf", "Infinity", "0x10", "1,000", "1_000",
            "1.0.0", "١٢٣", "1.٥", "１", "²", "007", "00", "\u{0}1", "1\n", "--1", "1.-5", "１.00",
        ];
        for text in malformed {
            assert_eq!(Amount::parse(text, 2), Err(MoneyError::Malformed), "{text:?}");
            assert_eq!(Coefficient::parse(text), Err(MoneyError::Malformed), "{text:?}");
        }
        assert_eq!(Amount::parse("1.234", 2), Err(MoneyError::TooPrecise { allowed: 2 }));
        assert_eq!(Amount::parse("1.0", 0), Err(MoneyError::TooPrecise { allowed: 0 }));
        assert_eq!(Amount::parse(&"9".repeat(400), 2), Err(MoneyError::TooLarge));
    }

    #[test]
    fn ends_at_the_largest_exact_number() {
        assert_eq!(Amount::parse("90071992547409.91", 2), Ok(Amount(LARGEST_WHOLE_NUMBER)));
        assert_eq!(Amount::parse("90071992547409.92", 2), Err(MoneyError::TooLarge));
        assert_eq!(Amount(LARGEST_WHOLE_NUMBER).checked_add(Amount(1)), Err(MoneyError::TooLarge));
        assert_eq!(Amount(1).checked_sub(Amount(2)), None);
        assert_eq!(payout(Amount(LARGEST_WHOLE_NUMBER), Coefficient(101)), Err(MoneyError::TooLarge));
        assert_eq!(
            payout(Amount(LARGEST_WHOLE_NUMBER), Coefficient(LARGEST_WHOLE_NUMBER)),
            Err(MoneyError::TooLarge)
        );
    }

    #[test]
    fn a_payout_is_rounded_down() {
        assert_eq!(payout(Amount(199), Coefficient(101)), Ok(Amount(200)));
        assert_eq!(payout(Amount(1000), Coefficient(108)), Ok(Amount(1080)));
        assert_eq!(payout(Amount(1), Coefficient(199)), Ok(Amount(1)));
    }
}
