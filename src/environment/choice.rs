//! From a wish to what a machine is asked for: pins, locks, and the index to get them from.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde::Serialize;
use serde_json::{Value, json};

use super::{
    Description, EnvironmentError, describe,
    index::{self, Access},
    lock::{self, Hashes},
    requirements::{self, Indexes},
    wheelhouse::File,
};
use crate::{plan::EnvironmentChoice, snapshot::Digest};

/// Never installed: the first two serve installations, the last is brought by every run.
const LEFT_OUT: [&str; 3] = ["pip", "wheel", "cloudist"];

/// The uv that is brought to machines without one, and the SHA-256 of its wheels.
const UV_VERSION: &str = "0.13.9";
const UV_WHEELS: [(&str, &str); 2] = [
    ("x86_64", "2c45530751517d6c3bbc69a19473f6effe47cce047bede01ffd8af7ea7b36b25"),
    ("aarch64", "5435c5ce14a56431208ca0996416d310f1598e8c2c8ba707688985a16bb82dbe"),
];

/// What the user wants, and where.
#[derive(Clone, Debug)]
pub struct Wish {
    pub choice: EnvironmentChoice,
    pub strict: bool,
    pub apt: Vec<String>,
    pub dnf: Vec<String>,
    /// The local interpreter.
    pub python: PathBuf,
    /// The project's root directory, where its locks are.
    pub root: PathBuf,
    pub cwd: PathBuf,
}

/// What every machine is asked for. As JSON it holds credentials: it goes through the channel and nowhere else.
#[derive(Clone, Debug, Serialize)]
pub struct Request {
    decisive: Decisive,
    system: System,
    access: Access,
    tool: Tool,
    /// The interpreter or environment that is there already.
    path: Option<String>,
    /// What is brought, once it is known that the machine can fetch nothing.
    files: Option<Vec<File>>,
    #[serde(skip)]
    pub here: Option<Description>,
    #[serde(skip)]
    pub strict: bool,
    #[serde(skip)]
    pub python: PathBuf,
    /// What a requirements file says of them. Secret.
    #[serde(skip)]
    indexes: Indexes,
}

#[derive(Clone, Debug, Default, Serialize)]
struct Decisive {
    how: &'static str,
    implementation: String,
    version: String,
    requirements: String,
    /// The same by version alone.
    names: String,
    constraints: String,
    /// Whether the requirements are all there is to install.
    exact: bool,
    require_hashes: bool,
    /// Lock and project files, by their path below the root.
    files: BTreeMap<String, String>,
    explicit: Option<String>,
    /// Without credentials.
    indexes: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
struct System {
    apt: Vec<String>,
    dnf: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
struct Tool {
    version: &'static str,
    wheels: BTreeMap<&'static str, &'static str>,
}

/// Files that travel with the snapshot because no machine could install them, and the directories to find them in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    pub files: Vec<PathBuf>,
    pub directories: Vec<PathBuf>,
}

/// Works out what machines are asked for; nothing if they are to be left as they are.
pub fn choose(wish: &Wish) -> Result<Option<(Request, Carried)>, EnvironmentError> {
    let system = System { apt: wish.apt.clone(), dnf: wish.dnf.clone() };
    let untouched = system.apt.is_empty() && system.dnf.is_empty();
    if wish.choice == EnvironmentChoice::None && untouched {
        return Ok(None);
    }
    let tool = Tool { version: UV_VERSION, wheels: UV_WHEELS.into_iter().collect() };
    let mut request = Request {
        decisive: Decisive { how: "none", ..Decisive::default() },
        system,
        access: Access::default(),
        tool,
        path: None,
        files: None,
        here: None,
        strict: wish.strict,
        python: wish.python.clone(),
        indexes: Indexes::default(),
    };
    if wish.choice == EnvironmentChoice::None {
        return Ok(Some((request, Carried::default())));
    }
    let here = describe(&wish.python)?;
    request.access = index::access(&here.prefix, &wish.root, here.index.as_deref());
    let (decisive, indexes) = decide(wish, &here)?;
    request.decisive = decisive;
    indexes.add_to(&mut request.access);
    request.indexes = indexes;
    request.decisive.implementation = here.implementation.clone();
    request.decisive.version = here.version.clone();
    request.decisive.indexes =
        request.access.indexes.iter().chain(&request.access.links).map(|url| index::without_credentials(url)).collect();
    if request.decisive.how == "existing"
        && let EnvironmentChoice::Path(path) = &wish.choice
    {
        request.path = Some(path.clone());
    }
    let carried = carried(&here);
    request.here = Some(here);
    Ok(Some((request, carried)))
}

/// What decides the contents, and what is said of indexes beside it.
fn decide(wish: &Wish, here: &Description) -> Result<(Decisive, Indexes), EnvironmentError> {
    let decisive = match &wish.choice {
        EnvironmentChoice::Auto | EnvironmentChoice::None => Ok(mirrored("uv", here, &hashes(&wish.root)?, |_| true)),
        EnvironmentChoice::Pip => Ok(mirrored("pip", here, &hashes(&wish.root)?, |_| true)),
        EnvironmentChoice::Uv if wish.root.join("uv.lock").is_file() => project(&wish.root),
        EnvironmentChoice::Uv if wish.root.join("pylock.toml").is_file() => pylock(&wish.root.join("pylock.toml")),
        EnvironmentChoice::Uv => Err(EnvironmentError::NoLock { root: wish.root.clone() }),
        EnvironmentChoice::Conda => {
            let explicit = explicit(here)?;
            let by_pip = |installer: &str| ["pip", "uv"].contains(&installer);
            let pins = mirrored("conda", here, &Hashes::new(), by_pip);
            Ok(Decisive { explicit: Some(explicit), ..pins })
        }
        EnvironmentChoice::Path(name) => return from_path(wish, name),
    };
    Ok((decisive?, Indexes::default()))
}

/// What is installed here, by its very version.
fn mirrored(how: &'static str, here: &Description, hashes: &Hashes, installed_by: impl Fn(&str) -> bool) -> Decisive {
    let wanted = here.distributions.iter().filter(|distribution| {
        distribution.carry.is_empty()
            && !LEFT_OUT.contains(&distribution.name.as_str())
            && installed_by(&distribution.installer)
    });
    let mut lines = Vec::new();
    let mut names = String::new();
    for distribution in wanted {
        let pin = format!("{}=={}", distribution.name, distribution.version);
        names.push_str(&format!("{pin}\n"));
        let known = hashes.get(&(distribution.name.clone(), distribution.version.clone()));
        match (&distribution.url, known) {
            (Some(url), _) => lines.push((format!("{} @ {url}", distribution.name), String::new())),
            (None, Some(known)) => {
                lines.push((pin, known.iter().map(|hash| format!(" --hash={hash}")).collect::<String>()));
            }
            (None, None) => lines.push((pin, String::new())),
        }
    }
    let all = lines.iter().all(|(_, hashes)| !hashes.is_empty()) && !lines.is_empty();
    let requirements = lines.iter().map(|(pin, hashes)| format!("{pin}{hashes}\n")).collect();
    Decisive { how, requirements, names, exact: true, require_hashes: all, ..Decisive::default() }
}

/// What the project's lock files say of contents. What is installed decides about versions all the same.
fn hashes(root: &Path) -> Result<Hashes, EnvironmentError> {
    let mut hashes = Hashes::new();
    for name in ["uv.lock", "pylock.toml", "poetry.lock", "pdm.lock"] {
        let path = root.join(name);
        if path.is_file() {
            for pin in pins_of(&path)?.into_iter().filter(|pin| !pin.hashes.is_empty()) {
                hashes.entry((pin.name, pin.version)).or_default().extend(pin.hashes);
            }
        }
    }
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("requirements") && name.ends_with(".txt") && entry.path().is_file() {
            for (pin, known) in lock::requirement_hashes(&read(&entry.path())?) {
                hashes.entry(pin).or_default().extend(known);
            }
        }
    }
    Ok(hashes)
}

fn pins_of(path: &Path) -> Result<Vec<lock::Pin>, EnvironmentError> {
    lock::pins(&read(path)?)
        .map_err(|error| EnvironmentError::Malformed { path: path.into(), detail: error.message().to_owned() })
}

fn read(path: &Path) -> Result<String, EnvironmentError> {
    fs::read_to_string(path).map_err(|source| EnvironmentError::Read { path: path.into(), source })
}

/// A project's uv.lock, with the project files of the packages that it speaks of as local.
fn project(root: &Path) -> Result<Decisive, EnvironmentError> {
    let text = read(&root.join("uv.lock"))?;
    let mut files = BTreeMap::from([("pyproject.toml".to_owned(), read(&root.join("pyproject.toml"))?)]);
    let document: toml::Table = text.parse().map_err(|error: toml::de::Error| EnvironmentError::Malformed {
        path: root.join("uv.lock"),
        detail: error.message().to_owned(),
    })?;
    for package in document.get("package").and_then(toml::Value::as_array).into_iter().flatten() {
        let place = ["editable", "virtual", "directory"]
            .iter()
            .find_map(|key| package.get("source")?.get(*key)?.as_str())
            .filter(|place| *place != "." && !place.contains(".."));
        if let Some(place) = place
            && let Ok(text) = read(&root.join(place).join("pyproject.toml"))
        {
            files.insert(format!("{place}/pyproject.toml"), text);
        }
    }
    files.insert("uv.lock".into(), text);
    Ok(Decisive { how: "project", files, ..Decisive::default() })
}

/// A pylock.toml, and its pins for a machine that fetches nothing.
fn pylock(path: &Path) -> Result<Decisive, EnvironmentError> {
    let files = BTreeMap::from([("pylock.toml".into(), read(path)?)]);
    Ok(Decisive { how: "pylock", files, ..pinned(path)? })
}

/// What a lock file pins, with the contents that it knows.
fn pinned(path: &Path) -> Result<Decisive, EnvironmentError> {
    let pins = pins_of(path)?;
    let line = |pin: &lock::Pin| format!("{}\n", lock::requirement(pin));
    let name = |pin: &lock::Pin| line(&lock::Pin { hashes: Default::default(), url: None, ..pin.clone() });
    Ok(Decisive {
        how: "uv",
        requirements: pins.iter().map(line).collect(),
        names: pins.iter().map(name).collect(),
        exact: true,
        require_hashes: !pins.is_empty() && pins.iter().all(|pin| !pin.hashes.is_empty()),
        ..Decisive::default()
    })
}

/// The packages of a local conda environment by address and digest.
fn explicit(here: &Description) -> Result<String, EnvironmentError> {
    let not_conda = || EnvironmentError::NotConda { prefix: here.prefix.clone() };
    let mut lines = Vec::new();
    for entry in fs::read_dir(here.prefix.join("conda-meta")).map_err(|_| not_conda())?.flatten() {
        if entry.path().extension().is_some_and(|end| end == "json") {
            let package: Value = serde_json::from_str(&read(&entry.path())?).unwrap_or_default();
            if let (Some(url), digest) = (package["url"].as_str(), package["md5"].as_str().unwrap_or_default()) {
                lines.push(format!("{url}#{digest}"));
            }
        }
    }
    lines.sort();
    if lines.is_empty() {
        return Err(not_conda());
    }
    Ok(format!("@EXPLICIT\n{}\n", lines.join("\n")))
}

/// A file here decides what is built; anything else names what is there.
fn from_path(wish: &Wish, name: &str) -> Result<(Decisive, Indexes), EnvironmentError> {
    let path = wish.cwd.join(name);
    let file = Path::new(name).file_name().map(|file| file.to_string_lossy().into_owned()).unwrap_or_default();
    if !path.is_file() || !(file.ends_with(".txt") || file.ends_with(".lock") || file.ends_with(".toml")) {
        if file.ends_with(".txt") || file.ends_with(".lock") || file.ends_with(".toml") {
            return Err(EnvironmentError::NoFile { name: name.into() });
        }
        return Ok((Decisive { how: "existing", ..Decisive::default() }, Indexes::default()));
    }
    let decisive = match file.as_str() {
        "uv.lock" => project(path.parent().unwrap_or(&wish.root)),
        file if file.starts_with("pylock.") => pylock(&path),
        file if file.ends_with(".txt") => {
            let found = requirements::read(&path)?;
            let decisive = Decisive {
                how: "uv",
                names: found.names(),
                require_hashes: found.text.contains("--hash"),
                requirements: found.text,
                constraints: found.constraints,
                ..Decisive::default()
            };
            return Ok((decisive, found.indexes));
        }
        _ => pinned(&path),
    };
    Ok((decisive?, Indexes::default()))
}

/// Editable installs are found by their metadata; what was installed from a local path comes along whole.
fn carried(here: &Description) -> Carried {
    let mut carried = Carried::default();
    for distribution in here.distributions.iter().filter(|distribution| distribution.name != "cloudist") {
        for path in distribution.carry.iter().filter(|path| path.exists()) {
            carried.files.push(path.clone());
            let home = here
                .directories
                .iter()
                .find(|directory| path.starts_with(directory))
                .cloned()
                .or_else(|| path.parent().map(Path::to_path_buf));
            if let Some(home) = home.filter(|home| !carried.directories.contains(home)) {
                carried.directories.push(home);
            }
        }
    }
    carried
}

impl Request {
    /// The bytes that go to a machine.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a request makes JSON")
    }

    /// Names what is asked for, on whatever machine: what was made from an equal request is found by it.
    pub fn key(&self) -> String {
        let text = serde_json::to_vec(&(&self.decisive, &self.system)).expect("a request makes JSON");
        Digest::of(&text).to_string()
    }

    /// Whether anything would be put in place for it that a machine doesn't have.
    pub fn makes_something(&self) -> bool {
        let untouched = self.system.apt.is_empty() && self.system.dnf.is_empty();
        !(["none", "existing"].contains(&self.decisive.how) && untouched)
    }

    /// The request of a machine that fetches nothing.
    pub fn with_files(&self, files: Vec<File>) -> Self {
        Self { files: Some(files), ..self.clone() }
    }

    /// What has to be collected for it.
    pub(super) fn collection(&self) -> Value {
        let Decisive { requirements, constraints, exact, .. } = &self.decisive;
        json!({"requirements": requirements, "constraints": constraints, "exact": exact, "uv": self.tool.version})
    }

    /// Variables that the local pip needs for it besides those that are set. Secret.
    pub(super) fn variables(&self) -> BTreeMap<String, String> {
        self.indexes.variables()
    }

    /// In words, how what a machine has differs from what is here.
    pub fn differences(&self, there: &Description) -> Vec<String> {
        let names = |here: &Description| super::differences(here, there, &LEFT_OUT);
        self.here.as_ref().map(names).unwrap_or_default()
    }
}
