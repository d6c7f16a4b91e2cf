//! Which algorithms we propose, and in which order.
//!
//! AES-GCM first, since bulk transfers are three times as fast with it; no compression; nothing that is broken.

use std::borrow::Cow;

use russh::keys::{Algorithm, HashAlg};
use russh::{Preferred, cipher, compression};

const CIPHERS: &[cipher::Name] = &[
    cipher::AES_128_GCM,
    cipher::AES_256_GCM,
    cipher::CHACHA20_POLY1305,
    cipher::AES_256_CTR,
    cipher::AES_192_CTR,
    cipher::AES_128_CTR,
];

/// What both halves propose.
pub fn preferred_algorithms() -> Preferred {
    Preferred { cipher: Cow::Borrowed(CIPHERS), compression: Cow::Borrowed(&[compression::NONE]), ..Preferred::DEFAULT }
}

/// The same, asking first for the kinds of host key that we can verify: a server with several keys would otherwise
/// present one that is merely unknown to us.
pub fn preferred_for_host_keys(known: &[Algorithm]) -> Preferred {
    let is_known = |algorithm: &Algorithm| {
        known.iter().any(|known| match (known, algorithm) {
            (Algorithm::Rsa { .. }, Algorithm::Rsa { .. }) => true,
            (known, algorithm) => known == algorithm,
        })
    };
    let (mut first, rest): (Vec<Algorithm>, Vec<Algorithm>) = Preferred::DEFAULT
        .key
        .iter()
        .filter(|algorithm| **algorithm != Algorithm::Rsa { hash: None })
        .cloned()
        .partition(is_known);
    first.extend(rest);
    Preferred { key: Cow::Owned(first), ..preferred_algorithms() }
}

/// The hashes with which an RSA key may sign; SHA-1 is not among them.
pub(super) fn rsa_hash(supported: Option<Option<HashAlg>>) -> HashAlg {
    match supported {
        Some(Some(hash)) => hash,
        Some(None) | None => HashAlg::Sha512,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_kinds_come_first_and_the_rest_stays() {
        let keys = preferred_for_host_keys(&[Algorithm::Rsa { hash: None }]).key;
        assert_eq!(keys[0], Algorithm::Rsa { hash: Some(HashAlg::Sha512) });
        assert_eq!(keys[1], Algorithm::Rsa { hash: Some(HashAlg::Sha256) });
        assert_eq!(keys[2], Algorithm::Ed25519);
        assert!(!keys.contains(&Algorithm::Rsa { hash: None }));
    }
}
