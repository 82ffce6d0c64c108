//! What is logged to standard error, and how.

use std::time::Duration;

use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

use super::layers::Layers;
use super::{Key, Section};

pub(super) const SECTION: Section = Section {
    name: "log",
    doc: "The log, on standard error.",
    keys: &[
        Key {
            name: "log.level",
            default: "info",
            allowed: "error, warn, info, debug or trace; or directives such as \"info,tidings_gateway=debug\"",
            doc: "What is logged.",
            flag: "--log",
            secret: false,
        },
        Key {
            name: "log.format",
            default: "text",
            allowed: "text or json",
            doc: "How a line looks.",
            flag: "",
            secret: false,
        },
    ],
};

/// What is logged, and how.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) level: String,
    pub(crate) format: Format,
}

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    Json,
}

impl Log {
    pub(super) fn resolve(layers: &mut Layers) -> Self {
        Self {
            level: layers.take("log.level", level),
            format: layers.take("log.format", |text| match text {
                "text" => Ok(Format::Text),
                "json" => Ok(Format::Json),
                _ => Err("must be text or json".to_owned()),
            }),
        }
    }
}

fn level(text: &str) -> Result<String, String> {
    // A single word that is no level would be taken for a module, and nothing would be logged.
    let levels = ["off", "error", "warn", "info", "debug", "trace"];
    let plain = levels.contains(&text.to_ascii_lowercase().as_str());
    if plain || (text.contains('=') && EnvFilter::try_new(text).is_ok()) {
        return Ok(text.to_owned());
    }
    Err("must be error, warn, info, debug or trace, or directives such as \"info,tidings_gateway=debug\""
        .to_owned())
}

/// What is logged can be changed by this while the process runs.
pub(crate) struct Level(Box<dyn Fn(EnvFilter) + Send + Sync>);

impl Level {
    /// From now on this is logged.
    pub(crate) fn set(&self, log: &Log) {
        (self.0)(filter(log));
    }
}

/// What is let through.
fn filter(log: &Log) -> EnvFilter {
    EnvFilter::try_new(directives(&log.level)).unwrap_or_else(|_| EnvFilter::new("info"))
}

/// At `info` the storage engine tells of every file that it writes, which is no news to an operator. Who names it in a list hears
/// of it: of two directives for the same, the later one counts.
fn directives(level: &str) -> String {
    let is_list = level.contains('=');
    if is_list || level.eq_ignore_ascii_case("info") {
        format!("fjall=warn,lsm_tree=warn,{level}")
    } else {
        level.to_owned()
    }
}

/// Lines that wait to be written; beyond them the newest are let go: nothing waits for whoever reads the log.
const LINES_MAX: usize = 16_384;

/// How often it is looked whether lines were let go.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The thread that writes the log. Dropping it writes what waits, if that can be written soon.
pub(crate) struct Writing {
    _guard: WorkerGuard,
    lost: ErrorCounter,
}

impl Writing {
    /// Says in the log how many of its lines were let go, once there is room for that.
    pub(crate) fn tell_of_losses(&self) -> impl Future<Output = ()> + Send + 'static {
        let lost = self.lost.clone();
        async move {
            let mut told = 0;
            loop {
                tokio::time::sleep(LOOK_EVERY).await;
                let now = lost.dropped_lines();
                if now > told {
                    tracing::warn!(
                        lines = now - told,
                        "lines of this log were let go: they came faster than it is read"
                    );
                    told = now;
                }
            }
        }
    }
}

/// Starts logging. The second and later calls do nothing: there is one log.
pub(crate) fn start(log: &Log) -> (Level, Writing) {
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(LINES_MAX)
        .thread_name("log")
        .finish(std::io::stderr());
    let writing = Writing { lost: writer.error_counter(), _guard: guard };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(log))
        .with_writer(writer)
        // It would be told to the same place, and by a panic if that is gone.
        .log_internal_errors(false)
        .with_target(false);
    // Where the log has ended nobody reads what it would say of that.
    let level = match log.format {
        Format::Text => {
            let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
            let builder = builder.with_ansi(colours).with_filter_reloading();
            let handle = builder.reload_handle();
            let _ = builder.try_init();
            Level(Box::new(move |filter| drop(handle.reload(filter))))
        }
        Format::Json => {
            let builder = builder.json().flatten_event(true).with_filter_reloading();
            let handle = builder.reload_handle();
            let _ = builder.try_init();
            Level(Box::new(move |filter| drop(handle.reload(filter))))
        }
    };
    (level, writing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_storage_engine_is_quiet_unless_it_is_asked() {
        for (level, expected) in [
            ("info", "fjall=warn,lsm_tree=warn,info"),
            ("debug", "debug"),
            ("info,tidings_api=debug", "fjall=warn,lsm_tree=warn,info,tidings_api=debug"),
            ("info,fjall=info", "lsm_tree=warn,fjall=info,info"),
        ] {
            let mut parts: Vec<_> =
                EnvFilter::new(directives(level)).to_string().split(',').map(str::to_owned).collect();
            let mut wanted: Vec<_> = expected.split(',').map(str::to_owned).collect();
            parts.sort_unstable();
            wanted.sort_unstable();
            assert_eq!(parts, wanted, "{level}");
        }
    }
}
