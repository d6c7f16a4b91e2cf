//! What lock files say: pins, and the hashes of what may be installed for them.
//!
//! Pure: texts in. Never resolves anything, and never guesses a version.

use std::collections::{BTreeMap, BTreeSet};

/// Hashes by normalised name and version.
pub type Hashes = BTreeMap<(String, String), BTreeSet<String>>;

/// One locked package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    pub name: String,
    pub version: String,
    pub marker: Option<String>,
    /// Where it comes from if that is no index, as a requirement names it.
    pub url: Option<String>,
    /// Each as `sha256:…`.
    pub hashes: BTreeSet<String>,
}

pub fn normal(name: &str) -> String {
    let mut normal = String::new();
    for part in name.split(['-', '_', '.']).filter(|part| !part.is_empty()) {
        if !normal.is_empty() {
            normal.push('-');
        }
        normal.push_str(&part.to_lowercase());
    }
    normal
}

/// The packages of a uv.lock, pylock.toml, poetry.lock or pdm.lock.
pub fn pins(text: &str) -> Result<Vec<Pin>, toml::de::Error> {
    let document: toml::Table = text.parse()?;
    let packages = ["package", "packages"].iter().find_map(|key| document.get(*key)?.as_array());
    // Old poetry keeps hashes apart.
    let apart = document.get("metadata").and_then(|metadata| metadata.get("files"));
    let mut pins: Vec<Pin> = Vec::new();
    for package in packages.into_iter().flatten() {
        let text = |key: &str| package.get(key).and_then(toml::Value::as_str);
        let (Some(name), Some(version)) = (text("name"), text("version")) else { continue };
        let source = package.get("source");
        let local = ["editable", "virtual", "directory", "path"];
        let is_local = ["directory", "path"].iter().any(|key| package.get(*key).is_some())
            || source.is_some_and(|source| {
                local.iter().any(|key| source.get(key).is_some())
                    || ["directory", "file"].map(Some).contains(&source.get("type").and_then(toml::Value::as_str))
            });
        if is_local {
            continue;
        }
        let mut hashes = BTreeSet::new();
        for key in ["wheels", "files", "sdist"] {
            package.get(key).into_iter().for_each(|files| collect_hashes(files, &mut hashes));
        }
        apart.and_then(|files| files.get(name)).into_iter().for_each(|files| collect_hashes(files, &mut hashes));
        let pin =
            Pin { name: normal(name), version: version.into(), marker: marker(package), url: address(package), hashes };
        // A package is listed once more for each set of its extras.
        match pins.iter_mut().find(|other| (&other.name, &other.version) == (&pin.name, &pin.version)) {
            Some(other) => {
                other.marker = other.marker.take().zip(pin.marker).map(|(one, other)| either([one, other]));
                other.hashes.extend(pin.hashes);
            }
            None => pins.push(pin),
        }
    }
    Ok(pins)
}

/// When a package is wanted. Poetry may say so for each group of dependencies; all groups are installed.
fn marker(package: &toml::Value) -> Option<String> {
    match package.get("markers").or_else(|| package.get("marker"))? {
        toml::Value::String(marker) => Some(marker.clone()),
        toml::Value::Table(by_group) => {
            let groups = package.get("groups")?.as_array()?;
            let markers: Option<BTreeSet<String>> =
                groups.iter().map(|group| Some(by_group.get(group.as_str()?)?.as_str()?.to_owned())).collect();
            Some(either(markers?))
        }
        _ => None,
    }
}

fn either(markers: impl IntoIterator<Item = String>) -> String {
    let markers: BTreeSet<String> = markers.into_iter().collect();
    match markers.len() {
        1 => markers.into_iter().collect(),
        _ => markers.iter().map(|marker| format!("({marker})")).collect::<Vec<_>>().join(" or "),
    }
}

/// The archive or the very commit of a package that poetry or pdm have from elsewhere.
fn address(package: &toml::Value) -> Option<String> {
    let source = package.get("source").filter(|source| source.get("type").is_some());
    let text = |table: &toml::Value, key: &str| table.get(key).and_then(toml::Value::as_str).map(str::to_owned);
    let repository = |url: String, commit: String, part: Option<String>| {
        let fragment = part.map(|part| format!("#subdirectory={part}")).unwrap_or_default();
        format!("git+{url}@{commit}{fragment}")
    };
    if let Some(source) = source {
        let url = text(source, "url")?;
        return match text(source, "type")?.as_str() {
            "git" => Some(repository(url, text(source, "resolved_reference")?, text(source, "subdirectory"))),
            "url" => Some(url),
            _ => None,
        };
    }
    match text(package, "git") {
        Some(url) => Some(repository(url, text(package, "revision")?, text(package, "subdirectory"))),
        None => text(package, "url"),
    }
}

fn collect_hashes(value: &toml::Value, hashes: &mut BTreeSet<String>) {
    match value {
        toml::Value::Array(files) => files.iter().for_each(|file| collect_hashes(file, hashes)),
        toml::Value::Table(file) => {
            if let Some(hash) = file.get("hash").and_then(toml::Value::as_str) {
                hashes.insert(hash.to_owned());
            }
            if let Some(hash) = file.get("hashes").and_then(|all| all.get("sha256")).and_then(toml::Value::as_str) {
                hashes.insert(format!("sha256:{hash}"));
            }
        }
        _ => {}
    }
}

/// The pins of a requirements file that have hashes.
pub fn requirement_hashes(text: &str) -> Hashes {
    let mut hashes = Hashes::new();
    for line in text.replace("\\\r\n", " ").replace("\\\n", " ").lines() {
        let line = line.split(" #").next().unwrap_or_default();
        let Some((name, rest)) = line.split_once("==") else { continue };
        let name = name.split('[').next().unwrap_or_default().trim();
        let version = rest.split([' ', ';', '\t']).next().unwrap_or_default().trim();
        let given = rest.split("--hash").skip(1).filter_map(|hash| {
            let hash = hash.trim_start_matches(['=', ' ']).split_whitespace().next()?;
            Some(hash.to_owned())
        });
        let given: BTreeSet<String> = given.collect();
        if !name.is_empty() && !name.starts_with(['#', '-']) && !given.is_empty() {
            hashes.entry((normal(name), version.into())).or_default().extend(given);
        }
    }
    hashes
}

/// A requirement as pip and uv read it.
pub fn requirement(pin: &Pin) -> String {
    let mut line = match &pin.url {
        Some(url) => format!("{} @ {url}", pin.name),
        None => format!("{}=={}", pin.name, pin.version),
    };
    if let Some(marker) = &pin.marker {
        line.push_str(&format!(" ; {marker}"));
    }
    for hash in &pin.hashes {
        line.push_str(&format!(" --hash={hash}"));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_normalised() {
        assert_eq!(normal("Zope.Interface__x"), "zope-interface-x");
    }

    #[test]
    fn hashes_of_a_requirements_file() {
        let text = "# made by\na==1.0 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\nB_c[x]==2 ; python_version > '3' --hash=sha256:cc\nd==1\n-r other\n";
        let hashes = requirement_hashes(text);
        let of = |name: &str, version: &str| hashes.get(&(name.into(), version.into())).map(BTreeSet::len);
        assert_eq!((of("a", "1.0"), of("b-c", "2"), of("d", "1")), (Some(2), Some(1), None));
    }

    #[test]
    fn four_kinds_of_lock() {
        let uv = "[[package]]\nname='A.b'\nversion='1'\nsource={registry='x'}\nsdist={url='u', hash='sha256:1'}\nwheels=[{url='v', hash='sha256:2'}]\n[[package]]\nname='own'\nversion='0'\nsource={editable='.'}";
        let pylock =
            "[[packages]]\nname='a-b'\nversion='1'\nwheels=[{hashes={sha256='2'}}]\nsdist={hashes={sha256='1'}}";
        let poetry =
            "[[package]]\nname='a-b'\nversion='1'\nfiles=[{file='x',hash='sha256:1'},{file='y',hash='sha256:2'}]";
        for text in [uv, pylock, poetry] {
            let pins = pins(text).unwrap();
            assert_eq!(pins.len(), 1);
            assert_eq!(requirement(&pins[0]), "a-b==1 --hash=sha256:1 --hash=sha256:2");
        }
    }

    fn requirements(text: &str) -> Vec<String> {
        pins(text).unwrap().iter().map(requirement).collect()
    }

    #[test]
    fn what_comes_from_elsewhere_keeps_its_address() {
        let poetry = "[[package]]\nname='a'\nversion='1'\n[package.source]\ntype='git'\nurl='https://h/a.git'\nreference='main'\nresolved_reference='c0ffee'\n\
                      [[package]]\nname='b'\nversion='1'\nfiles=[{file='b.whl',hash='sha256:1'}]\n[package.source]\ntype='url'\nurl='https://h/b.whl'\n\
                      [[package]]\nname='c'\nversion='1'\n[package.source]\ntype='directory'\nurl='../c'\n\
                      [[package]]\nname='d'\nversion='1'\n[package.source]\ntype='legacy'\nurl='https://h/simple'\nreference='own'";
        let expected = ["a @ git+https://h/a.git@c0ffee", "b @ https://h/b.whl --hash=sha256:1", "d==1"];
        assert_eq!(requirements(poetry), expected);
        let pdm = "[[package]]\nname='a'\nversion='1'\ngit='https://h/a.git'\nref='main'\nrevision='c0ffee'\nsubdirectory='x'\n\
                   [[package]]\nname='b'\nversion='1'\nurl='https://h/b.whl'\n[[package]]\nname='c'\nversion='1'\npath='./c'\n";
        assert_eq!(requirements(pdm), ["a @ git+https://h/a.git@c0ffee#subdirectory=x", "b @ https://h/b.whl"]);
    }

    #[test]
    fn markers_of_all_groups_count_together() {
        let poetry = "[[package]]\nname='a'\nversion='1'\ngroups=['main','dev']\nmarkers={main='x', dev='y'}\n\
                      [[package]]\nname='b'\nversion='1'\ngroups=['main','dev']\nmarkers={dev='y'}\n\
                      [[package]]\nname='c'\nversion='1'\nmarkers='z'";
        assert_eq!(requirements(poetry), ["a==1 ; (x) or (y)", "b==1", "c==1 ; z"]);
        let pdm = "[[package]]\nname='a'\nversion='1'\nmarker='x'\n[[package]]\nname='a'\nversion='1'\nextras=['e']\nmarker='x'";
        assert_eq!(requirements(pdm), ["a==1 ; x"]);
    }
}
