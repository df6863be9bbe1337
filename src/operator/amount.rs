//! The simulated wallet's money: whole ten-thousandths of the currency, the finest that callbacks may carry.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An amount in ten-thousandths of the currency; a balance may be below zero when a win was taken back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Amount4(i64);

impl Amount4 {
    /// One unit of the currency.
    pub const ONE: i64 = 10_000;

    /// So many ten-thousandths.
    pub fn from_units(units: i64) -> Self {
        Self(units)
    }

    /// The sum, unless it is beyond what can be counted.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The difference, unless it is beyond what can be counted.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }
}

/// A plain JSON number literal: digits, and after a point one to four more. No sign, no exponent, no quotes.
impl FromStr for Amount4 {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (whole, fraction) = text
            .split_once('.')
            .map_or((text, None), |(whole, fraction)| (whole, Some(fraction)));
        let are_digits = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let has_leading_zero = whole.len() > 1 && whole.starts_with('0');
        let fraction_is_fine = fraction.is_none_or(|fraction| are_digits(fraction) && fraction.len() <= 4);
        if !are_digits(whole) || has_leading_zero || !fraction_is_fine {
            return Err("an amount is a number like 10.00 with at most four decimals");
        }
        let fraction = format!("{:0<4}", fraction.unwrap_or_default());
        let too_large = "the amount is too large";
        let whole: i64 = whole.parse().map_err(|_| too_large)?;
        let fraction: i64 = fraction.parse().map_err(|_| too_large)?;
        whole
            .checked_mul(Self::ONE)
            .and_then(|units| units.checked_add(fraction))
            .map(Self)
            .ok_or(too_large)
    }
}

/// With two decimals, and more only where they are not zero.
impl fmt::Display for Amount4 {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let units = self.0.unsigned_abs();
        let (whole, fraction) = (units / 10_000, units % 10_000);
        let text = format!("{fraction:04}");
        let kept = text.trim_end_matches('0').len().max(2);
        write!(formatter, "{sign}{whole}.{}", &text[..kept])
    }
}

impl Serialize for Amount4 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Amount4 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let (sign, digits) = text.strip_prefix('-').map_or((1, text.as_str()), |digits| (-1, digits));
        let amount: Self = digits.parse().map_err(serde::de::Error::custom)?;
        Ok(Self(sign * amount.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_survive_being_written() {
        for (text, units, written) in [
            ("10", 100_000, "10.00"),
            ("10.0", 100_000, "10.00"),
            ("10.00", 100_000, "10.00"),
            ("0.0001", 1, "0.0001"),
            ("0", 0, "0.00"),
            ("12.345", 123_450, "12.345"),
        ] {
            let amount: Amount4 = text.parse().expect(text);
            assert_eq!((amount.0, amount.to_string().as_str()), (units, written));
        }
        assert_eq!(Amount4(-12_300).to_string(), "-1.23");
    }

    #[test]
    fn anything_but_a_plain_number_is_refused() {
        for text in [
            "",
            "-1",
            "+1",
            "1.",
            ".5",
            "1.00000",
            "1e3",
            "\"1\"",
            "01",
            "1,0",
            " 1",
            "1 ",
            "٣",
            "999999999999999999",
        ] {
            assert!(text.parse::<Amount4>().is_err(), "{text}");
        }
    }
}
