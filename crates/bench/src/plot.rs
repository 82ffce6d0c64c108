//! A curve as SVG: figures over load, both axes logarithmic, so that a floor of fractions of a millisecond and a cliff
//! of seconds are in one picture.

use std::{fmt::Write as _, fs, path::Path};

use crate::error::{BenchError, Doing};

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 520.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 92.0;
const TOP: f64 = 84.0;
const BOTTOM: f64 = 64.0;
/// One colour for each line; they keep their order in grey, too.
const COLOURS: [&str; 4] = ["#2a9d8f", "#e08e1a", "#c8344d", "#4a5a8a"];
/// Smallest distance between the names at the ends of lines.
const NAME_HEIGHT: f64 = 16.0;

/// A picture to be drawn.
#[derive(Debug, Clone)]
pub(crate) struct Plot {
    /// What it shows.
    pub title: String,
    /// Under what conditions.
    pub subtitle: String,
    /// The name of the horizontal axis.
    pub x: String,
    /// The name of the vertical axis.
    pub y: String,
    /// The curves.
    pub lines: Vec<Line>,
    /// From this load on the server does not keep up.
    pub limit: Option<f64>,
}

/// A curve.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    /// Its name, at its end.
    pub name: String,
    /// Its points, from left to right.
    pub points: Vec<(f64, f64)>,
}

/// Where values come to lie on a logarithmic axis.
struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    /// From `from` to `to` for all of `values`, with a little room.
    fn of(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let (low, high) =
            values.filter(|v| *v > 0.0).fold((f64::MAX, 0.0_f64), |(l, h), v| (l.min(v), h.max(v)));
        let (low, high) = if high > 0.0 { (low / 1.25, high * 1.25) } else { (1.0, 10.0) };
        Self { low, high, from, to }
    }

    fn at(&self, value: f64) -> f64 {
        let part = (value.max(self.low) / self.low).ln() / (self.high / self.low).ln();
        self.from + (self.to - self.from) * part
    }

    /// Round values in reach: the finest of three sets that is not too dense.
    fn ticks(&self, most: usize) -> Vec<f64> {
        let mut ticks = Vec::new();
        for steps in [&[1.0, 1.5, 2.0, 3.0, 5.0, 7.0][..], &[1.0, 2.0, 5.0], &[1.0]] {
            let first = self.low.log10().floor() as i32;
            let last = self.high.log10().ceil() as i32;
            let all =
                (first..=last).flat_map(|power| steps.iter().map(move |step| step * 10_f64.powi(power)));
            ticks = all.filter(|value| (self.low..=self.high).contains(value)).collect();
            if ticks.len() <= most {
                break;
            }
        }
        ticks
    }
}

impl Plot {
    /// Draws it into `path`.
    pub(crate) fn write(&self, path: &Path) -> Result<(), BenchError> {
        fs::write(path, self.svg()).doing(&format!("writing {}", path.display()))
    }

    fn svg(&self) -> String {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let x = Axis::of(points().map(|(x, _)| *x), LEFT, WIDTH - RIGHT);
        let y = Axis::of(points().map(|(_, y)| *y), HEIGHT - BOTTOM, TOP);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" \
             height=\"{HEIGHT}\" font-family=\"system-ui, sans-serif\" font-size=\"13\" fill=\"#333\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
             <text x=\"{LEFT}\" y=\"34\" font-size=\"20\" font-weight=\"600\">{}</text>\n\
             <text x=\"{LEFT}\" y=\"56\" fill=\"#666\">{}</text>\n",
            escaped(&self.title),
            escaped(&self.subtitle)
        );
        self.limit(&x, &mut svg);
        self.axes(&x, &y, &mut svg);
        self.curves(&x, &y, &mut svg);
        svg.push_str("</svg>\n");
        svg
    }

    /// Shades what the server does not keep up with.
    fn limit(&self, x: &Axis, svg: &mut String) {
        let Some(limit) = self.limit else { return };
        let (at, height) = (x.at(limit), HEIGHT - BOTTOM - TOP);
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(
            svg,
            "<rect x=\"{at:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{height}\" fill=\"#f6e9ea\"/>\n\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#a3475a\">does not keep up</text>",
            WIDTH - RIGHT - at,
            WIDTH - RIGHT - 6.0,
            HEIGHT - BOTTOM - 8.0
        );
    }

    fn axes(&self, x: &Axis, y: &Axis, svg: &mut String) {
        let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        for value in y.ticks(9) {
            let at = y.at(value);
            let _ = writeln!(
                svg,
                "<path d=\"M{LEFT} {at:.1}H{right}\" stroke=\"#e6e6e6\"/>\n\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 8.0,
                at + 4.5,
                short(value)
            );
        }
        for value in x.ticks(10) {
            let at = x.at(value);
            let _ = writeln!(
                svg,
                "<path d=\"M{at:.1} {bottom}v5\" stroke=\"#999\"/>\n\
                 <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                bottom + 20.0,
                short(value)
            );
        }
        let _ = writeln!(
            svg,
            "<path d=\"M{LEFT} {bottom}H{right}\" stroke=\"#999\"/>\n\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n\
             <text transform=\"translate(22 {:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            f64::midpoint(LEFT, right),
            HEIGHT - 16.0,
            escaped(&self.x),
            f64::midpoint(TOP, bottom),
            escaped(&self.y)
        );
    }

    fn curves(&self, x: &Axis, y: &Axis, svg: &mut String) {
        let mut names: Vec<(f64, f64, &str, &str)> = Vec::new();
        for (line, colour) in self.lines.iter().zip(COLOURS.iter().cycle()) {
            let places: Vec<(f64, f64)> = line.points.iter().map(|(a, b)| (x.at(*a), y.at(*b))).collect();
            let path: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
            let _ = writeln!(
                svg,
                "<path d=\"M{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2.5\" stroke-linejoin=\"round\"/>",
                path.join("L")
            );
            for (x, y) in &places {
                let _ = writeln!(
                    svg,
                    "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"#fff\" stroke=\"{colour}\" stroke-width=\"2\"/>"
                );
            }
            if let Some((x, y)) = places.last() {
                names.push((*y, *x, &line.name, colour));
            }
        }
        names.sort_by(|one, other| other.0.total_cmp(&one.0));
        let mut below = f64::MAX;
        for (at, x, name, colour) in names {
            below = at.min(below - NAME_HEIGHT);
            let _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" font-weight=\"600\" fill=\"{colour}\">{}</text>",
                x + 10.0,
                below + 4.5,
                escaped(name)
            );
        }
    }
}

/// A tick: 0.2, 15, 3 k.
fn short(value: f64) -> String {
    let text = if value >= 1e6 {
        format!("{} M", trimmed(value / 1e6))
    } else if value >= 1e3 {
        format!("{} k", trimmed(value / 1e3))
    } else {
        trimmed(value)
    };
    escaped(&text)
}

fn trimmed(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few() {
        let axis = Axis::of([0.4, 900.0].into_iter(), 0.0, 100.0);
        assert_eq!(axis.ticks(9), [1.0, 10.0, 100.0, 1000.0]);
        let axis = Axis::of([2_000.0, 20_000.0].into_iter(), 0.0, 100.0);
        assert_eq!(
            axis.ticks(9).iter().map(|tick| short(*tick)).collect::<Vec<_>>(),
            ["2 k", "3 k", "5 k", "7 k", "10 k", "15 k", "20 k"]
        );
    }

    #[test]
    fn curves_rise_to_the_right_and_names_keep_their_distance() {
        let line = |name: &str| Line { name: name.to_owned(), points: vec![(100.0, 1.0), (1000.0, 50.0)] };
        let (title, subtitle) = ("a < b".to_owned(), String::new());
        let lines = vec![line("p50"), line("p99")];
        let svg = Plot { title, subtitle, x: "load".into(), y: "ms".into(), lines, limit: Some(900.0) }.svg();
        assert!(svg.contains("a &lt; b") && svg.contains("does not keep up"), "{svg}");
        let y_of = |name: &str| {
            let text = svg.lines().find(|line| line.contains(&format!(">{name}</text>"))).unwrap();
            let y = text.split("y=\"").nth(1).unwrap().split('"').next().unwrap();
            y.parse::<f64>().unwrap()
        };
        assert!((y_of("p50") - y_of("p99")).abs() >= NAME_HEIGHT);
        let axis = Axis::of([1.0, 50.0].into_iter(), HEIGHT - BOTTOM, TOP);
        assert!(axis.at(50.0) < axis.at(1.0));
    }
}
