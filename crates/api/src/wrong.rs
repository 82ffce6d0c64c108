//! What is wrong with a request, gathered field by field, so that one answer names all of it.

use std::collections::HashSet;
use std::fmt::Display;
use std::hash::Hash;
use std::time::Duration;

use tidings_model::{ErrorCode, limit};
use tidings_wire::problem::FieldError;

use crate::shape::shown;
use crate::{Problem, duration};

/// What is wrong with a request.
#[derive(Debug, Default)]
pub(crate) struct Wrong(Vec<FieldError>);

impl Wrong {
    pub(crate) fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.0.push(FieldError { field: field.into(), message: message.into() });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn into_problem(self) -> Problem {
        Problem::fields(ErrorCode::INVALID_REQUEST, self.0)
    }

    /// Nothing, when nothing is wrong.
    pub(crate) fn check(self) -> Result<(), Problem> {
        if self.is_empty() { Ok(()) } else { Err(self.into_problem()) }
    }

    pub(crate) fn name<T, E: Display>(
        &mut self,
        field: &str,
        text: &str,
        new: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        match new(text) {
            Ok(name) => Some(name),
            Err(why) => {
                self.add(field, format!("{} {why}", shown(text)));
                None
            }
        }
    }

    /// A name that there must be.
    pub(crate) fn required<T, E: Display>(
        &mut self,
        field: &str,
        text: Option<&str>,
        new: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        if text.is_none() {
            self.add(field, "is required");
        }
        self.name(field, text?, new)
    }

    /// The names in a list, each once, in order.
    pub(crate) fn names<T: Clone + Eq + Hash, E: Display>(
        &mut self,
        field: &str,
        list: Option<&[impl AsRef<str>]>,
        new: impl Fn(&str) -> Result<T, E>,
    ) -> Vec<T> {
        let list = list.unwrap_or_default();
        if list.len() > limit::TARGETS_MAX {
            self.add(
                field,
                format!("has {} entries, at most {} are allowed", list.len(), limit::TARGETS_MAX),
            );
            return Vec::new();
        }
        let mut names = Vec::with_capacity(list.len());
        for (index, text) in list.iter().enumerate() {
            match new(text.as_ref()) {
                Ok(name) => names.push(name),
                Err(why) => self.add(format!("{field}[{index}]"), format!("{} {why}", shown(text.as_ref()))),
            }
        }
        if names.len() > 1 {
            let mut seen = HashSet::with_capacity(names.len());
            names.retain(|name| seen.insert(name.clone()));
        }
        names
    }

    /// One of a few words; the first when there is none.
    pub(crate) fn choice<T: Copy + Default>(
        &mut self,
        field: &str,
        text: Option<&str>,
        choices: &[(&str, T)],
    ) -> T {
        let Some(text) = text else { return T::default() };
        if let Some((_, choice)) = choices.iter().find(|(word, _)| *word == text) {
            return *choice;
        }
        let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
        self.add(field, format!("is {}, must be {}", shown(text), words.join(" or ")));
        T::default()
    }

    /// A duration of at least `least` and at most `most`.
    pub(crate) fn duration(
        &mut self,
        field: &str,
        text: Option<&str>,
        least: Duration,
        most: Duration,
    ) -> Option<Duration> {
        let text = text?;
        match duration::parse(text) {
            Ok(time) if (least..=most).contains(&time) => return Some(time),
            Ok(_) if least.is_zero() => {
                self.add(field, format!("is {}, at most {} is allowed", shown(text), duration::show(most)));
            }
            Ok(_) => {
                let (least, most) = (duration::show(least), duration::show(most));
                self.add(field, format!("is {}, must be from {least} to {most}", shown(text)));
            }
            Err(why) => self.add(field, format!("is {}, {why}", shown(text))),
        }
        None
    }
}
