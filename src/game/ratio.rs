//! Exact fractions: the RTP, a floor, the chance to survive a lane.
//!
//! A probability decides about money, so it is kept as the fraction that it is. Nothing here is rounded, except a threshold,
//! and that by definition.

/// An exact non-negative fraction. The denominator is never zero.
#[derive(Clone, Copy, Debug)]
pub struct Ratio {
    numerator: u128,
    denominator: u128,
}

/// How many decimal places the RTP and the floor may have. It keeps every product of the checks within 128 bits.
const MOST_DECIMAL_PLACES: usize = 6;

impl Ratio {
    /// A fraction in lowest terms, or nothing if the denominator is zero.
    pub fn new(numerator: u128, denominator: u128) -> Option<Ratio> {
        if denominator == 0 {
            return None;
        }
        let divisor = greatest_common_divisor(numerator, denominator);
        Some(Ratio {
            numerator: numerator / divisor,
            denominator: denominator / divisor,
        })
    }

    /// Reads a decimal below one, such as "0.955", exactly: "0.", then one to six digits.
    pub fn parse_below_one(text: &str) -> Option<Ratio> {
        let digits = text.strip_prefix("0.")?;
        let is_plain = (1..=MOST_DECIMAL_PLACES).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
        let places = u32::try_from(digits.len()).ok()?;
        if is_plain {
            Ratio::new(digits.parse().ok()?, 10_u128.pow(places))
        } else {
            None
        }
    }

    /// The upper number, in lowest terms.
    pub fn numerator(self) -> u128 {
        self.numerator
    }

    /// The lower number, in lowest terms.
    pub fn denominator(self) -> u128 {
        self.denominator
    }
}

fn greatest_common_divisor(mut left: u128, mut right: u128) -> u128 {
    while right != 0 {
        (left, right) = (right, left % right);
    }
    left
}

/// `floor(2^64 * part / whole)` for `part < whole < 2^127`, by long division in binary, so that no product can overflow.
pub(super) fn scale_to_64_bits(part: u128, whole: u128) -> Option<u64> {
    if part >= whole || whole >= 1 << 127 {
        return None;
    }
    let mut remainder = part;
    let mut quotient = 0_u64;
    for _ in 0..64 {
        remainder <<= 1;
        quotient <<= 1;
        if remainder >= whole {
            remainder -= whole;
            quotient |= 1;
        }
    }
    Some(quotient)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_decimals_exactly() {
        let rtp = Ratio::parse_below_one("0.955").unwrap();
        assert_eq!((rtp.numerator(), rtp.denominator()), (191, 200));
        for text in ["", "0", "0.", "1.0", ".5", "0.1234567", "0.9e1", "+0.5", "0.٥", "-0.5", "0.5 "] {
            assert!(Ratio::parse_below_one(text).is_none(), "{text:?}");
        }
    }

    #[test]
    fn scales_exactly() {
        assert_eq!(scale_to_64_bits(1, 2), Some(1 << 63));
        assert_eq!(scale_to_64_bits(0, 7), Some(0));
        assert_eq!(scale_to_64_bits(6, 7), Some(u64::try_from((6_u128 << 64) / 7).unwrap()));
        let whole = (1_u128 << 127) - 1;
        assert_eq!(scale_to_64_bits(whole - 1, whole), Some(u64::MAX));
        assert_eq!(scale_to_64_bits(7, 7), None);
    }
}
