//! A text described by what it shares with another one that the machine has.
//!
//! Pure. For manifests the shared ranges are found record by record.

/// A step in making the new text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Splice {
    /// A piece of the old text.
    Copy { start: u64, length: u64 },
    /// So many of the bytes that go along.
    Insert(u64),
}

/// The steps, and the bytes that go along.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    pub steps: Vec<Splice>,
    pub bytes: Vec<u8>,
}

impl Difference {
    pub fn copy(&mut self, start: u64, length: u64) {
        match self.steps.last_mut() {
            Some(Splice::Copy { start: before, length: long }) if *before + *long == start => *long += length,
            _ => self.steps.push(Splice::Copy { start, length }),
        }
    }

    pub fn insert(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.count(bytes.len() as u64);
    }

    /// An insertion whose bytes are kept elsewhere.
    pub fn count(&mut self, length: u64) {
        match self.steps.last_mut() {
            Some(Splice::Insert(long)) => *long += length,
            _ => self.steps.push(Splice::Insert(length)),
        }
    }

    /// What turns one manifest into another.
    pub fn of_manifests(old: &[u8], new: &[u8]) -> Self {
        let mut difference = Self::default();
        let mut old = Records { text: old, at: 0 }.peekable();
        for record in (Records { text: new, at: 0 }) {
            while old.next_if(|before| before.path < record.path).is_some() {}
            match old.next_if(|before| before.bytes == record.bytes) {
                Some(same) => difference.copy(same.start as u64, same.bytes.len() as u64),
                None => difference.insert(record.bytes),
            }
        }
        difference
    }
}

/// A record of a manifest with the NUL that ends it. The header line is part of the first.
struct Record<'a> {
    start: usize,
    bytes: &'a [u8],
    path: &'a [u8],
}

struct Records<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        let rest = &self.text[self.at..];
        if rest.is_empty() {
            return None;
        }
        let end_of = |from: usize| {
            let end = rest[from..].iter().position(|byte| *byte == 0);
            end.map_or(rest.len(), |end| from + end + 1)
        };
        let line = if self.at == 0 { rest.iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1) } else { 0 };
        let first = end_of(line);
        let body = &rest[line..first];
        let (end, path) = match body.first() {
            Some(b'l') => (end_of(first), body.get(2..)),
            Some(b'd') => (first, body.get(2..)),
            _ => (first, body.splitn(4, |byte| *byte == b' ').nth(3)),
        };
        let record = Record { start: self.at, bytes: &rest[..end], path: path.unwrap_or_default() };
        self.at += end;
        Some(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{Digest, Manifest, Mode, Node};

    fn manifest(entries: &[(&str, &str)]) -> Vec<u8> {
        let node = |content: &str| match content.split_once(' ') {
            Some(("link", target)) => Node::Symlink { target: target.into() },
            _ if content.is_empty() => Node::EmptyDirectory,
            _ => Node::File { digest: Digest::of(content.as_bytes()), size: content.len() as u64, mode: Mode::Plain },
        };
        let entries = entries.iter().map(|(path, content)| (path.as_bytes().to_vec(), node(content)));
        Manifest::new(entries).unwrap().encode()
    }

    fn spliced(old: &[u8], difference: &Difference) -> Vec<u8> {
        let mut at = 0;
        let mut new = Vec::new();
        for step in &difference.steps {
            match *step {
                Splice::Copy { start, length } => new.extend(&old[start as usize..(start + length) as usize]),
                Splice::Insert(length) => {
                    new.extend(&difference.bytes[at..at + length as usize]);
                    at += length as usize;
                }
            }
        }
        new
    }

    #[test]
    fn every_manifest_is_made_of_every_other() {
        let manifests = [
            manifest(&[]),
            manifest(&[("a", "1"), ("b/c", "link to it"), ("d", ""), ("e f", "4")]),
            manifest(&[("a", "2"), ("b/c", "link to that"), ("d", ""), ("e f", "4")]),
            manifest(&[("b/c", "link to it"), ("d/e", "5"), ("z", "9")]),
            manifest(&[("0", "1"), ("a", "1"), ("b", "3"), ("zz", "")]),
        ];
        for old in &manifests {
            for new in &manifests {
                let difference = Difference::of_manifests(old, new);
                assert_eq!(&spliced(old, &difference), new);
            }
        }
    }

    #[test]
    fn an_edit_costs_one_record() {
        let many: Vec<_> = (1000..2000).map(|number| (number.to_string(), "x")).collect();
        let mut entries: Vec<_> = many.iter().map(|(path, content)| (path.as_str(), *content)).collect();
        let old = manifest(&entries);
        entries[500].1 = "edited";
        let difference = Difference::of_manifests(&old, &manifest(&entries));
        assert_eq!(difference.steps.len(), 3);
        assert_eq!(difference.bytes, format!("f 6 {} 1500\0", Digest::of(b"edited")).into_bytes());
        assert_eq!(Difference::of_manifests(&old, &old).steps, [Splice::Copy { start: 0, length: old.len() as u64 }]);
    }
}
