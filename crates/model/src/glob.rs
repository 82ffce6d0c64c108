//! Patterns as Redis has them: `*`, `?`, `[abc]`, `[^a-z]`, and `\` before what is meant as it is.

use std::fmt;

/// The names that a pattern of Redis fits. It looks at bytes, as Redis does.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Glob {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Part {
    /// Any bytes, or none.
    Star,
    /// Any byte.
    Any,
    Byte(u8),
    /// A byte that is in one of these ranges, or, where that is true, in none.
    Class(bool, Vec<(u8, u8)>),
}

impl Glob {
    /// Reads a pattern. Every text is one.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let mut parts = Vec::new();
        let mut rest = text.as_bytes();
        while let [first, after @ ..] = rest {
            rest = after;
            parts.push(match (first, after) {
                (b'*', _) if parts.last() == Some(&Part::Star) => continue,
                (b'*', _) => Part::Star,
                (b'?', _) => Part::Any,
                (b'[', _) => class(&mut rest),
                (b'\\', [meant, after @ ..]) => {
                    rest = after;
                    Part::Byte(*meant)
                }
                (byte, _) => Part::Byte(*byte),
            });
        }
        Self { text: text.to_owned(), parts }
    }

    /// Whether a text has anything in it that makes it more than a name.
    #[must_use]
    pub fn is_one(text: &str) -> bool {
        text.contains(['*', '?', '[', '\\'])
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether a name is one of those that are meant. Takes a time like the product of both lengths at most.
    #[must_use]
    pub fn fits(&self, name: &str) -> bool {
        let name = name.as_bytes();
        let (mut at, mut seen) = (0, 0);
        // Where the last star was, and how far it reaches by now.
        let mut star: Option<(usize, usize)> = None;
        while seen < name.len() {
            match self.parts.get(at) {
                Some(Part::Star) => {
                    star = Some((at, seen));
                    at += 1;
                }
                Some(part) if part.fits(name[seen]) => {
                    at += 1;
                    seen += 1;
                }
                Some(_) | None => match star {
                    Some((back, reach)) => {
                        star = Some((back, reach + 1));
                        at = back + 1;
                        seen = reach + 1;
                    }
                    None => return false,
                },
            }
        }
        self.parts[at..].iter().all(|part| *part == Part::Star)
    }
}

impl Part {
    fn fits(&self, byte: u8) -> bool {
        match self {
            Self::Star | Self::Any => true,
            Self::Byte(meant) => *meant == byte,
            Self::Class(not, ranges) => {
                ranges.iter().any(|(first, last)| (*first..=*last).contains(&byte)) != *not
            }
        }
    }
}

/// What is in brackets; without a closing one, all that is left.
fn class(rest: &mut &[u8]) -> Part {
    let not = rest.first() == Some(&b'^');
    if not {
        *rest = &rest[1..];
    }
    let mut ranges = Vec::new();
    loop {
        *rest = match *rest {
            [] => break,
            [b'\\', byte, after @ ..] => {
                ranges.push((*byte, *byte));
                after
            }
            [b']', after @ ..] => {
                *rest = after;
                break;
            }
            [first, b'-', last, after @ ..] => {
                ranges.push(((*first).min(*last), (*first).max(*last)));
                after
            }
            [byte, after @ ..] => {
                ranges.push((*byte, *byte));
                after
            }
        };
    }
    Part::Class(not, ranges)
}

impl fmt::Debug for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_as_they_do_in_redis() {
        for (pattern, name, fits) in [
            ("news", "news", true),
            ("news", "new", false),
            ("*", "", true),
            ("score.*", "score.1", true),
            ("score.*", "score", false),
            ("**a**", "bab", true),
            ("h?llo", "hallo", true),
            ("h?llo", "hllo", false),
            ("h[ae]llo", "hello", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-c]llo", "hbllo", true),
            ("h[c-a]llo", "hbllo", true),
            ("h[a-c]llo", "hdllo", false),
            (r"h\*llo", "h*llo", true),
            (r"h\*llo", "hallo", false),
            (r"[\]]", "]", true),
            ("[abc", "b", true),
            ("[]", "a", false),
            ("[^]", "a", true),
            ("a\\", "a\\", true),
            ("", "", true),
            ("", "a", false),
            ("?", "é", false),
            ("??", "é", true),
            ("*a*b*c", "xxaxxbxxbxc", true),
            ("*a*b*c", "xxaxxbxxbx", false),
        ] {
            assert_eq!(Glob::new(pattern).fits(name), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn many_stars_take_no_long_time() {
        let (pattern, name) = ("*a".repeat(100), "a".repeat(10_000));
        assert!(!Glob::new(&format!("{pattern}b")).fits(&name));
    }

    #[test]
    fn a_name_is_no_pattern() {
        assert!(Glob::is_one("a*") && Glob::is_one("[a]") && Glob::is_one("a?") && !Glob::is_one("a.b-c"));
    }
}
