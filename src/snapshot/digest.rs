//! The name of a content: its SHA-256, or what follows from the SHA-256s of its pieces if it is large.
//!
//! Pure. Never reads a file; hashing what lies on disk is the work of `hashing`. `templates/remote/digests.py` is the
//! same for machines.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256, Sha512};

/// A content that is larger than this is hashed in pieces of this size, so that several threads can do it.
pub const PIECE: usize = 1 << 20;

/// The name of a file's content, or the SHA-256 of a manifest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

/// Text that should have been 64 lower-case hexadecimal digits.
#[derive(Debug, thiserror::Error)]
#[error("not a SHA-256 in lower-case hexadecimal: {0:?}")]
pub struct MalformedDigest(String);

impl Digest {
    /// The digest of bytes that are already in memory.
    pub fn of(content: &[u8]) -> Self {
        Self(Sha256::digest(content).into())
    }

    /// The name of a content that is already in memory.
    pub fn of_content(content: &[u8]) -> Self {
        Self::of_pieces(&content.chunks(PIECE).map(Self::of).collect::<Vec<_>>())
    }

    /// The name of a content whose pieces have these SHA-256s. What joins them is another function than what made them: no
    /// small content can have the name of a large one.
    pub fn of_pieces(pieces: &[Self]) -> Self {
        match pieces {
            [] => Self::of(b""),
            [only] => *only,
            several => {
                let mut hasher = Sha512::new();
                several.iter().for_each(|piece| hasher.update(piece.0));
                let whole: [u8; 64] = hasher.finalize().into();
                Self(*whole.first_chunk().expect("32 of 64 bytes"))
            }
        }
    }

    /// The 64 digits as ASCII, without an allocation.
    pub fn hex(&self) -> [u8; 64] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 64];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        text
    }

    /// Reads 64 lower-case digits; anything else is none.
    pub fn from_hex(text: &[u8]) -> Option<Self> {
        fn nibble(digit: u8) -> Option<u8> {
            match digit {
                b'0'..=b'9' => Some(digit - b'0'),
                b'a'..=b'f' => Some(digit - b'a' + 10),
                _ => None,
            }
        }
        let text: &[u8; 64] = text.try_into().ok()?;
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            *byte = (nibble(pair[0])? << 4) | nibble(pair[1])?;
        }
        Some(Self(bytes))
    }
}

/// Arrives at the name of a content that comes in portions.
#[derive(Clone, Default)]
pub struct ContentHasher {
    pieces: Vec<Digest>,
    begun: Sha256,
    length: usize,
}

impl ContentHasher {
    pub fn update(&mut self, mut content: &[u8]) {
        while !content.is_empty() {
            let now = content.split_off(..content.len().min(PIECE - self.length)).expect("no more than there is");
            self.begun.update(now);
            self.length += now.len();
            if self.length == PIECE {
                self.end_piece();
            }
        }
    }

    fn end_piece(&mut self) {
        self.pieces.push(Digest(self.begun.finalize_reset().into()));
        self.length = 0;
    }

    pub fn finish(mut self) -> Digest {
        if self.length > 0 {
            self.end_piece();
        }
        Digest::of_pieces(&self.pieces)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(&self.hex()).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl FromStr for Digest {
    type Err = MalformedDigest;

    fn from_str(text: &str) -> Result<Self, MalformedDigest> {
        Self::from_hex(text.as_bytes()).ok_or_else(|| MalformedDigest(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_there_and_back() {
        let digest = Digest::of(b"abc");
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest.to_string(), text);
        assert_eq!(digest.hex(), text.as_bytes());
        assert_eq!(text.parse::<Digest>().unwrap(), digest);
    }

    /// The same values are in tests/store: both sides have to agree.
    #[test]
    fn large_contents_are_named_by_their_pieces() {
        let content: Vec<u8> = (0..3 * PIECE + 5).map(|place| (place % 251) as u8).collect();
        for (length, name) in [
            (0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            (PIECE, "631b84027d6b9e52b539c4e8373622d23032dfadc64d60af87339c9037e4f769"),
            (PIECE + 1, "f7ad6f1cdb8de798db084d02105bb904e0d736aeb8f1bbe4a042fa6bc15a1ddf"),
            (3 * PIECE + 5, "d91992fc2f17f2150a00e3401b6632b2b5950d4fef0b801557b5b5e001f09d78"),
        ] {
            assert_eq!(Digest::of_content(&content[..length]).to_string(), name);
            for portion in [1000, PIECE, PIECE + 1, 4 * PIECE] {
                let mut hasher = ContentHasher::default();
                content[..length].chunks(portion).for_each(|portion| hasher.update(portion));
                assert_eq!(hasher.finish().to_string(), name);
            }
        }
    }

    #[test]
    fn other_text_is_refused() {
        let valid = Digest::of(b"").to_string();
        for text in ["", "abc", &valid.to_uppercase(), &valid[1..], &format!("{valid}0")] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }
}
