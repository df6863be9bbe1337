//! What a road pays and how likely each lane is: a paytable, and the survival law that its thresholds follow from.
//!
//! There are two laws. Where the coefficients are given, the chance to survive up to and on lane k is `RTP / coefficient[k]`, so that
//! every stopping rule returns the RTP. Where a number of columns and of hazards among them is given, columns are uncovered without
//! putting them back: with n columns and m hazards the chance to survive k of them is C(n-k, m) / C(n, m), and the coefficient is
//! RTP * C(n, m) / C(n-k, m), cut off after two decimals. A threshold is the chance that lane k ends a round that has come so far,
//! times 2^64, rounded down: it differs from the law by less than 2^-64, in the player's favour.

use super::money::{Amount, Coefficient, LARGEST_WHOLE_NUMBER};
use super::ratio::{Ratio, scale_to_64_bits};

/// The most lanes a road may have.
pub const MOST_LANES: usize = 64;

/// The rule of the game that a paytable breaks.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PaytableError {
    #[error("a road has 1 to {MOST_LANES} lanes, not {lanes}")]
    LaneCount { lanes: usize },
    #[error("the first coefficient, {first}, does not exceed the RTP")]
    FirstCoefficientNotAboveRtp { first: Coefficient },
    #[error("coefficients must strictly increase, and lane {lane} does not pay more than the lane before it")]
    NotIncreasing { lane: usize },
    #[error("{hazards} visible hazards do not leave a lane free among {lanes}")]
    TooManyHazards { hazards: u64, lanes: usize },
    #[error("{columns} columns with {hazards} hazards: there are at most {MOST_LANES} columns, and at least one without a hazard")]
    ColumnCount { columns: u64, hazards: u64 },
    #[error("a coefficient of lane {lane} exceeds 2^53 - 1 hundredths")]
    NumberTooLarge { lane: usize },
}

/// The lanes of one difficulty: what each pays, how likely each is to end a round, and how many hazards the public road shows.
#[derive(Clone, Debug)]
pub struct Paytable {
    coefficients: Vec<Coefficient>,
    thresholds: Vec<u64>,
    survival: Vec<Ratio>,
    hazards: u8,
}

impl Paytable {
    /// A paytable with given coefficients: survival of lane k is `RTP / coefficient[k]`.
    pub fn from_coefficients(rtp: Ratio, coefficients: Vec<Coefficient>, hazards: u64) -> Result<Paytable, PaytableError> {
        check_coefficients(rtp, &coefficients)?;
        let survival = coefficients.iter().map(|coefficient| survival_by_coefficient(rtp, *coefficient));
        let survival = survival
            .collect::<Option<Vec<Ratio>>>()
            .ok_or(PaytableError::NumberTooLarge { lane: 0 })?;
        let mut thresholds = Vec::with_capacity(coefficients.len());
        // Lane k ends a round with the chance 1 - c[k-1] / c[k], where c[-1] is the RTP. Both are scaled by 100 * denominator.
        let mut before = 100 * rtp.numerator();
        for (lane, coefficient) in coefficients.iter().enumerate() {
            let here = u128::from(coefficient.hundredths()) * rtp.denominator();
            thresholds.push(scale_to_64_bits(here - before, here).ok_or(PaytableError::NumberTooLarge { lane })?);
            before = here;
        }
        Paytable::assemble(coefficients, thresholds, survival, hazards)
    }

    /// A paytable of n columns with m hazards among them, uncovered without putting back: n - m lanes.
    pub fn from_columns(rtp: Ratio, columns: u64, hazards: u64) -> Result<Paytable, PaytableError> {
        if columns > MOST_LANES as u64 || hazards >= columns {
            return Err(PaytableError::ColumnCount { columns, hazards });
        }
        let (mut coefficients, mut thresholds, mut survival) = (Vec::new(), Vec::new(), Vec::new());
        let all = choose(columns, hazards);
        for (lane, crossed) in (1..=columns - hazards).enumerate() {
            let too_large = PaytableError::NumberTooLarge { lane };
            let safe = choose(columns - crossed, hazards);
            coefficients.push(coefficient_of(rtp, all, safe).ok_or(too_large.clone())?);
            survival.push(Ratio::new(safe, all).ok_or(too_large.clone())?);
            // C(n-k, m) / C(n-k+1, m) = 1 - m / (n-k+1): each lane is one draw among the columns that are left.
            thresholds.push(scale_to_64_bits(hazards.into(), (columns - crossed + 1).into()).ok_or(too_large)?);
        }
        check_coefficients(rtp, &coefficients)?;
        Paytable::assemble(coefficients, thresholds, survival, hazards)
    }

    fn assemble(
        coefficients: Vec<Coefficient>,
        thresholds: Vec<u64>,
        survival: Vec<Ratio>,
        hazards: u64,
    ) -> Result<Paytable, PaytableError> {
        let lanes = coefficients.len();
        let too_many = PaytableError::TooManyHazards { hazards, lanes };
        let hazards = u8::try_from(hazards)
            .ok()
            .filter(|hazards| usize::from(*hazards) < lanes)
            .ok_or(too_many)?;
        Ok(Paytable {
            coefficients,
            thresholds,
            survival,
            hazards,
        })
    }

    /// How many lanes the road has.
    pub fn lanes(&self) -> u8 {
        u8::try_from(self.coefficients.len()).expect("a road has at most 64 lanes")
    }

    /// What each lane pays.
    pub fn coefficients(&self) -> &[Coefficient] {
        &self.coefficients
    }

    /// Below which word of the keystream each lane is a collision column.
    pub fn thresholds(&self) -> &[u64] {
        &self.thresholds
    }

    /// How many columns of the public road show a hazard.
    pub fn hazards(&self) -> u8 {
        self.hazards
    }

    /// What a lane pays, if the road has it.
    pub fn coefficient(&self, lane: u8) -> Option<Coefficient> {
        self.coefficients.get(usize::from(lane)).copied()
    }

    /// The exact chance to stand on a lane, if the road has it.
    pub fn survival(&self, lane: u8) -> Option<Ratio> {
        self.survival.get(usize::from(lane)).copied()
    }

    /// The last playable lane: the last whose exact payout is within the maximum win. Nothing if not even lane 0 is.
    pub fn max_lane(&self, stake: Amount, max_win: Amount) -> Option<u8> {
        let limit = u128::from(max_win.minor()) * 100;
        let is_within = |coefficient: &Coefficient| u128::from(stake.minor()) * u128::from(coefficient.hundredths()) <= limit;
        let playable = self.coefficients.iter().take_while(|coefficient| is_within(coefficient)).count();
        playable.checked_sub(1).and_then(|lane| u8::try_from(lane).ok())
    }
}

fn check_coefficients(rtp: Ratio, coefficients: &[Coefficient]) -> Result<(), PaytableError> {
    let lanes = coefficients.len();
    let Some(first) = coefficients.first().copied().filter(|_| lanes <= MOST_LANES) else {
        return Err(PaytableError::LaneCount { lanes });
    };
    if u128::from(first.hundredths()) * rtp.denominator() <= 100 * rtp.numerator() {
        return Err(PaytableError::FirstCoefficientNotAboveRtp { first });
    }
    match coefficients
        .iter()
        .zip(coefficients.iter().skip(1))
        .position(|(before, here)| here <= before)
    {
        Some(before) => Err(PaytableError::NotIncreasing { lane: before + 1 }),
        None => Ok(()),
    }
}

fn survival_by_coefficient(rtp: Ratio, coefficient: Coefficient) -> Option<Ratio> {
    Ratio::new(100 * rtp.numerator(), rtp.denominator() * u128::from(coefficient.hundredths()))
}

/// `RTP * all / safe` in hundredths, cut off. With at most 64 columns a binomial coefficient is below 2^61, so 128 bits suffice.
fn coefficient_of(rtp: Ratio, all: u128, safe: u128) -> Option<Coefficient> {
    let hundredths = (100 * rtp.numerator() * all).checked_div(rtp.denominator() * safe)?;
    let hundredths = u64::try_from(hundredths)
        .ok()
        .filter(|hundredths| *hundredths <= LARGEST_WHOLE_NUMBER)?;
    Coefficient::from_hundredths(hundredths).ok()
}

/// C(n, m), exactly: after each step the product is itself a binomial coefficient, so the division leaves no remainder.
fn choose(columns: u64, hazards: u64) -> u128 {
    (1..=hazards).fold(1, |product, step| {
        product * u128::from((columns + 1).saturating_sub(step)) / u128::from(step)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rtp(text: &str) -> Ratio {
        Ratio::parse_below_one(text).unwrap()
    }

    fn coefficients(texts: &[&str]) -> Vec<Coefficient> {
        texts.iter().map(|text| Coefficient::parse(text).unwrap()).collect()
    }

    #[test]
    fn columns_and_hazards_give_the_known_last_coefficients() {
        for (hazards, last) in [(1, "24.50"), (3, "2254.00"), (5, "52067.40"), (10, "3203384.80")] {
            let paytable = Paytable::from_columns(rtp("0.98"), 25, hazards).unwrap();
            assert_eq!(u64::from(paytable.lanes()), 25 - hazards);
            assert_eq!(paytable.coefficients().last().unwrap().to_string(), last);
        }
    }

    #[test]
    fn columns_and_hazards_are_drawn_without_putting_back() {
        let paytable = Paytable::from_columns(rtp("0.98"), 4, 1).unwrap();
        let expected = [(1_u128 << 64) / 4, (1 << 64) / 3, (1 << 64) / 2].map(|threshold| u64::try_from(threshold).unwrap());
        assert_eq!(paytable.thresholds(), expected);
        // 0.98 * 4/3 = 1.30666..., 0.98 * 2 = 1.96, 0.98 * 4 = 3.92
        assert_eq!(paytable.coefficients(), coefficients(&["1.30", "1.96", "3.92"]));
    }

    #[test]
    fn the_widest_road_of_columns_stays_within_its_numbers() {
        assert!(matches!(
            Paytable::from_columns(rtp("0.999999"), 64, 31),
            Err(PaytableError::NumberTooLarge { .. })
        ));
        for (columns, hazards) in [(65, 1), (5, 5), (5, 6), (u64::MAX, 1), (0, 0)] {
            let refusal = Paytable::from_columns(rtp("0.98"), columns, hazards).unwrap_err();
            assert_eq!(refusal, PaytableError::ColumnCount { columns, hazards });
        }
        assert_eq!(choose(64, 32), 1_832_624_140_942_590_534);
        assert_eq!(choose(3, 5), 0);
    }

    #[test]
    fn rules_are_refused_by_name() {
        let refusal = |texts: &[&str], hazards| Paytable::from_coefficients(rtp("0.955"), coefficients(texts), hazards).unwrap_err();
        assert_eq!(refusal(&[], 0), PaytableError::LaneCount { lanes: 0 });
        assert_eq!(refusal(&["1.01"; 65], 3), PaytableError::LaneCount { lanes: 65 });
        let first = Coefficient::parse("0.95").unwrap();
        assert_eq!(refusal(&["0.95", "1.10"], 1), PaytableError::FirstCoefficientNotAboveRtp { first });
        assert_eq!(refusal(&["1.01", "1.10", "1.10"], 1), PaytableError::NotIncreasing { lane: 2 });
        assert_eq!(
            refusal(&["1.01", "1.10"], 2),
            PaytableError::TooManyHazards { hazards: 2, lanes: 2 }
        );
        assert_eq!(
            refusal(&["1.01", "1.10"], 258),
            PaytableError::TooManyHazards { hazards: 258, lanes: 2 }
        );
    }

    #[test]
    fn the_last_playable_lane_is_the_last_within_the_maximum_win() {
        let paytable = Paytable::from_coefficients(rtp("0.955"), coefficients(&["1.50", "2.00", "3.01"]), 1).unwrap();
        let amount = |minor| Amount::from_minor(minor).unwrap();
        assert_eq!(paytable.max_lane(amount(100), amount(301)), Some(2));
        assert_eq!(paytable.max_lane(amount(100), amount(300)), Some(1));
        assert_eq!(paytable.max_lane(amount(100), amount(150)), Some(0));
        assert_eq!(paytable.max_lane(amount(100), amount(149)), None);
        // 101 * 3.01 = 304.01, which is more than 304 before it is rounded down.
        assert_eq!(paytable.max_lane(amount(101), amount(304)), Some(1));
    }

    #[test]
    fn the_largest_numbers_are_computed_exactly() {
        let texts = ["1.01", "90071992547409.90", "90071992547409.91"];
        let paytable = Paytable::from_coefficients(rtp("0.955001"), coefficients(&texts), 1).unwrap();
        assert_eq!(
            paytable.thresholds().last(),
            Some(&u64::try_from((1_u128 << 64) / 9_007_199_254_740_991).unwrap())
        );
    }
}
