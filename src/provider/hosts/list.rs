//! The list of hosts as the user writes it: `user@h1:22,h2,[::1]:2222`.
//!
//! Pure: text in, entries out. A host that is named twice is one host with twice the weight.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use super::HostsError;

/// The hosts to use, each once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostList(Vec<HostEntry>);

/// One host, before its configuration was looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostEntry {
    pub user: Option<String>,
    pub host: String,
    pub port: Option<u16>,
    /// How often it is named.
    pub weight: u32,
}

impl HostList {
    pub fn hosts(&self) -> &[HostEntry] {
        &self.0
    }
}

impl FromStr for HostList {
    type Err = HostsError;

    fn from_str(text: &str) -> Result<Self, HostsError> {
        let mut hosts: Vec<HostEntry> = Vec::new();
        if text.trim().is_empty() {
            return Err(HostsError::Empty);
        }
        for (index, entry) in text.split(',').enumerate() {
            let parsed = parse(entry.trim()).map_err(|problem| HostsError::Entry {
                position: index + 1,
                entry: entry.trim().into(),
                problem,
            })?;
            match hosts.iter_mut().find(|known| known.same_place(&parsed)) {
                Some(known) => known.weight += 1,
                None => hosts.push(parsed),
            }
        }
        Ok(Self(hosts))
    }
}

impl HostEntry {
    /// How messages call the host.
    pub fn name(&self) -> String {
        self.to_string()
    }

    fn same_place(&self, other: &Self) -> bool {
        (&self.user, &self.host, self.port) == (&other.user, &other.host, other.port)
    }
}

impl fmt::Display for HostEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        match (self.port, self.host.contains(':')) {
            (None, _) => f.write_str(&self.host),
            (Some(port), false) => write!(f, "{}:{port}", self.host),
            (Some(port), true) => write!(f, "[{}]:{port}", self.host),
        }
    }
}

fn parse(entry: &str) -> Result<HostEntry, &'static str> {
    let entry = entry.strip_prefix("ssh://").unwrap_or(entry);
    let (user, place) = match entry.rsplit_once('@') {
        Some(("", _)) => return Err("the user before the @ is missing"),
        Some((user, place)) => (Some(user), place),
        None => (None, entry),
    };
    let (host, port) = match place.strip_prefix('[') {
        Some(bracketed) => match bracketed.split_once(']') {
            Some((host, "")) => (host, None),
            Some((host, rest)) => (host, Some(rest.strip_prefix(':').ok_or("a port must follow the ] after a colon")?)),
            None => return Err("the ] is missing"),
        },
        None if place.parse::<Ipv6Addr>().is_ok() => (place, None),
        None => match place.split_once(':') {
            Some((_, port)) if port.contains(':') => return Err("an IPv6 address with a port needs brackets"),
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        },
    };
    if host.is_empty() {
        return Err("the host is missing");
    }
    let odd = |text: &str| text.starts_with('-') || text.contains(|c: char| c.is_whitespace() || c.is_control());
    if odd(host) || user.is_some_and(odd) {
        return Err("this is not a name");
    }
    let port = match port.map(str::parse::<u16>) {
        None => None,
        Some(Ok(port @ 1..)) => Some(port),
        Some(_) => return Err("the port is not a number from 1 to 65535"),
    };
    Ok(HostEntry { user: user.map(Into::into), host: host.into(), port, weight: 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(user: Option<&str>, host: &str, port: Option<u16>, weight: u32) -> HostEntry {
        HostEntry { user: user.map(Into::into), host: host.into(), port, weight }
    }

    #[test]
    fn every_form_of_host() {
        let list: HostList =
            "user@h1:22, h2,[::1]:2222,fe80::1,[fe80::2],ssh://a@b:1,u@dom@h3".parse().expect("a list");
        assert_eq!(
            list.hosts(),
            [
                entry(Some("user"), "h1", Some(22), 1),
                entry(None, "h2", None, 1),
                entry(None, "::1", Some(2222), 1),
                entry(None, "fe80::1", None, 1),
                entry(None, "fe80::2", None, 1),
                entry(Some("a"), "b", Some(1), 1),
                entry(Some("u@dom"), "h3", None, 1),
            ]
        );
        let names: Vec<String> = list.hosts().iter().map(HostEntry::name).collect();
        assert_eq!(names, ["user@h1:22", "h2", "[::1]:2222", "fe80::1", "fe80::2", "a@b:1", "u@dom@h3"]);
    }

    #[test]
    fn a_repeated_host_weighs_more() {
        let list: HostList = "h1,h2,h1".parse().expect("a list");
        assert_eq!(list.hosts(), [entry(None, "h1", None, 2), entry(None, "h2", None, 1)]);
    }

    #[test]
    fn errors_name_the_entry() {
        for (text, message) in [
            ("", "no host is named"),
            ("h1,,h2", r#"host 2 of the list, "": the host is missing"#),
            ("h1:x", r#"host 1 of the list, "h1:x": the port is not a number from 1 to 65535"#),
            ("h1:0", r#"host 1 of the list, "h1:0": the port is not a number from 1 to 65535"#),
            ("h1:99999", r#"host 1 of the list, "h1:99999": the port is not a number from 1 to 65535"#),
            ("a, @h1", r#"host 2 of the list, "@h1": the user before the @ is missing"#),
            ("[::1", r#"host 1 of the list, "[::1": the ] is missing"#),
            ("[::1]22", r#"host 1 of the list, "[::1]22": a port must follow the ] after a colon"#),
            ("::1:2:x", r#"host 1 of the list, "::1:2:x": an IPv6 address with a port needs brackets"#),
            ("-oProxyCommand=x", r#"host 1 of the list, "-oProxyCommand=x": this is not a name"#),
            ("a b", r#"host 1 of the list, "a b": this is not a name"#),
        ] {
            let error = text.parse::<HostList>().expect_err(text);
            assert_eq!(error.to_string(), message);
        }
    }
}
