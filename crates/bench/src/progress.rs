//! Progress bars on standard error; nothing at all when that is not a terminal.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar that counts `length` steps of `what`.
pub(crate) fn bar(what: &'static str, length: u64) -> ProgressBar {
    let bar = ProgressBar::new(length);
    let style = ProgressStyle::with_template("{msg:26} {wide_bar} {human_pos}/{human_len} {elapsed}");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar.with_message(what)
}
