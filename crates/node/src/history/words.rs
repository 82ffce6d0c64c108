//! What people search messages by: the text of a message, and the terms that text is cut into.
//!
//! Scripts that put spaces between words are cut into words; the others (Chinese, Japanese, Korean, Thai and their
//! like) into every character and every two neighbours, so that whatever is in a text is found, wherever a word begins.
//! A query is cut the same way; what the index then leads to is held against the text itself. Nothing here knows an
//! index or a store.

use std::borrow::Cow;
use std::collections::HashSet;

use tidings_model::Message;

/// How much of a message's text is searched, in bytes.
const TEXT_BYTES: usize = 4_096;

/// Most terms of a message. Of a text that has more, the rest is not found.
const TERMS_MAX: usize = 1_024;

/// How much of a word counts, in characters. Longer ones are told apart when the text is looked at.
const WORD_CHARS: usize = 60;

/// The text of a message: every string in its data and in what other ways are to say, but no names of fields;
/// lower-case, a line for each.
pub(super) fn text_of(message: &Message) -> String {
    let mut text = String::new();
    for json in [&message.data, &message.offline] {
        strings(json, &mut text);
    }
    text
}

/// Adds the strings of a JSON text that are not names of fields, until there is text enough.
fn strings(json: &[u8], text: &mut String) {
    let Ok(json) = std::str::from_utf8(json) else { return };
    let mut rest = json;
    while let Some(begin) = rest.find('"') {
        let string = &rest[begin..];
        let Some(end) = end_of_string(string.as_bytes()) else { return };
        rest = &string[end..];
        if rest.trim_start().starts_with(':') {
            continue;
        }
        let plain = &string[1..end - 1];
        let plain = if plain.contains('\\') {
            // Half of a surrogate pair is no text.
            serde_json::from_str(&string[..end]).map_or(Cow::Borrowed(""), Cow::Owned)
        } else {
            Cow::Borrowed(plain)
        };
        if !fold(&plain, text) {
            return;
        }
        text.push('\n');
    }
}

/// Where a string that begins here ends: behind its closing quote.
fn end_of_string(json: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        match json.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// Adds text without what does not matter: case, and the width of Latin letters among Chinese ones. Answers whether
/// there is room for more.
fn fold(text: &str, into: &mut String) -> bool {
    for c in text.chars() {
        let c = match c {
            '\u{ff01}'..='\u{ff5e}' => char::from_u32(c as u32 - 0xfee0).unwrap_or(c),
            other => other,
        };
        if into.len() + 2 * c.len_utf8() > TEXT_BYTES {
            return false;
        }
        into.extend(c.to_lowercase());
    }
    true
}

/// The terms that a text is found by.
pub(super) fn terms(text: &str) -> HashSet<&str> {
    let mut terms = HashSet::new();
    for run in runs(text) {
        match run {
            Run::Word(word) => drop(terms.insert(word)),
            Run::Unspaced(run) => {
                let mut before = 0;
                for (at, c) in run.char_indices() {
                    terms.insert(&run[at..at + c.len_utf8()]);
                    if at > 0 {
                        terms.insert(&run[before..at + c.len_utf8()]);
                    }
                    before = at;
                    if terms.len() >= TERMS_MAX {
                        break;
                    }
                }
            }
        }
        if terms.len() >= TERMS_MAX {
            break;
        }
    }
    terms
}

/// What somebody searches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    /// What must be in the text, each somewhere.
    words: Vec<String>,
    /// What the text must have among its terms.
    terms: Vec<Box<str>>,
}

impl Words {
    /// Reads what somebody searches for. `None` when there is no letter and no digit in it.
    #[must_use]
    pub fn parse(query: &str) -> Option<Self> {
        let mut folded = String::new();
        fold(query, &mut folded);
        let words = folded.split_whitespace().map(|word| word.trim_matches(|c: char| !c.is_alphanumeric()));
        let words: Vec<String> = words.filter(|word| !word.is_empty()).map(str::to_owned).collect();
        let mut terms: Vec<Box<str>> = Vec::new();
        for run in runs(&folded) {
            match run {
                Run::Word(word) => terms.push(word.into()),
                Run::Unspaced(run) => {
                    let pairs = run.char_indices().zip(run.char_indices().skip(1));
                    let before = terms.len();
                    terms.extend(pairs.map(|((from, _), (to, c))| run[from..to + c.len_utf8()].into()));
                    if terms.len() == before {
                        terms.push(run.into());
                    }
                }
            }
        }
        // Long ones are rare ones; whatever comes first spares the others.
        terms.sort_unstable_by_key(|term| std::cmp::Reverse(term.len()));
        terms.dedup();
        (!terms.is_empty()).then_some(Self { words, terms })
    }

    /// What a text must have among its terms.
    pub(super) fn terms(&self) -> &[Box<str>] {
        &self.terms
    }

    /// Whether everything is in this text, as the index would know it.
    pub(super) fn are_in(&self, text: &str) -> bool {
        if !self.words.iter().all(|word| text.contains(word.as_str())) {
            return false;
        }
        let terms = terms(text);
        self.terms.iter().all(|term| terms.contains(&**term))
    }
}

/// A stretch of letters and digits.
enum Run<'a> {
    /// Of a script with spaces between words: as much of the word as counts.
    Word(&'a str),
    /// Of a script without.
    Unspaced(&'a str),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Between,
    Spaced,
    Unspaced,
}

fn runs(text: &str) -> impl Iterator<Item = Run<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let begin = rest.find(|c| kind(c) != Kind::Between)?;
        let run = &rest[begin..];
        let this = kind(run.chars().next()?);
        let end = run.find(|c| kind(c) != this).unwrap_or(run.len());
        let (run, behind) = run.split_at(end);
        rest = behind;
        Some(match this {
            Kind::Unspaced => Run::Unspaced(run),
            Kind::Between | Kind::Spaced => {
                Run::Word(run.char_indices().nth(WORD_CHARS).map_or(run, |(at, _)| &run[..at]))
            }
        })
    })
}

fn kind(c: char) -> Kind {
    if c.is_ascii() {
        return if c.is_ascii_alphanumeric() { Kind::Spaced } else { Kind::Between };
    }
    match c {
        _ if !c.is_alphanumeric() => Kind::Between,
        // Thai, Lao, Burmese, Hangul letters, Khmer; then everything between Japanese kana and Hangul syllables that
        // is written without spaces; their compatibility forms; the rare ideographs.
        '\u{0e00}'..='\u{0eff}'
        | '\u{1000}'..='\u{109f}'
        | '\u{1100}'..='\u{11ff}'
        | '\u{1780}'..='\u{17ff}'
        | '\u{3005}'..='\u{3007}'
        | '\u{3040}'..='\u{318f}'
        | '\u{31a0}'..='\u{31ff}'
        | '\u{3400}'..='\u{4dbf}'
        | '\u{4e00}'..='\u{9fff}'
        | '\u{ac00}'..='\u{d7ff}'
        | '\u{f900}'..='\u{faff}'
        | '\u{ff66}'..='\u{ff9f}'
        | '\u{20000}'..='\u{3ffff}' => Kind::Unspaced,
        _ => Kind::Spaced,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(json: &str) -> String {
        let mut text = String::new();
        strings(json.as_bytes(), &mut text);
        text
    }

    #[test]
    fn the_text_of_a_message_is_its_strings() {
        for (json, expected) in [
            (r#""Hello""#, "hello\n"),
            (r#"{"key":"A","b" : ["Two",{"c":"3"}],"n":[1e999,true,null]}"#, "a\ntwo\n3\n"),
            (r#"{"a":"say \"hi\"\u4f60\\","b":""}"#, "say \"hi\"你\\\n\n"),
            (r#"{"a":"\ud800","b":"x"}"#, "\nx\n"),
            (r#"{"a\"b":"ＡＢＣ１"}"#, "abc1\n"),
            ("17", ""),
            ("", ""),
            (r#""unfinished"#, ""),
            (r#""unfinished\"#, ""),
        ] {
            assert_eq!(text(json), expected, "{json}");
        }
        let long = format!("[\"{}\",\"end\"]", "用户".repeat(2_000));
        let seen = text(&long);
        assert!(seen.len() <= TEXT_BYTES && seen.len() > TEXT_BYTES - 8 && seen.ends_with(['用', '户']));
    }

    #[test]
    fn a_text_is_cut_into_terms() {
        for (text, expected) in [
            ("order 7781 shipped", "7781 order shipped"),
            ("user@example.com, foo-bar", "bar com example foo user"),
            ("北京大学", "京 京大 北 北京 大 大学 学"),
            ("iphone15手机", "iphone15 手 手机 机"),
            ("ありがとう、ok", "あ あり う が がと ok と とう り りが"),
            ("안녕", "녕 안 안녕"),
            ("café élan", "café élan"),
            ("!?… 🎉", ""),
        ] {
            let mut seen: Vec<_> = terms(text).into_iter().collect();
            let mut expected: Vec<_> = expected.split_whitespace().collect();
            seen.sort_unstable();
            expected.sort_unstable();
            assert_eq!(seen, expected, "{text}");
        }
        assert_eq!(terms(&"x".repeat(100)), [&*"x".repeat(WORD_CHARS)].into());
    }

    #[test]
    fn a_query_finds() {
        for (query, text, found) in [
            ("hello", "hello world", true),
            ("HELLO, world!", "world: hello", true),
            ("hell", "hello world", false),
            ("京", "北京大学", true),
            ("京大", "北京大学", true),
            ("北大", "北京大学", false),
            ("京大学 hello", "hello 北京大学", true),
            ("foo-bar", "foo bar", false),
            ("foo bar", "bar\nfoo", true),
            ("Ｏｒｄｅｒ", "order", true),
        ] {
            assert_eq!(Words::parse(query).unwrap().are_in(text), found, "{query} in {text}");
        }
        for query in ["", " ", "?!", "🎉", "  。 "] {
            assert_eq!(Words::parse(query), None, "{query}");
        }
    }

    fn any_text() -> impl Strategy<Value = String> {
        "([a-z]{1,6}|[A-Zß-ü]{1,4}|[用户你好北京大学、。かなカナ안녕]{1,8}|[0-9]{1,3}|[ .,!@-]{1,2}|\\PC){0,30}"
    }

    proptest! {
        /// Whatever word of a text somebody searches for, the index leads to the text.
        #[test]
        fn a_text_has_the_terms_of_its_words(text in any_text(), at in any::<prop::sample::Index>()) {
            let mut folded = String::new();
            fold(&text, &mut folded);
            let words: Vec<&str> = text.split_whitespace().collect();
            prop_assume!(!words.is_empty());
            let word = words[at.index(words.len())];
            let Some(query) = Words::parse(word) else { return Ok(()) };
            let terms = terms(&folded);
            prop_assert!(query.terms().iter().all(|term| terms.contains(&**term)), "{query:?} {terms:?}");
            prop_assert!(query.are_in(&folded));
        }

        /// Of a script without spaces, whatever part.
        #[test]
        fn a_text_has_the_terms_of_its_parts(text in "[用户你好北京大学]{1,20}", from: prop::sample::Index, chars in 1usize..5) {
            let from = from.index(text.chars().count());
            let part: String = text.chars().skip(from).take(chars).collect();
            let query = Words::parse(&part).unwrap();
            let terms = terms(&text);
            prop_assert!(query.terms().iter().all(|term| terms.contains(&**term)));
            prop_assert!(query.are_in(&text));
        }

        #[test]
        fn terms_have_bounds(text in "\\PC{0,300}", json in prop::collection::vec(any::<u8>(), 0..60)) {
            for term in terms(&text) {
                prop_assert!(!term.is_empty() && term.len() <= 255);
            }
            let mut seen = String::new();
            strings(&json, &mut seen);
            strings(&[b"\"", &json[..]].concat(), &mut seen);
            prop_assert!(seen.len() <= TEXT_BYTES + 100);
        }
    }
}
