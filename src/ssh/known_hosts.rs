//! Reads OpenSSH's known_hosts files: hashed names, wildcards, negation, `[host]:port`, `@revoked`.
//!
//! Pure: text in, verdict out. Lines that cannot be parsed list nothing. `@cert-authority` is noticed, not trusted.

use std::path::Path;

use hmac::{Hmac, KeyInit, Mac};
use russh::keys::ssh_key::known_hosts::HostPatterns;
use russh::keys::{Algorithm, PublicKey};
use sha1::Sha1;

use super::error::Place;

/// The lines of some known_hosts files.
#[derive(Debug, Default)]
pub struct KnownHosts {
    lines: Vec<Line>,
}

#[derive(Debug)]
struct Line {
    marker: Marker,
    hosts: HostPatterns,
    key: PublicKey,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Marker {
    Key,
    Revoked,
    CertAuthority,
}

/// What the files say about a key that a host presented.
#[derive(Debug, PartialEq)]
pub enum Verdict {
    Known,
    /// The host is listed, with these keys instead.
    Mismatch(Vec<(PublicKey, Place)>),
    /// The host is not listed; an authority for it may be.
    Unknown {
        authority: Option<Place>,
    },
    Revoked(Place),
}

impl KnownHosts {
    /// Adds the lines of one file.
    pub fn add_file(&mut self, file: &Path, text: &str) {
        for (index, line) in text.lines().enumerate() {
            let place = Place { file: file.into(), line: index + 1 };
            self.lines.extend(Line::parse(line, place));
        }
    }

    /// How a host is written where its port is not the usual one.
    pub fn name_with_port(name: &str, port: Option<u16>) -> String {
        match port {
            None | Some(22) => name.into(),
            Some(port) => format!("[{name}]:{port}"),
        }
    }

    /// The kinds of key that are listed for a host.
    pub fn algorithms(&self, name: &str, port: Option<u16>) -> Vec<Algorithm> {
        let exact = KnownHosts::name_with_port(name, port);
        let mut algorithms: Vec<Algorithm> = Vec::new();
        for line in self.lines_for(&exact).chain(self.lines_for(name)) {
            if line.marker == Marker::Key && !algorithms.contains(&line.key.algorithm()) {
                algorithms.push(line.key.algorithm());
            }
        }
        algorithms
    }

    pub fn check(&self, name: &str, port: Option<u16>, key: &PublicKey) -> Verdict {
        let exact = KnownHosts::name_with_port(name, port);
        let verdict = self.check_name(&exact, key);
        if exact == name || !matches!(verdict, Verdict::Unknown { .. }) {
            return verdict;
        }
        // A host that is known by its plain name may run a second server with the same key.
        match self.check_name(name, key) {
            plain @ (Verdict::Known | Verdict::Revoked(_)) => plain,
            Verdict::Mismatch(_) | Verdict::Unknown { .. } => verdict,
        }
    }

    fn check_name(&self, name: &str, key: &PublicKey) -> Verdict {
        let mut listed = Vec::new();
        let mut authority = None;
        let mut known = false;
        for line in self.lines_for(name) {
            let same = line.key.key_data() == key.key_data();
            match line.marker {
                Marker::Revoked if same => return Verdict::Revoked(line.place.clone()),
                Marker::Revoked => {}
                Marker::CertAuthority => authority = Some(line.place.clone()),
                Marker::Key if same => known = true,
                Marker::Key => listed.push((line.key.clone(), line.place.clone())),
            }
        }
        match (known, listed.is_empty()) {
            (true, _) => Verdict::Known,
            (false, true) => Verdict::Unknown { authority },
            (false, false) => Verdict::Mismatch(listed),
        }
    }

    fn lines_for<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a Line> {
        let name = name.to_ascii_lowercase();
        self.lines.iter().filter(move |line| lists(&line.hosts, &name))
    }
}

impl Line {
    fn parse(text: &str, place: Place) -> Option<Self> {
        let mut fields = text.split_ascii_whitespace().peekable();
        let marker = match *fields.peek()? {
            comment if comment.starts_with('#') => return None,
            "@revoked" => Marker::Revoked,
            "@cert-authority" => Marker::CertAuthority,
            unknown if unknown.starts_with('@') => return None,
            _ => Marker::Key,
        };
        if marker != Marker::Key {
            fields.next();
        }
        let hosts = fields.next()?.parse().ok()?;
        let key = PublicKey::from_openssh(&format!("{} {}", fields.next()?, fields.next()?)).ok()?;
        Some(Self { marker, hosts, key, place })
    }
}

fn lists(hosts: &HostPatterns, name: &str) -> bool {
    match hosts {
        HostPatterns::HashedName { salt, hash } => {
            Hmac::<Sha1>::new_from_slice(salt).is_ok_and(|hmac| hmac.chain_update(name).verify_slice(hash).is_ok())
        }
        HostPatterns::Patterns(patterns) => {
            let mut listed = false;
            for pattern in patterns {
                match pattern.strip_prefix('!') {
                    Some(excluded) if matches(&excluded.to_ascii_lowercase(), name) => return false,
                    Some(_) => {}
                    None => listed |= matches(&pattern.to_ascii_lowercase(), name),
                }
            }
            listed
        }
    }
}

/// `*` stands for any characters, `?` for one; brackets are literal.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut p, mut n) = (0, 0);
    let mut star = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(&c) if c == b'?' || c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    p = at + 1;
                    n = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ssh::generate_key;

    fn key() -> PublicKey {
        generate_key("").expect("a key").public_key().clone()
    }

    fn line(prefix: &str, key: &PublicKey) -> String {
        format!("{prefix} {}\n", key.to_openssh().expect("a public key"))
    }

    fn known(text: &str) -> KnownHosts {
        let mut known = KnownHosts::default();
        known.add_file(Path::new("known_hosts"), text);
        known
    }

    fn at(line: usize) -> Place {
        Place { file: "known_hosts".into(), line }
    }

    #[test]
    fn names_wildcards_and_negation() {
        let good = key();
        for (patterns, name, port, expected) in [
            ("h1", "h1", 22, true),
            ("h1", "H1", 22, true),
            ("h1,h2", "h2", 22, true),
            ("h1", "h11", 22, false),
            ("*.example.org", "a.example.org", 22, true),
            ("*.example.org", "example.org", 22, false),
            ("10.0.?.*", "10.0.7.123", 22, true),
            ("*.example.org,!bad.example.org", "bad.example.org", 22, false),
            ("!bad.example.org,*.example.org", "good.example.org", 22, true),
            ("[h1]:2222", "h1", 2222, true),
            ("[h1]:2222", "h1", 2223, false),
            ("[h1]:2222", "h1", 22, false),
            ("[*.example.org]:2222", "a.example.org", 2222, true),
            ("h1", "h1", 2222, true),
            ("::1", "::1", 22, true),
            ("[::1]:2222", "::1", 2222, true),
        ] {
            let verdict = known(&line(patterns, &good)).check(name, Some(port), &good);
            assert_eq!(verdict == Verdict::Known, expected, "{patterns} {name} {port}");
        }
    }

    #[test]
    fn hashed_names() {
        let (good, other) = (key(), key());
        // 192.168.1.61
        let text = line("|1|F1E1KeoE/eEWhi10WpGv4OdiO6Y=|3988QV0VE8wmZL7suNrYQLITLCg=", &good);
        let known = known(&text);
        assert_eq!(known.check("192.168.1.61", Some(22), &good), Verdict::Known);
        assert!(matches!(known.check("192.168.1.61", Some(22), &other), Verdict::Mismatch(_)));
        assert!(matches!(known.check("192.168.1.62", Some(22), &good), Verdict::Unknown { .. }));
    }

    #[test]
    fn another_key_is_a_mismatch_and_says_where() {
        let (good, other) = (key(), key());
        let known = known(&format!("# comment\n\n{}", line("h1", &good)));
        assert_eq!(known.check("h1", Some(22), &other), Verdict::Mismatch(vec![(good, at(3))]));
    }

    #[test]
    fn several_keys_may_be_listed() {
        let (first, second) = (key(), key());
        let known = known(&(line("h1", &first) + &line("h1", &second)));
        assert_eq!(known.check("h1", Some(22), &first), Verdict::Known);
        assert_eq!(known.check("h1", Some(22), &second), Verdict::Known);
    }

    #[test]
    fn revocation_wins_over_any_listing() {
        let bad = key();
        let known = known(&(line("h1", &bad) + &line("@revoked *", &bad)));
        assert_eq!(known.check("h1", Some(22), &bad), Verdict::Revoked(at(2)));
        assert_eq!(known.check("h1", Some(2222), &bad), Verdict::Revoked(at(2)));
    }

    #[test]
    fn an_authority_is_not_a_key() {
        let authority = key();
        let known = known(&line("@cert-authority *.example.org", &authority));
        assert_eq!(known.check("a.example.org", Some(22), &authority), Verdict::Unknown { authority: Some(at(1)) });
        assert!(known.algorithms("a.example.org", Some(22)).is_empty());
    }

    #[test]
    fn broken_lines_list_nothing() {
        let good = key();
        let known = known(&format!("h1\nh1 ssh-ed25519 AAAA\n@odd h1 x y\n|1|x|y z w\n{}", line("h2\t", &good)));
        assert!(matches!(known.check("h1", Some(22), &good), Verdict::Unknown { .. }));
        assert_eq!(known.check("h2", Some(22), &good), Verdict::Known);
    }

    #[test]
    fn an_alias_is_looked_up_without_a_port() {
        let good = key();
        let known = known(&line("lab", &good));
        assert_eq!(known.check("lab", None, &good), Verdict::Known);
        assert_eq!(known.algorithms("lab", None), vec![Algorithm::Ed25519]);
    }
}
