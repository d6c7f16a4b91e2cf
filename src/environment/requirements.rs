//! A requirements file and those that it names, as one text that is right anywhere; what it says of indexes is apart.
//!
//! Variables are put in here, as pip does, since machines don't have them. Never resolves anything.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    fmt::{self, Write},
    fs,
    path::{Path, PathBuf},
};

use super::{EnvironmentError, index::Access};

/// May hold credentials, in `indexes` and in addresses of single packages.
#[derive(Default)]
pub struct Requirements {
    pub text: String,
    pub constraints: String,
    pub indexes: Indexes,
}

/// What such files say of indexes.
#[derive(Clone, Default)]
pub struct Indexes {
    main: Option<String>,
    further: Vec<String>,
    links: Vec<String>,
    trusted: Vec<String>,
    none: bool,
}

impl fmt::Debug for Indexes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Indexes").finish_non_exhaustive()
    }
}

impl Indexes {
    /// Adds them to what is known from elsewhere; a main index takes the place of the other.
    pub fn add_to(&self, access: &mut Access) {
        if let Some(main) = &self.main {
            access.indexes.splice(..access.indexes.len().min(1), [main.clone()]);
        }
        access.indexes.extend(self.further.iter().cloned());
        let (links, directories): (Vec<_>, Vec<_>) =
            self.links.iter().cloned().partition(|link| link.starts_with("http"));
        access.links.extend(links);
        access.local_links |= !directories.is_empty();
        access.trusted.extend(self.trusted.iter().cloned());
        access.no_index |= self.none;
    }

    /// The same for the local pip, beside what its variables say already.
    pub fn variables(&self) -> BTreeMap<String, String> {
        let mut variables = BTreeMap::new();
        if let Some(main) = &self.main {
            variables.insert("PIP_INDEX_URL".into(), main.clone());
        }
        if self.none {
            variables.insert("PIP_NO_INDEX".into(), "1".into());
        }
        let lists = [
            ("PIP_EXTRA_INDEX_URL", &self.further),
            ("PIP_FIND_LINKS", &self.links),
            ("PIP_TRUSTED_HOST", &self.trusted),
        ];
        for (name, more) in lists.into_iter().filter(|(_, more)| !more.is_empty()) {
            let mut words: Vec<String> = env::var(name).into_iter().collect();
            words.extend(more.iter().cloned());
            variables.insert(name.into(), words.join(" "));
        }
        variables
    }
}

/// Reads the file and those that it names.
pub fn read(path: &Path) -> Result<Requirements, EnvironmentError> {
    let mut found = Requirements::default();
    let mut seen = BTreeSet::new();
    add(path, false, &mut found, &mut seen)?;
    Ok(found)
}

fn add(
    path: &Path,
    constrains: bool,
    found: &mut Requirements,
    seen: &mut BTreeSet<PathBuf>,
) -> Result<(), EnvironmentError> {
    let failed = |source| EnvironmentError::Read { path: path.into(), source };
    if !seen.insert(path.canonicalize().map_err(failed)?) {
        return Ok(());
    }
    let text = fs::read_to_string(path).map_err(failed)?.replace("\\\r\n", " ").replace("\\\n", " ");
    let home = path.parent().unwrap_or(Path::new("."));
    for line in text.lines().map(|line| with_variables(without_comment(line).trim())).filter(|line| !line.is_empty()) {
        let (option, value) = option(&line);
        match option {
            "-r" | "--requirement" => add(&home.join(value), constrains, found, seen)?,
            "-c" | "--constraint" => add(&home.join(value), true, found, seen)?,
            "-i" | "--index-url" | "--pypi-url" => found.indexes.main = Some(value.into()),
            "--extra-index-url" => found.indexes.further.push(value.into()),
            "-f" | "--find-links" if value.contains("://") => found.indexes.links.push(value.into()),
            "-f" | "--find-links" => found.indexes.links.push(home.join(value).to_string_lossy().into_owned()),
            "--trusted-host" => found.indexes.trusted.push(value.into()),
            "--no-index" => found.indexes.none = true,
            // What lies here is in the snapshot, or has been installed here and goes along with it.
            "-e" | "--editable" if is_local(value) => {}
            "" if is_local(&line) => {}
            "-e" | "--editable" => found.push(value, constrains),
            _ => found.push(&line, constrains),
        }
    }
    Ok(())
}

impl Requirements {
    fn push(&mut self, line: &str, constrains: bool) {
        let text = if constrains { &mut self.constraints } else { &mut self.text };
        writeln!(text, "{line}").expect("a string takes anything");
    }

    /// The same by name and version alone: neither hashes nor addresses.
    pub fn names(&self) -> String {
        self.text.lines().filter_map(name).map(|line| line + "\n").collect()
    }
}

/// An option and what it is given; no option if the line is a requirement.
fn option(line: &str) -> (&str, &str) {
    if !line.starts_with('-') {
        return ("", line);
    }
    if !line.starts_with("--") {
        let (option, value) = line.split_at(line.len().min(2));
        return (option, value.trim_start_matches(['=', ' ', '\t']));
    }
    match line.split_once(['=', ' ', '\t']) {
        Some((option, value)) => (option, value.trim_start_matches(['=', ' ', '\t'])),
        None => (line, ""),
    }
}

fn is_local(requirement: &str) -> bool {
    let place = requirement.split_once(" @ ").map_or(requirement, |(_, place)| place.trim());
    place.starts_with(['.', '/', '~']) || place.starts_with("file:")
}

fn without_comment(line: &str) -> &str {
    if line.trim_start().starts_with('#') {
        return "";
    }
    line.find(" #").or_else(|| line.find("\t#")).map_or(line, |end| &line[..end])
}

/// `${NAME}`, where it is set here.
fn with_variables(line: &str) -> String {
    let mut whole = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("${") {
        whole.push_str(before);
        let value = after.split_once('}').and_then(|(name, after)| Some((env::var(name).ok()?, after)));
        rest = match value {
            Some((value, after)) => {
                whole.push_str(&value);
                after
            }
            None => {
                whole.push_str("${");
                after
            }
        };
    }
    whole + rest
}

fn name(line: &str) -> Option<String> {
    let bare = line.split(" --hash").next().unwrap_or_default().trim_end();
    if bare.starts_with("--") {
        return (!bare.starts_with("--require-hashes")).then(|| bare.to_owned());
    }
    let (wanted, marker) = bare.split_once(" ;").map_or((bare, None), |(wanted, marker)| (wanted, Some(marker)));
    let named = match wanted.split_once(" @ ") {
        Some((name, _)) => name.trim(),
        None if wanted.contains("://") => wanted.split_once("#egg=")?.1.split(['&', '[']).next()?,
        None => wanted,
    };
    Some(marker.map_or_else(|| named.to_owned(), |marker| format!("{named} ;{marker}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(files: &[(&str, &str)]) -> (tempfile::TempDir, Requirements) {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let found = read(&directory.path().join(files[0].0)).unwrap();
        (directory, found)
    }

    #[test]
    fn files_that_are_named_become_part_of_it() {
        let main = "# made by\n-r more/base.txt\n-cbounds.txt\na==1 \\\n    --hash=sha256:1  # why\n-e .\n./local\nown @ file:///own\n";
        let (_directory, found) = files(&[
            ("main.txt", main),
            ("more/base.txt", "-r ../main.txt\nb[x]==2 ; python_version > '3'\n"),
            ("bounds.txt", "c<3\n"),
        ]);
        assert_eq!(found.text, "b[x]==2 ; python_version > '3'\na==1      --hash=sha256:1\n");
        assert_eq!(found.constraints, "c<3\n");
        assert_eq!(found.names(), "b[x]==2 ; python_version > '3'\na==1\n");
    }

    #[test]
    fn indexes_are_apart() {
        let home = env::var("HOME").unwrap();
        let main = "-i https://u:${HOME}@h/simple\n--extra-index-url=https://x/simple\n--find-links wheels\n-f https://l\n--trusted-host x\n--pre\na @ https://${NOT_SET_HERE}@h/a.whl ; x\n-e git+https://h/b#egg=b\n";
        let (directory, found) = files(&[("main.txt", main)]);
        assert_eq!(found.text, "--pre\na @ https://${NOT_SET_HERE}@h/a.whl ; x\ngit+https://h/b#egg=b\n");
        assert_eq!(found.names(), "--pre\na ; x\nb\n");
        let mut access =
            Access { indexes: vec!["https://other".into(), "https://further".into()], ..Access::default() };
        found.indexes.add_to(&mut access);
        let main = format!("https://u:{home}@h/simple");
        assert_eq!(access.indexes, [main.as_str(), "https://further", "https://x/simple"]);
        assert_eq!((access.links, access.local_links), (vec!["https://l".to_owned()], true));
        let variables = found.indexes.variables();
        assert_eq!(variables["PIP_INDEX_URL"], main);
        assert!(variables["PIP_FIND_LINKS"].contains(&*directory.path().join("wheels").to_string_lossy()));
    }
}
