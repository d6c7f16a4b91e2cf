//! How each kind of value is written: numbers, sizes, dollars, durations.
//!
//! A function takes the text and answers nothing if it doesn't make sense; the message is the caller's.

use std::{str::FromStr, time::Duration};

use bytesize::ByteSize;

use super::OptionInfo;

pub(super) fn keyword<T: FromStr>(value: &str) -> Option<T> {
    value.parse().ok()
}

pub(super) fn positive(value: &str) -> Option<u32> {
    value.parse().ok().filter(|&number| number > 0)
}

pub(super) fn workers(value: &str) -> Option<u32> {
    positive(value).filter(|&number| number <= 10_000)
}

/// A number, or nothing for `auto`.
pub(super) fn workers_or_auto(value: &str) -> Option<Option<u32>> {
    if value == "auto" { Some(None) } else { workers(value).map(Some) }
}

pub(super) fn fraction(value: &str) -> Option<f64> {
    value.parse().ok().filter(|number: &f64| number.is_finite() && *number > 0.0)
}

pub(super) fn percent(value: &str) -> Option<u32> {
    let number = value.trim_end_matches('%').parse().ok()?;
    (number <= 100).then_some(number)
}

pub(super) fn memory(value: &str) -> Option<ByteSize> {
    if let Some(gibibytes) = fraction(value) {
        return Some(ByteSize((gibibytes * ByteSize::gib(1).as_u64() as f64) as u64));
    }
    value.parse().ok().filter(|size: &ByteSize| size.as_u64() > 0)
}

pub(super) fn module(text: &str) -> Option<String> {
    let is_name = |part: &str| {
        let mut letters = part.chars();
        letters.next().is_some_and(|first| first == '_' || first.is_alphabetic())
            && letters.all(|letter| letter == '_' || letter.is_alphanumeric())
    };
    text.split('.').all(is_name).then(|| text.to_owned())
}

pub(super) fn truth(value: &str) -> Option<bool> {
    match value {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// `NAME=VALUE`. The module search path is not to be set: it is made of the project's directories.
pub(super) fn assignment(text: &str) -> Option<(String, String)> {
    let (name, value) = text.split_once('=')?;
    let sound = !name.is_empty() && name != "PYTHONPATH" && !name.contains(|c: char| c.is_whitespace() || c == '\0');
    (sound && !value.contains('\0')).then(|| (name.to_owned(), value.to_owned()))
}

pub(super) fn dollars(value: &str) -> Option<f64> {
    fraction(value.trim_start_matches('$'))
}

pub(super) fn disk(value: &str) -> Option<ByteSize> {
    memory(value).filter(|size| *size >= ByteSize::gib(8))
}

/// How long machines stay if something failed: `true` stands for as long as the bare option.
pub(super) fn stay(value: &str) -> Option<Option<Duration>> {
    match truth(value) {
        Some(false) => Some(None),
        Some(true) => OptionInfo::find("keep-on-failure")?.bare.as_deref().and_then(lease).map(Some),
        None => lease(value).map(Some),
    }
}

pub(super) fn lease(value: &str) -> Option<Duration> {
    humantime::parse_duration(value).ok().filter(|lease| *lease >= Duration::from_secs(5))
}

/// A number of seconds, or a duration with its unit.
pub(super) fn patience(value: &str) -> Option<Duration> {
    let duration = match fraction(value) {
        Some(seconds) => Duration::try_from_secs_f64(seconds).ok()?,
        None => humantime::parse_duration(value).ok()?,
    };
    (!duration.is_zero() && duration < Duration::from_secs(1 << 30)).then_some(duration)
}
