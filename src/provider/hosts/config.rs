//! What `ssh -G` prints for a host, as values.
//!
//! Pure: text and the few facts that its tokens need in, values out. It opens no file and runs no program.

use std::path::PathBuf;
use std::time::Duration;

/// The settings of one host that matter here. Paths are expanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostConfig {
    pub host: String,
    pub user: String,
    pub port: u16,
    pub identity_files: Vec<PathBuf>,
    pub identities_only: bool,
    pub agent: Option<PathBuf>,
    pub known_hosts: Vec<PathBuf>,
    pub host_key_alias: Option<String>,
    pub proxy: Proxy,
    pub connect_timeout: Option<Duration>,
}

/// How to reach a host that cannot be reached directly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proxy {
    Direct,
    /// With its tokens expanded.
    Command(String),
    /// Hops in the order in which they are passed.
    Jump(Vec<String>),
}

/// Facts about this side.
#[derive(Clone, Debug)]
pub struct Here {
    pub home: PathBuf,
    pub user: String,
    pub auth_sock: Option<PathBuf>,
    /// Looks an environment variable up, for `${NAME}`.
    pub variable: fn(&str) -> Option<String>,
}

impl HostConfig {
    /// What holds where nobody configured anything.
    pub fn defaults(host: &str, here: &Here) -> Self {
        let dot_ssh = here.home.join(".ssh");
        Self {
            host: host.into(),
            user: here.user.clone(),
            port: 22,
            identity_files: ["id_rsa", "id_ecdsa", "id_ed25519"].iter().map(|name| dot_ssh.join(name)).collect(),
            identities_only: false,
            agent: here.auth_sock.clone(),
            known_hosts: vec![
                dot_ssh.join("known_hosts"),
                dot_ssh.join("known_hosts2"),
                "/etc/ssh/ssh_known_hosts".into(),
                "/etc/ssh/ssh_known_hosts2".into(),
            ],
            host_key_alias: None,
            proxy: Proxy::Direct,
            connect_timeout: None,
        }
    }

    /// Reads the output of `ssh -G` for `original`, the name as the user gave it.
    pub fn parse(text: &str, original: &str, here: &Here) -> Self {
        let settings: Vec<(&str, &str)> = text
            .lines()
            .filter_map(|line| line.trim().split_once(' '))
            .map(|(name, value)| (name, value.trim()))
            .collect();
        let all = |name: &'static str| settings.iter().filter(move |(key, _)| *key == name).map(|(_, value)| *value);
        let one = |name: &'static str| all(name).next().filter(|value| !value.eq_ignore_ascii_case("none"));

        let mut config = HostConfig::defaults(original, here);
        config.host = one("hostname").unwrap_or(original).into();
        config.user = one("user").map_or(config.user, Into::into);
        config.port = one("port").and_then(|port| port.parse().ok()).unwrap_or(config.port);
        config.host_key_alias = one("hostkeyalias").map(Into::into);
        let tokens = Tokens { here, original, host: &config.host, port: config.port, user: &config.user };
        let files = |name| -> Vec<PathBuf> {
            all(name)
                .flat_map(words)
                .filter(|word| !word.eq_ignore_ascii_case("none"))
                .map(|word| tokens.path(&word))
                .collect()
        };
        // One file a line, which may hold spaces.
        config.identity_files = all("identityfile")
            .filter(|file| *file != "none")
            .map(|file| tokens.path(file.trim_matches('"')))
            .collect();
        config.identities_only = one("identitiesonly").is_some_and(|value| value == "yes");
        config.agent = match all("identityagent").next() {
            None | Some("SSH_AUTH_SOCK") => here.auth_sock.clone(),
            Some("none") => None,
            Some(path) => match path.strip_prefix('$').filter(|name| !name.starts_with('{')) {
                Some(name) => (here.variable)(name).map(PathBuf::from),
                None => Some(tokens.path(path.trim_matches('"'))),
            },
        };
        config.known_hosts = files("userknownhostsfile");
        config.known_hosts.extend(files("globalknownhostsfile"));
        config.proxy = match (one("proxyjump"), one("proxycommand")) {
            (Some(hops), _) => Proxy::Jump(hops.split(',').map(|hop| hop.trim().into()).collect()),
            (None, Some(command)) => Proxy::Command(tokens.expand(command)),
            (None, None) => Proxy::Direct,
        };
        config.connect_timeout =
            one("connecttimeout").and_then(|seconds| seconds.parse().ok()).filter(|s| *s > 0).map(Duration::from_secs);
        config
    }
}

struct Tokens<'a> {
    here: &'a Here,
    original: &'a str,
    host: &'a str,
    port: u16,
    user: &'a str,
}

impl Tokens<'_> {
    fn path(&self, text: &str) -> PathBuf {
        let text = self.expand(&self.variables(text));
        match text.strip_prefix("~/") {
            Some(rest) => self.here.home.join(rest),
            None => text.into(),
        }
    }

    fn expand(&self, text: &str) -> String {
        let mut expanded = String::new();
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            if character != '%' {
                expanded.push(character);
                continue;
            }
            match characters.next() {
                Some('%') => expanded.push('%'),
                Some('h') => expanded.push_str(self.host),
                Some('n') => expanded.push_str(self.original),
                Some('p') => expanded.push_str(&self.port.to_string()),
                Some('r') => expanded.push_str(self.user),
                Some('u') => expanded.push_str(&self.here.user),
                Some('d') => expanded.push_str(&self.here.home.to_string_lossy()),
                Some(other) => expanded.extend(['%', other]),
                None => expanded.push('%'),
            }
        }
        expanded
    }

    fn variables(&self, text: &str) -> String {
        let mut expanded = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let Some((name, after)) = after.split_once('}') else { break };
            expanded.push_str(before);
            expanded.push_str(&(self.here.variable)(name).unwrap_or_default());
            rest = after;
        }
        expanded + rest
    }
}

/// Words that are separated by spaces, where double quotes hold one together.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quoted = false;
    for character in text.chars() {
        match character {
            '"' => quoted = !quoted,
            ' ' | '\t' if !quoted => words.push(std::mem::take(&mut word)),
            other => word.push(other),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here() -> Here {
        Here {
            home: "/home/me".into(),
            user: "me".into(),
            auth_sock: Some("/run/agent".into()),
            variable: |name| (name == "KEYS").then(|| "/keys".into()),
        }
    }

    fn parse(text: &str) -> HostConfig {
        HostConfig::parse(text, "lab", &here())
    }

    #[test]
    fn a_plain_host() {
        let config = parse(
            "host lab\nuser ada\nhostname 10.0.0.7\nport 2222\nidentitiesonly no\nidentityfile ~/.ssh/id_ed25519\n\
             identityfile /with space/key\nglobalknownhostsfile /etc/ssh/a /etc/ssh/b\n\
             userknownhostsfile /home/me/.ssh/known_hosts \"/other place/known\"\nconnecttimeout none\n",
        );
        assert_eq!(
            config,
            HostConfig {
                host: "10.0.0.7".into(),
                user: "ada".into(),
                port: 2222,
                identity_files: vec!["/home/me/.ssh/id_ed25519".into(), "/with space/key".into()],
                identities_only: false,
                agent: Some("/run/agent".into()),
                known_hosts: vec![
                    "/home/me/.ssh/known_hosts".into(),
                    "/other place/known".into(),
                    "/etc/ssh/a".into(),
                    "/etc/ssh/b".into(),
                ],
                host_key_alias: None,
                proxy: Proxy::Direct,
                connect_timeout: None,
            }
        );
    }

    #[test]
    fn tokens_tildes_and_variables() {
        let config = parse(
            "hostname h\nport 7\nuser u\nidentityfile %d/.ssh/%r@%h\nidentityfile ${KEYS}/%n\n\
             proxycommand nc -x 100%% %h %p # %r %n\nuserknownhostsfile none\nconnecttimeout 5\nhostkeyalias cluster\n",
        );
        assert_eq!(config.identity_files, [PathBuf::from("/home/me/.ssh/u@h"), PathBuf::from("/keys/lab")]);
        assert_eq!(config.proxy, Proxy::Command("nc -x 100% h 7 # u lab".into()));
        assert_eq!(config.host_key_alias.as_deref(), Some("cluster"));
        assert_eq!(config.connect_timeout, Some(Duration::from_secs(5)));
        assert!(config.known_hosts.is_empty());
    }

    #[test]
    fn agents() {
        for (setting, expected) in [
            ("", Some("/run/agent")),
            ("identityagent SSH_AUTH_SOCK", Some("/run/agent")),
            ("identityagent none", None),
            ("identityagent ~/agent", Some("/home/me/agent")),
            ("identityagent $KEYS", Some("/keys")),
            ("identityagent ${KEYS}/s", Some("/keys/s")),
        ] {
            assert_eq!(parse(setting).agent, expected.map(PathBuf::from), "{setting}");
        }
        assert!(parse("identitiesonly yes").identities_only);
    }

    #[test]
    fn jumps() {
        assert_eq!(parse("proxyjump a,u@b:22").proxy, Proxy::Jump(vec!["a".into(), "u@b:22".into()]));
        assert_eq!(parse("proxyjump none\nproxycommand none").proxy, Proxy::Direct);
    }
}
