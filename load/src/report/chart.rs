//! Line charts as SVG, inside a page or as a file of their own, without a script or a library.

use std::fmt::Write;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 280.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 130.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 40.0;
const COLOURS: [&str; 8] = [
    "#1b6ca8", "#d1495b", "#2e933c", "#e08e0b", "#7b4fa6", "#00798c", "#8d5a2b", "#555555",
];

/// What a file of its own needs; in a page it changes nothing.
pub const NAMESPACE: &str = "xmlns=\"http://www.w3.org/2000/svg\"";
/// Text that can be read on white and on black: a file is not told which it is shown on.
pub const LETTERING: &str = "font-family=\"sans-serif\" fill=\"#7a7a7a\"";

/// One line.
pub struct Series {
    pub name: String,
    /// From 0 to 1 across, and the value.
    pub points: Vec<(f64, f64)>,
}

/// A chart.
pub struct Chart<'a> {
    pub title: &'a str,
    pub unit: &'a str,
    pub series: Vec<Series>,
    /// Places across and their labels.
    pub marks: Vec<(f64, String)>,
    /// Whether values are drawn by their magnitude.
    pub logarithmic: bool,
}

impl Chart<'_> {
    pub fn svg(&self) -> String {
        let values = || self.series.iter().flat_map(|series| series.points.iter().map(|point| point.1));
        let scale = Scale::new(
            values().fold(f64::INFINITY, f64::min),
            values().fold(0.0, f64::max),
            self.logarithmic,
        );
        let mut svg = format!(
            "<svg {NAMESPACE} viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\"><g font-size=\"11\" {LETTERING}>",
            super::html::escaped(self.title)
        );
        for value in scale.ticks() {
            let y = scale.y(value);
            add(
                &mut svg,
                &format!(
                    "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#8884\"/>",
                    WIDTH - RIGHT
                ),
            );
            add(
                &mut svg,
                &format!(
                    "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{} {}</text>",
                    LEFT - 6.0,
                    y + 4.0,
                    label(value),
                    self.unit
                ),
            );
        }
        for (place, text) in &self.marks {
            let x = x(*place);
            let text = super::html::escaped(text);
            add(
                &mut svg,
                &format!(
                    "<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{text}</text>",
                    HEIGHT - BOTTOM + 18.0
                ),
            );
        }
        for (index, series) in self.series.iter().enumerate() {
            self.draw(&mut svg, series, index, &scale);
        }
        svg.push_str("</g></svg>");
        svg
    }

    fn draw(&self, svg: &mut String, series: &Series, index: usize, scale: &Scale) {
        let colour = COLOURS[index % COLOURS.len()];
        let points: Vec<String> = series
            .points
            .iter()
            .map(|(place, value)| format!("{:.1},{:.1}", x(*place), scale.y(*value)))
            .collect();
        add(
            svg,
            &format!(
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.8\"/>",
                points.join(" ")
            ),
        );
        let y = TOP + 12.0 + 18.0 * index as f64;
        add(
            svg,
            &format!(
                "<rect x=\"{}\" y=\"{}\" width=\"12\" height=\"4\" fill=\"{colour}\"/><text x=\"{}\" y=\"{}\">{}</text>",
                WIDTH - RIGHT + 12.0,
                y - 6.0,
                WIDTH - RIGHT + 30.0,
                y,
                super::html::escaped(&series.name)
            ),
        );
    }
}

/// From values to heights.
struct Scale {
    lowest: f64,
    highest: f64,
    logarithmic: bool,
}

impl Scale {
    fn new(lowest: f64, highest: f64, logarithmic: bool) -> Self {
        if logarithmic {
            let lowest = lowest.max(0.001);
            return Self {
                lowest: 10_f64.powf(lowest.log10().floor()),
                highest: 10_f64.powf(highest.max(lowest * 10.0).log10().ceil()),
                logarithmic,
            };
        }
        let step = step(highest);
        Self {
            lowest: 0.0,
            highest: (highest / step).ceil().max(1.0) * step,
            logarithmic,
        }
    }

    fn ticks(&self) -> Vec<f64> {
        if self.logarithmic {
            let decades = (self.highest / self.lowest).log10().round() as i32;
            return (0..=decades).map(|decade| self.lowest * 10_f64.powi(decade)).collect();
        }
        let step = step(self.highest);
        (0..=(self.highest / step).round() as u32)
            .map(|index| f64::from(index) * step)
            .collect()
    }

    fn y(&self, value: f64) -> f64 {
        let share = if self.logarithmic {
            (value.max(self.lowest) / self.lowest).log10() / (self.highest / self.lowest).log10()
        } else {
            value / self.highest
        };
        HEIGHT - BOTTOM - share.clamp(0.0, 1.0) * (HEIGHT - TOP - BOTTOM)
    }
}

/// A round distance between lines of a grid, of which there are four to eight.
fn step(highest: f64) -> f64 {
    let rough = highest.max(1.0) / 5.0;
    let magnitude = 10_f64.powf(rough.log10().floor());
    let leading = rough / magnitude;
    let round = if leading < 1.5 {
        1.0
    } else if leading < 3.5 {
        2.0
    } else if leading < 7.5 {
        5.0
    } else {
        10.0
    };
    round * magnitude
}

fn x(place: f64) -> f64 {
    LEFT + place.clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT)
}

fn label(value: f64) -> String {
    if value >= 1.0 || value == 0.0 {
        format!("{value:.0}")
    } else {
        format!("{value}")
    }
}

fn add(svg: &mut String, text: &str) {
    svg.write_str(text).expect("a text takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_end_above_what_they_show() {
        for (highest, logarithmic) in [(0.0, false), (7.0, false), (1_234.0, false), (0.4, true), (99.0, true)] {
            let scale = Scale::new(0.2, highest, logarithmic);
            assert!(scale.highest >= highest);
            let ticks = scale.ticks();
            assert!((2..=12).contains(&ticks.len()), "{ticks:?}");
            assert!(scale.y(highest) >= TOP - 0.1 && scale.y(scale.lowest) <= HEIGHT - BOTTOM + 0.1);
        }
    }
}
