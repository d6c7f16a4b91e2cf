//! Where packages come from here: the settings of pip and uv, in variables and files.
//!
//! What is read may hold credentials: it is never written anywhere, and its debug text hides it.

use std::{
    collections::BTreeMap,
    env, fmt, fs,
    path::{Path, PathBuf},
};

use serde::Serialize;

/// How a machine gets at packages. Secret.
#[derive(Clone, Default, Serialize, PartialEq, Eq)]
pub struct Access {
    /// The main one first.
    pub indexes: Vec<String>,
    /// Pages with links to files.
    pub links: Vec<String>,
    pub no_index: bool,
    /// Whether there are directories here that hold packages.
    pub local_links: bool,
    pub trusted: Vec<String>,
    pub cert: Option<String>,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("indexes", &self.indexes.len()).finish_non_exhaustive()
    }
}

/// Reads what pip and uv would; uv's own settings win where it has any.
pub fn access(prefix: &Path, root: &Path, default: Option<&str>) -> Access {
    let mut pip = BTreeMap::new();
    for path in pip_files(prefix) {
        if let Ok(text) = fs::read_to_string(path) {
            pip.extend(ini(&text));
        }
    }
    for key in ["index-url", "extra-index-url", "find-links", "no-index", "trusted-host", "cert"] {
        if let Some(value) = variable(&format!("PIP_{}", key.to_uppercase().replace('-', "_"))) {
            pip.insert(key.into(), value);
        }
    }
    let words = |key: &str| -> Vec<String> {
        pip.get(key).map(|value| value.split_whitespace().map(str::to_owned).collect()).unwrap_or_default()
    };
    let uv = uv_indexes(root);
    let mut indexes = match (uv.is_empty(), pip.get("index-url").map(String::as_str).or(default)) {
        (false, _) => uv,
        (true, Some(main)) => vec![main.to_owned()],
        (true, None) => Vec::new(),
    };
    indexes.extend(words("extra-index-url"));
    indexes.dedup();
    let (links, directories): (Vec<_>, Vec<_>) =
        words("find-links").into_iter().partition(|link| link.starts_with("http"));
    Access {
        indexes,
        links,
        no_index: pip.get("no-index").is_some_and(|value| truth(value)) || variable("UV_NO_INDEX").is_some(),
        local_links: !directories.is_empty(),
        trusted: words("trusted-host"),
        cert: pip.get("cert").cloned().or_else(|| variable("SSL_CERT_FILE")),
    }
}

/// An address that may be shown and kept.
pub fn without_credentials(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_once('/').map_or((rest, None), |(host, path)| (host, Some(path)));
            let host = authority.rsplit('@').next().unwrap_or_default();
            match path {
                Some(path) => format!("{scheme}://{host}/{path}"),
                None => format!("{scheme}://{host}"),
            }
        }
        None => url.to_owned(),
    }
}

fn truth(value: &str) -> bool {
    ["1", "true", "yes", "on"].contains(&value.trim().to_lowercase().as_str())
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// In the order in which pip reads them.
fn pip_files(prefix: &Path) -> Vec<PathBuf> {
    if variable("PIP_CONFIG_FILE").as_deref() == Some("/dev/null") {
        return Vec::new();
    }
    let mut files = vec![PathBuf::from("/etc/xdg/pip/pip.conf"), PathBuf::from("/etc/pip.conf")];
    if let Some(home) = env::home_dir() {
        files.push(home.join(".pip/pip.conf"));
        let config = variable("XDG_CONFIG_HOME").map_or_else(|| home.join(".config"), PathBuf::from);
        files.push(config.join("pip/pip.conf"));
    }
    files.push(prefix.join("pip.conf"));
    files.extend(variable("PIP_CONFIG_FILE").map(PathBuf::from));
    files
}

/// `[global]` and `[install]` of a pip.conf; the latter wins.
fn ini(text: &str) -> BTreeMap<String, String> {
    let mut sections: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let (mut section, mut key) = (String::new(), String::new());
    for line in text.lines() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = trimmed.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.to_owned();
            continue;
        }
        let values = sections.entry(section.clone()).or_default();
        if line.starts_with([' ', '\t']) {
            let value = values.entry(key.clone()).or_default();
            *value = format!("{value} {trimmed}");
        } else if let Some((name, value)) = trimmed.split_once(['=', ':']) {
            key = name.trim().replace('_', "-");
            values.insert(key.clone(), value.trim().to_owned());
        }
    }
    let mut merged = sections.remove("global").unwrap_or_default();
    merged.extend(sections.remove("install").unwrap_or_default());
    merged
}

/// What uv is told: variables, else uv.toml or `[tool.uv]` of the project, else the user's uv.toml.
fn uv_indexes(root: &Path) -> Vec<String> {
    let main = variable("UV_DEFAULT_INDEX").or_else(|| variable("UV_INDEX_URL"));
    let further = variable("UV_INDEX").or_else(|| variable("UV_EXTRA_INDEX_URL"));
    // An index may have a name in front of it.
    let bare = |word: &str| match word.split_once('=') {
        Some((name, url)) if !name.contains(':') => url.to_owned(),
        _ => word.to_owned(),
    };
    if let Some(main) = main {
        let further = further.iter().flat_map(|words| words.split_whitespace());
        return std::iter::once(bare(&main)).chain(further.map(bare)).collect();
    }
    let user = env::home_dir().map(|home| home.join(".config/uv/uv.toml"));
    [Some(root.join("uv.toml")), Some(root.join("pyproject.toml")), user]
        .into_iter()
        .flatten()
        .find_map(|path| {
            let document: toml::Table = fs::read_to_string(&path).ok()?.parse().ok()?;
            let settings = match path.ends_with("pyproject.toml") {
                true => document.get("tool")?.get("uv")?.as_table()?.clone(),
                false => document,
            };
            uv_table(&settings)
        })
        .unwrap_or_default()
}

/// The default index and those beside it; nothing if there is no default, since pip's is then the main one.
fn uv_table(settings: &toml::Table) -> Option<Vec<String>> {
    let listed: Vec<&toml::Value> = settings.get("index").and_then(toml::Value::as_array)?.iter().collect();
    let url = |index: &toml::Value| index.get("url").and_then(toml::Value::as_str).map(str::to_owned);
    let is_default = |index: &toml::Value| index.get("default").and_then(toml::Value::as_bool).unwrap_or(false);
    let main = listed.iter().find(|index| is_default(index)).and_then(|index| url(index))?;
    let further = listed.iter().filter(|index| !is_default(index)).filter_map(|index| url(index));
    Some(std::iter::once(main).chain(further).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pip_conf() {
        let values =
            ini("[global]\nindex-url = http://u:p@h/simple\nfind_links =\n    /a\n    /b\n[install]\nno-index: yes\n");
        assert_eq!(values["index-url"], "http://u:p@h/simple");
        assert_eq!(values["find-links"].split_whitespace().collect::<Vec<_>>(), ["/a", "/b"]);
        assert!(truth(&values["no-index"]));
    }

    #[test]
    fn credentials_are_left_out() {
        assert_eq!(without_credentials("https://u:p@h:8/simple/"), "https://h:8/simple/");
        assert_eq!(without_credentials("https://h"), "https://h");
        let access = Access { indexes: vec!["https://u:secret@h".into()], ..Access::default() };
        assert!(!format!("{access:?}").contains("secret"));
    }
}
