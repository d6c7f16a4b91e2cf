//! What a run has shown its user, as events: the beginning as it comes, the end once it is there, and nothing of what lies
//! between them if that is too much.
//!
//! Pieces are cut anew so that each is whole text where it can be. Knows neither pytest nor a terminal.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use crate::model::event::{Event, Piece, Printed, What};

/// Of the beginning, and of the end, so many bytes are kept.
const ROOM: usize = 8 << 20;

/// Longest part of a character that may lie in the next piece.
const PART: usize = 3;

#[derive(Debug)]
pub struct Transcript {
    room: usize,
    kept: usize,
    /// What may turn out to be the end.
    end: VecDeque<(f64, u8, Bytes)>,
    end_size: usize,
    unkept: u64,
    /// Parts of characters, of stdout and of stderr.
    parts: [BytesMut; 2],
}

impl Default for Transcript {
    fn default() -> Self {
        Self::with_room(ROOM)
    }
}

impl Transcript {
    fn with_room(room: usize) -> Self {
        let parts = [BytesMut::new(), BytesMut::new()];
        Self { room, kept: 0, end: VecDeque::new(), end_size: 0, unkept: 0, parts }
    }

    /// What is to be written down at once.
    pub fn hear(&mut self, at: f64, stream: u8, data: &Bytes) -> Option<Event> {
        if self.kept + data.len() <= self.room && self.end.is_empty() {
            self.kept += data.len();
            return self.event(at, stream, data);
        }
        self.end_size += data.len();
        self.end.push_back((at, stream, data.clone()));
        while self.end_size > self.room && self.end.len() > 1 {
            let dropped = self.end.pop_front().map_or(0, |(_, _, data)| data.len());
            self.end_size -= dropped;
            self.unkept += dropped as u64;
        }
        None
    }

    /// The rest: nothing more is shown.
    pub fn finish(mut self) -> Vec<Event> {
        let mut events = Vec::new();
        let end = std::mem::take(&mut self.end);
        let mut last = 0.0;
        if self.unkept > 0 {
            last = end.front().map_or(last, |(at, ..)| *at);
            events.extend(self.torn_off(last));
            events.push(Event { at: last, what: What::Unkept { bytes: self.unkept } });
        }
        for (at, stream, data) in end {
            last = at;
            events.extend(self.event(at, stream, &data));
        }
        events.extend(self.torn_off(last));
        events
    }

    fn event(&mut self, at: f64, stream: u8, data: &[u8]) -> Option<Event> {
        let part = &mut self.parts[usize::from(stream == 2)];
        part.extend_from_slice(data);
        let whole = part.split_to(whole(part));
        printed(at, stream, &whole)
    }

    /// Characters of which nothing more comes.
    fn torn_off(&mut self, at: f64) -> Vec<Event> {
        let parts = self.parts.each_mut().map(BytesMut::split);
        [1, 2].into_iter().zip(parts).filter_map(|(stream, part)| printed(at, stream, &part)).collect()
    }
}

fn printed(at: f64, stream: u8, bytes: &[u8]) -> Option<Event> {
    let piece = (!bytes.is_empty()).then(|| Piece::of(bytes))?;
    Some(Event { at, what: What::Printed(Printed { stream, piece }) })
}

/// How much of it ends with a whole character.
fn whole(bytes: &[u8]) -> usize {
    match str::from_utf8(&bytes[bytes.len().saturating_sub(PART + 1)..]) {
        Ok(_) => bytes.len(),
        // A cut into the beginning of what is looked at is none at its end.
        Err(_) => match str::from_utf8(bytes) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ => bytes.len(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(events: impl IntoIterator<Item = Event>) -> Vec<(u8, Vec<u8>)> {
        let mut found = Vec::new();
        for event in events {
            match event.what {
                What::Printed(printed) => found.push((printed.stream, printed.piece.into_bytes())),
                What::Unkept { bytes } => found.push((0, bytes.to_string().into_bytes())),
                _ => panic!("neither"),
            }
        }
        found
    }

    fn told(room: usize, told: &[(u8, &[u8])]) -> Vec<(u8, Vec<u8>)> {
        let mut transcript = Transcript::with_room(room);
        let mut events = Vec::new();
        for (stream, data) in told {
            events.extend(transcript.hear(1.0, *stream, &Bytes::copy_from_slice(data)));
        }
        events.extend(transcript.finish());
        pieces(events)
    }

    #[test]
    fn all_of_it_comes_back_in_order() {
        let said: &[(u8, &[u8])] = &[(1, b"one"), (2, b"two"), (1, b"\xff\x00"), (1, b"three\n")];
        let expected: Vec<(u8, Vec<u8>)> = said.iter().map(|(stream, data)| (*stream, data.to_vec())).collect();
        assert_eq!(told(100, said), expected);
    }

    #[test]
    fn a_character_in_two_pieces_is_whole_in_one() {
        let euro = "€".as_bytes();
        assert_eq!(told(100, &[(1, &euro[..1]), (2, b"x"), (1, &euro[1..])]), [(2, b"x".to_vec()), (1, euro.to_vec())]);
        assert_eq!(told(100, &[(1, b"a\xe2\x82")]), [(1, b"a".to_vec()), (1, b"\xe2\x82".to_vec())]);
        // What can't become text doesn't wait.
        assert_eq!(told(100, &[(1, b"\xff\xe2")]), [(1, b"\xff\xe2".to_vec())]);
    }

    #[test]
    fn of_too_much_the_beginning_and_the_end_are_kept() {
        let said: &[(u8, &[u8])] = &[(1, b"ab"), (1, b"cd"), (2, b"ef"), (1, b"gh"), (1, b"ij")];
        let expected: &[(u8, &[u8])] = &[(1, b"ab"), (1, b"cd"), (0, b"2"), (1, b"gh"), (1, b"ij")];
        let expected: Vec<(u8, Vec<u8>)> = expected.iter().map(|(stream, data)| (*stream, data.to_vec())).collect();
        assert_eq!(told(4, said), expected);
        let exactly: Vec<(u8, Vec<u8>)> = said[..4].iter().map(|(stream, data)| (*stream, data.to_vec())).collect();
        assert_eq!(told(4, &said[..4]), exactly);
    }

    #[test]
    fn the_last_word_is_kept_however_long_it_is() {
        assert_eq!(
            told(2, &[(1, b"a"), (1, b"bcd"), (1, b"longer")]),
            [(1, b"a".to_vec()), (0, b"3".to_vec()), (1, b"longer".to_vec())]
        );
    }
}
