//! Pairs of segments and their ratios.

use serde::Serialize;

use super::generator::Act;
use super::report::Row;
use super::sides::{Measure, Side, Sides};
use super::{Extent, say};
use crate::Failure;

/// One action at both servers.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Comparison {
    #[serde(skip)]
    pub act: Act,
    pub name: String,
    pub pairs: Vec<Pair>,
}

/// A segment of each side, one right after the other.
#[derive(Default, Serialize)]
pub struct Pair {
    pub ours: Measure,
    pub bare: Measure,
}

impl Pair {
    pub fn of(&mut self, side: Side) -> &mut Measure {
        match side {
            Side::Ours => &mut self.ours,
            Side::Bare => &mut self.bare,
        }
    }
}

/// The median of some values, with the lowest and the highest.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Spread {
    pub median: f64,
    pub lowest: f64,
    pub highest: f64,
}

impl Spread {
    pub fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        let last = values.len().saturating_sub(1);
        Self {
            median: f64::midpoint(at(last / 2), at(last.div_ceil(2))),
            lowest: at(0),
            highest: at(last),
        }
    }
}

impl Comparison {
    pub fn new(act: Act, name: &str) -> Self {
        Self {
            act,
            name: name.to_owned(),
            pairs: Vec::new(),
        }
    }

    /// Ours through the bare one's, pair by pair.
    pub fn ratio(&self, value: fn(&Measure) -> f64) -> Spread {
        Spread::of(self.pairs.iter().map(|pair| value(&pair.ours) / value(&pair.bare)))
    }

    pub fn ours(&self, value: fn(&Measure) -> f64) -> Spread {
        Spread::of(self.pairs.iter().map(|pair| value(&pair.ours)))
    }

    pub fn bare(&self, value: fn(&Measure) -> f64) -> Spread {
        Spread::of(self.pairs.iter().map(|pair| value(&pair.bare)))
    }
}

/// The targets that are ratios, and those of a whole round.
pub fn rows(comparisons: &[Comparison]) -> Vec<Row> {
    let mut rows = Vec::new();
    for comparison in comparisons {
        let rate = comparison.ratio(|measure| measure.per_s);
        match comparison.act {
            Act::SafeSteps => {
                rows.push(Row::at_least("Safe step: rate through the bare handler's", rate.median, "", 0.85).within(rate));
                let p99 = comparison.ratio(|measure| measure.p99_ms);
                rows.push(Row::at_most("Safe step: p99 through the bare handler's", p99.median, "", 1.25).within(p99));
            }
            Act::Bet => rows.push(Row::at_least("Bet: rate through the bare bet's", rate.median, "", 0.7).within(rate)),
            Act::WholeRounds => {
                let ours = comparison.ours(|measure| measure.server_cpu_us / 1e3);
                let bare = comparison.bare(|measure| measure.server_cpu_us / 1e3);
                let rounds = comparison.ours(|measure| measure.per_s);
                rows.push(Row::at_most("Whole round: CPU of the server", ours.median, "ms", 1.0).within(ours));
                rows.push(Row::at_most("Whole round: CPU of the bare server", bare.median, "ms", 0.6).within(bare));
                rows.push(Row::at_least("Whole rounds, every process on this machine", rounds.median, "/s", 600.0).within(rounds));
            }
            _ => {}
        }
        let errors: u64 = comparison.pairs.iter().map(|pair| pair.ours.errors + pair.bare.errors).sum();
        if errors > 0 {
            rows.push(Row::told(
                &format!("{}: answers that were errors", comparison.name),
                errors as f64,
                "",
            ));
        }
    }
    rows
}

/// An action that only the bare server has.
pub async fn one_sided(sides: &mut Sides, act: Act, name: &str, extent: &Extent) -> Result<Comparison, Failure> {
    say(name);
    let mut comparison = Comparison::new(act, name);
    sides.segment(Side::Bare, Act::Bet, extent.rounds, extent.segment).await?;
    for seat in &mut sides.bare {
        seat.safe_lanes = 1;
    }
    sides.segment(Side::Bare, Act::SafeSteps, extent.rounds, extent.segment).await?;
    for _ in 0..extent.cycles {
        let bare = sides.segment(Side::Bare, act, extent.rounds, extent.segment).await?;
        comparison.pairs.push(Pair { bare, ..Pair::default() });
    }
    Ok(comparison)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_lies_between_the_middle_values() {
        let spread = Spread::of([4.0, 1.0, 3.0, 2.0].into_iter());
        assert!((spread.median - 2.5).abs() < 1e-9 && spread.lowest < 1.5 && spread.highest > 3.5);
        assert!((Spread::of([7.0].into_iter()).median - 7.0).abs() < 1e-9);
    }
}
