//! Takes the snapshot: resolves what is wished for, walks it, hashes it, and lists it.
//!
//! Reads the local disk and writes nothing but the stat cache. Never talks to a machine.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;

use super::digest::Digest;
use super::error::{SnapshotError, Warning};
use super::extra::{self, Extra};
use super::found::{FileStat, Findings, Found, Timestamp};
use super::hashing::{self, Hashed};
use super::limits::{self, Limits};
use super::links;
use super::manifest::{Manifest, Node};
use super::mapping::Layout;
use super::recipe::{self, LARGE, Recipes};
use super::roots::{self, Place, Wishes};
use super::source::Source;
use super::stat_cache::{self, StatCache};
use super::tracked;
use super::walk::{Bounds, Ignoring, walk};

/// What to take a snapshot of. All paths are absolute.
#[derive(Clone, Debug)]
pub struct Request {
    pub rootdir: PathBuf,
    pub cwd: PathBuf,
    /// The project's entries of `sys.path`, in order. Those that do not exist are passed over.
    pub sys_path: Vec<PathBuf>,
    /// Further directories, those of test files for instance.
    pub directories: Vec<PathBuf>,
    /// Extra files: paths or patterns, relative to `cwd`.
    pub files: Vec<String>,
    pub home: Option<PathBuf>,
    /// What stays here whatever else is said: where keys and records of runs are kept.
    pub kept_back: Vec<PathBuf>,
    /// Where the stat cache is kept; without it every file is read.
    pub cache_dir: Option<PathBuf>,
    pub limits: Limits,
    pub threads: usize,
}

/// A picture of the project's code, and where each content can be read.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub manifest: Manifest,
    pub layout: Layout,
    pub sources: Sources,
    /// Sorted.
    pub warnings: Vec<Warning>,
}

/// A local file for each content.
pub type Sources = HashMap<Digest, Source>;

/// Takes a snapshot. Blocks on the disk; run it on a thread that may.
pub fn take(request: &Request) -> Result<Snapshot, SnapshotError> {
    let started = stat_cache::now();
    let mut warnings = Vec::new();
    let bounds = request.bounds();

    let rootdir = resolve(&request.rootdir)?;
    let cwd = resolve(&request.cwd)?;
    let mut extra = extra::find(&request.files, &cwd.real, bounds)?;
    let sys_path = resolve_imports(&request.sys_path, &mut extra, bounds)?;
    let further = request.directories.iter().map(|path| resolve(path)).collect::<Result<_, _>>()?;
    let home = request.home.as_ref().map(|home| home.canonicalize().unwrap_or_else(|_| home.clone()));
    let repository = repository_of(&rootdir.real, home.as_deref());
    let wishes = Wishes { rootdir, cwd, sys_path, further, extra: extra.directories, home, repository };
    let plan = roots::plan(&wishes);
    warnings.extend(plan.too_broad.iter().map(|path| Warning::TooBroad { path: path.clone() }));

    let mut findings = Findings::new();
    for root in &plan.roots {
        let repository = repository_of(&root.path, wishes.home.as_deref());
        let ignoring = match repository {
            Some(_) => Ignoring::InRepository,
            None => Ignoring::Own,
        };
        findings.append(&mut walk(&root.path, ignoring, bounds)?);
        if let Some(repository) = repository {
            tracked::add(&mut findings, &root.path, &repository)?;
        }
        for member in &root.members {
            if !holds_files(&findings, member) {
                findings.extend(walk(member, Ignoring::Own, bounds)?);
            }
        }
    }
    findings.extend(extra.found);
    keep_back(&mut findings, &request.kept_back, &wishes.cwd.real);
    findings.entry(wishes.cwd.real.clone()).or_insert(Found::Directory);
    links::settle_all(&mut findings, &plan.layout, &mut warnings)?;

    let tops: Vec<&Path> = plan
        .roots
        .iter()
        .map(|root| root.path.as_path())
        .chain(wishes.extra.iter().map(|path| path.as_path()))
        .collect();
    check_limits(request.limits, &tops, &findings)?;
    let Contents { contents, remembering } = read_contents(request, &wishes.rootdir.real, &findings, started)?;
    let (listed, unwritable) = thread::scope(|scope| {
        let remembering = remembering.map(|remembering| scope.spawn(|| remembering.save()));
        let listed = list(&findings, contents, &plan.layout, started, &mut warnings);
        (listed, remembering.map_or(Ok(()), hashing::join))
    });
    warnings.extend(unwritable.err());
    let (manifest, sources) = listed?;
    warnings.sort();
    warnings.dedup();
    Ok(Snapshot { manifest, layout: plan.layout, sources, warnings })
}

/// Lists what was found, with its contents in the order of the files.
fn list(
    findings: &Findings,
    contents: Vec<Option<Hashed>>,
    layout: &Layout,
    started: Timestamp,
    warnings: &mut Vec<Warning>,
) -> Result<(Manifest, Sources), SnapshotError> {
    let mut sources = Sources::with_capacity(contents.len());
    let mut entries = Vec::with_capacity(findings.len());
    let (mut contents, mut places) = (contents.into_iter(), layout.places());
    for (path, found) in findings {
        let node = match found {
            Found::Directory => Node::EmptyDirectory,
            Found::Symlink { target } => Node::Symlink { target: target.clone().into_os_string().into_encoded_bytes() },
            Found::Special => {
                warnings.push(Warning::Special { path: path.clone() });
                continue;
            }
            Found::File { source, .. } => match contents.next().flatten() {
                Some(Hashed { digest, stat, held }) => {
                    sources.entry(digest).or_insert_with(|| Source {
                        path: source.clone(),
                        settled: stat_cache::is_settled(&stat, started).then_some(stat),
                        held,
                    });
                    Node::File { digest, size: stat.size, mode: stat.mode }
                }
                None => continue,
            },
        };
        let place = match node {
            Node::File { .. } => places.of_file(path),
            _ => layout.place(path),
        };
        if let Some(place) = place {
            entries.push((place, node));
        }
    }
    Ok((Manifest::new(entries)?, sources))
}

impl Snapshot {
    /// Has a recipe made of each large content among these files, so that an edit of it needs not be sent as a whole.
    pub fn record(&self, files: &[u32], recipes: &Recipes) {
        let large = self.sources_of(files).filter(|(_, size, _)| *size >= LARGE);
        for (digest, _, source) in large.take(recipe::KEPT) {
            // Without its recipe the next edit costs more on the wire, and is just as right.
            recipes.record(&digest, source).ok();
        }
    }

    /// One of these files that doesn't have the content any more that it had, though it may look as if it did.
    pub fn changed(&self, files: &[u32]) -> Option<SnapshotError> {
        let changed = self.sources_of(files).find(|(digest, _, source)| !source.has(*digest))?;
        Some(changed.2.changed())
    }

    /// Content, size and source of each.
    fn sources_of(&self, files: &[u32]) -> impl Iterator<Item = (Digest, u64, &Source)> {
        let contents = self.manifest.files();
        let named = files.iter().filter_map(move |file| contents.get(*file as usize).copied());
        named.filter_map(|(digest, size)| Some((digest, size, self.sources.get(&digest)?)))
    }
}

impl Request {
    fn bounds(&self) -> Bounds {
        let most = self.limits.files.saturating_mul(4).saturating_add(10_000);
        Bounds { entries: usize::try_from(most).unwrap_or(usize::MAX), depth: None, threads: self.threads }
    }
}

/// A directory that holds all of the project can't stay behind.
fn keep_back(findings: &mut Findings, directories: &[PathBuf], cwd: &Path) {
    let directories = directories.iter().filter_map(|directory| directory.canonicalize().ok());
    for directory in directories.filter(|directory| !cwd.starts_with(directory)) {
        let below = findings.range(directory.clone()..).take_while(|(path, _)| path.starts_with(&directory));
        for path in below.map(|(path, _)| path.clone()).collect::<Vec<_>>() {
            findings.remove(&path);
        }
    }
}

fn resolve(path: &Path) -> Result<Place, SnapshotError> {
    let real = path.canonicalize();
    let real = real.and_then(|real| match real.metadata()?.is_dir() {
        true => Ok(real),
        false => Err(io::ErrorKind::NotADirectory.into()),
    });
    match real {
        Ok(real) => Ok(Place { given: path.into(), real }),
        Err(source) => Err(SnapshotError::NoDirectory { path: path.into(), source }),
    }
}

/// Entries of `sys.path` may not exist, or may be archives: these go along as extra files.
fn resolve_imports(entries: &[PathBuf], extra: &mut Extra, bounds: Bounds) -> Result<Vec<Place>, SnapshotError> {
    let mut places = Vec::new();
    for entry in entries {
        match resolve(entry) {
            Ok(place) => places.push(place),
            Err(_) => {
                if let Ok(archive) = entry.canonicalize() {
                    extra.take(&archive, bounds)?;
                }
            }
        }
    }
    Ok(places)
}

/// The repository that a directory is part of. One that holds the home directory doesn't count:
/// it keeps somebody's settings, and its ignore rules tend to name everything.
fn repository_of(directory: &Path, home: Option<&Path>) -> Option<PathBuf> {
    let top = directory.ancestors().find(|above| above.join(".git").exists() || above.join(".hg").exists())?;
    let holds_home = home.is_some_and(|home| home.starts_with(top)) && top != directory;
    (!holds_home).then(|| top.to_path_buf())
}

fn holds_files(findings: &Findings, directory: &Path) -> bool {
    let below = findings.range(directory.to_path_buf()..).take_while(|(path, _)| path.starts_with(directory));
    below.into_iter().any(|(_, found)| !matches!(found, Found::Directory))
}

fn files(findings: &Findings) -> impl Iterator<Item = (&Path, &Path, &FileStat)> + Clone {
    findings.iter().filter_map(|(path, found)| match found {
        Found::File { source, stat } => Some((path.as_path(), source.as_path(), stat)),
        _ => None,
    })
}

fn check_limits(limits: Limits, tops: &[&Path], findings: &Findings) -> Result<(), SnapshotError> {
    let sizes = files(findings).map(|(path, _, stat)| (path, stat.size));
    limits::check(limits, tops, sizes).map_err(|excess| SnapshotError::TooLarge(Box::new(excess)))
}

/// What is in each file, in their order; nothing of one that has vanished.
struct Contents<'a> {
    contents: Vec<Option<Hashed>>,
    /// What is to be remembered, if that isn't what the cache has.
    remembering: Option<Remembering<'a>>,
}

/// The cache's word for the files it knows; the others are hashed.
fn read_contents<'a>(
    request: &Request,
    rootdir: &Path,
    findings: &'a Findings,
    started: Timestamp,
) -> Result<Contents<'a>, SnapshotError> {
    let location = request.cache_dir.as_ref().map(|cache_dir| StatCache::location(cache_dir, rootdir));
    let cache = location.as_deref().map(StatCache::load).unwrap_or_default();
    let (mut contents, mut unknown, mut numbers) = (Vec::new(), Vec::new(), Vec::new());
    for (number, (_, source, stat)) in files(findings).enumerate() {
        let known = cache.get(source, stat);
        contents.push(known.map(|digest| Hashed { digest, stat: *stat, held: None }));
        if known.is_none() {
            unknown.push((source, stat.size));
            numbers.push(number);
        }
    }
    for (number, hashed) in numbers.into_iter().zip(hashing::hash_all(&unknown, request.threads)?) {
        contents[number] = hashed;
    }

    let is_all_known = unknown.is_empty() && contents.len() == cache.len();
    let remembering = location.filter(|_| !is_all_known).map(|location| {
        let files = files(findings).zip(&contents);
        let files = files.filter_map(|((_, source, _), hashed)| Some((source, hashed.as_ref()?)));
        let settled = files.filter(|(_, hashed)| stat_cache::is_settled(&hashed.stat, started));
        let settled = settled.map(|(source, hashed)| (source, hashed.stat, hashed.digest)).collect();
        Remembering { location, cache, settled, started }
    });
    Ok(Contents { contents, remembering })
}

/// What the stat cache is to hold from now on.
struct Remembering<'a> {
    location: PathBuf,
    cache: StatCache,
    settled: Vec<(&'a Path, FileStat, Digest)>,
    started: Timestamp,
}

impl Remembering<'_> {
    fn save(mut self) -> Result<(), Warning> {
        // A file and what was a link to it are one.
        self.settled.sort_by_key(|(source, ..)| source.as_os_str());
        self.settled.dedup_by_key(|(source, ..)| *source);
        if self.cache.holds_exactly(&self.settled) {
            return Ok(());
        }
        StatCache::save(&self.location, &self.settled, self.started)
            .map_err(|error| Warning::CacheUnwritable { path: self.location, reason: error.to_string() })
    }
}
