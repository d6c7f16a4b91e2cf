use std::collections::HashMap;
use std::path::Path;

use super::super::found::FileStat;
use super::super::manifest::{Mode, Node};
use super::*;

struct Project {
    directory: tempfile::TempDir,
    manifest: Manifest,
    sources: Sources,
}

fn project(contents: &[&[u8]]) -> Project {
    let directory = tempfile::tempdir().unwrap();
    let mut entries = Vec::new();
    let mut sources = HashMap::new();
    for (number, content) in contents.iter().enumerate() {
        let path = directory.path().join(number.to_string());
        std::fs::write(&path, content).unwrap();
        let (digest, size) = (Digest::of_content(content), content.len() as u64);
        entries.push((number.to_string().into_bytes(), Node::File { digest, size, mode: Mode::Plain }));
        sources.insert(digest, Source { path, settled: None, held: None });
    }
    Project { directory, manifest: Manifest::new(entries).unwrap(), sources }
}

impl Project {
    fn parcels(&self, files: &[u32]) -> Parcels {
        self.parcels_from(files, 0, None)
    }

    fn parcels_from(&self, files: &[u32], arrived: u64, recipes: Option<Recipes>) -> Parcels {
        let wanted = files.iter().map(|file| Wanted { file: *file, arrived, old: None, unasked: false });
        Parcels::new(&self.manifest, &self.sources, wanted, recipes).unwrap()
    }

    fn path(&self, number: usize) -> std::path::PathBuf {
        self.directory.path().join(number.to_string())
    }
}

fn plain(compressed: bool, data: &[u8]) -> Vec<u8> {
    if !compressed {
        return data.to_vec();
    }
    let mut content = Vec::new();
    flate2::read::ZlibDecoder::new(data).read_to_end(&mut content).unwrap();
    content
}

fn all(mut parcels: Parcels, compress: bool) -> Vec<Result<Parcel, SnapshotError>> {
    std::iter::from_fn(|| parcels.next(compress)).collect()
}

fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}

#[test]
fn small_contents_share_parcels_and_large_ones_take_several() {
    let (text, noise) = (b"text ".repeat(300_000), noise(2 * PARCEL));
    for compress in [false, true] {
        let project = project(&[b"one", b"", b"three", &text, &noise, b"six"]);
        let mut arrived = vec![Vec::new(); 6];
        let mut shapes = Vec::new();
        for parcel in all(project.parcels(&[0, 1, 2, 3, 4, 5]), compress) {
            match parcel.unwrap() {
                Parcel::Pack { files, compressed, data } => {
                    let data = plain(compressed, &data);
                    let mut data = &data[..];
                    for file in &files {
                        let length = project.manifest.files()[*file as usize].1 as usize;
                        arrived[*file as usize].extend_from_slice(data.split_off(..length).unwrap());
                    }
                    assert!(data.is_empty());
                    shapes.push((files, compressed));
                }
                Parcel::Part { file, offset, compressed, data } => {
                    assert_eq!(arrived[file as usize].len() as u64, offset);
                    arrived[file as usize].extend(plain(compressed, &data));
                    shapes.push((vec![file], compressed));
                }
                patch => panic!("{patch:?}"),
            }
        }
        assert!(arrived == [&b"one"[..], b"", b"three", &text, &noise, b"six"]);
        let expected = [vec![0, 1, 2, 5], vec![3], vec![3], vec![4], vec![4]];
        assert_eq!(shapes.iter().map(|(files, _)| files.clone()).collect::<Vec<_>>(), expected);
        assert_eq!(shapes.iter().map(|shape| shape.1).collect::<Vec<_>>(), expected.map(|at| compress && at == [3]));
    }
}

#[test]
fn small_and_large_contents_go_in_turn() {
    let (small, large) = (noise(60_000), noise(3 * PARCEL));
    let contents: Vec<Vec<u8>> =
        (0..6).map(|number| if number == 2 { large.clone() } else { small[number..].to_vec() }).collect();
    let project = project(&contents.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let sent = all(project.parcels(&[0, 1, 2, 3, 4, 5]), false).into_iter().map(|parcel| match parcel.unwrap() {
        Parcel::Pack { files, .. } => files,
        Parcel::Part { file, .. } => vec![file],
        patch => panic!("{patch:?}"),
    });
    assert_eq!(sent.collect::<Vec<_>>(), [vec![0], vec![2], vec![1, 3, 4, 5], vec![2], vec![2]]);
}

/// Lines like those of code: each differs from the others, and much is said before.
fn lines(length: usize, salt: u64) -> Vec<u8> {
    let words = ["def ", "return ", "assert ", "import ", "value ", "result ", "client ", "response "];
    let mut text = Vec::new();
    for number in salt.. {
        if text.len() >= length {
            break;
        }
        for place in 0..8 {
            let chosen = number.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(place * 7) % 8;
            text.extend_from_slice(words[chosen as usize].as_bytes());
        }
        text.extend_from_slice(format!("= {}\n", number.wrapping_mul(2_654_435_761)).as_bytes());
    }
    text.truncate(length);
    text
}

#[test]
fn what_does_not_get_smaller_spoils_nothing_that_follows() {
    let mut engine = new_engine();
    for round in 0..20 {
        for length in [64 << 10, 256 << 10, 1 << 20] {
            let text = lines(length, round * 1_000_000 + length as u64);
            let (compressed, data) = packed(&mut engine, text.clone(), true);
            assert!(compressed && plain(compressed, &data) == text, "round {round}, {length} bytes");
            let (compressed, _) = packed(&mut engine, noise(1 << 20), true);
            assert!(!compressed);
        }
    }
}

#[test]
fn what_has_arrived_is_not_sent_again() {
    let content = noise(2 * PARCEL + 10);
    let project = project(&[&content]);
    let parcels = all(project.parcels_from(&[0], PARCEL as u64 + 7, None), false);
    let mut arrived = content[..PARCEL + 7].to_vec();
    for parcel in parcels {
        let Parcel::Part { offset, data, .. } = parcel.unwrap() else { panic!() };
        assert_eq!(offset, arrived.len() as u64);
        arrived.extend_from_slice(&data);
    }
    assert!(arrived == content);
}

#[test]
fn an_edit_of_a_large_content_costs_little_once_its_recipe_is_known() {
    let old = noise(9 << 20);
    let new = [&old[..5_000_000], b"an edit", &old[5_000_000..]].concat();
    let cache = tempfile::tempdir().unwrap();
    let recipes = Recipes::new(cache.path());
    let before = project(&[&old]);
    let (name, source) = before.sources.iter().next().unwrap();
    recipes.record(name, source).unwrap();
    let after = project(&[&new]);
    let wanted = Wanted { file: 0, arrived: 0, old: Some(Digest::of_content(&old)), unasked: false };
    let parcels = Parcels::new(&after.manifest, &after.sources, [wanted], Some(recipes.clone())).unwrap();
    let (mut made, mut sent) = (Vec::<u8>::new(), 0);
    for parcel in all(parcels, true) {
        let Parcel::Patch { offset, old: from, steps, data, .. } = parcel.unwrap() else { panic!() };
        assert_eq!((offset, from), (made.len() as u64, Digest::of_content(&old)));
        sent += data.len();
        let mut data = &data[..];
        for step in steps {
            match step {
                Splice::Copy { start, length } => made.extend(&old[start as usize..(start + length) as usize]),
                Splice::Insert(length) => made.extend(data.split_off(..length as usize).unwrap()),
            }
        }
    }
    assert!(made == new && sent < 1 << 20, "{sent}");
    assert_eq!(recipes.load(&Digest::of_content(&new)).unwrap().size(), new.len() as u64);
}

#[test]
fn what_nobody_asked_for_goes_as_a_small_edit_or_not_at_all() {
    let old = noise(9 << 20);
    let cache = tempfile::tempdir().unwrap();
    let recipes = Recipes::new(cache.path());
    let before = project(&[&old]);
    let (name, source) = before.sources.iter().next().unwrap();
    recipes.record(name, source).unwrap();
    let edited = [&old[..5_000_000], b"an edit", &old[5_000_000..]].concat();
    let half = [&noise(14 << 20)[9 << 20..], &old[5 << 20..]].concat();
    for (new, goes) in [(&edited, true), (&half, false)] {
        let after = project(&[new]);
        let wanted = Wanted { file: 0, arrived: 0, old: Some(Digest::of_content(&old)), unasked: true };
        let parcels = Parcels::new(&after.manifest, &after.sources, [wanted], Some(recipes.clone())).unwrap();
        let sent = all(parcels, true);
        assert_eq!(!sent.is_empty(), goes);
        assert!(sent.into_iter().all(|parcel| matches!(parcel.unwrap(), Parcel::Patch { .. })));
    }
}

#[test]
fn a_file_that_looks_the_same_is_not_hashed_again_and_one_that_does_not_is_never_completed() {
    let content = noise(3 * PARCEL + 10);
    let mut project = project(&[&content]);
    let path = project.path(0);
    let source = project.sources.values_mut().next().unwrap();
    source.settled = Some(FileStat::of(&std::fs::metadata(&path).unwrap()));
    let mut parcels = project.parcels_from(&[0], 2 * PARCEL as u64, None);
    let Some(Ok(Parcel::Part { offset, data, .. })) = parcels.next(false) else { panic!() };
    assert!((offset, &data[..]) == (2 * PARCEL as u64, &content[2 * PARCEL..3 * PARCEL]));
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().write_all(b"edit").unwrap();
    assert!(matches!(parcels.next(false), Some(Err(SnapshotError::Changed { .. }))));
    assert!(parcels.next(false).is_none());
    let (name, source) = project.sources.iter().next().unwrap();
    assert!(matches!(source.open(), Err(SnapshotError::Changed { .. })));
    assert!(!source.has(*name));
}

#[test]
fn what_was_kept_of_small_contents_is_sent_though_the_file_has_gone() {
    let mut project = project(&[b"one"]);
    project.sources.values_mut().for_each(|source| source.held = Some(Bytes::from_static(b"one")));
    std::fs::remove_file(project.path(0)).unwrap();
    let pack = Parcel::Pack { files: vec![0], compressed: false, data: Bytes::from_static(b"one") };
    assert_eq!(all(project.parcels(&[0]), false).into_iter().map(Result::unwrap).collect::<Vec<_>>(), [pack]);
}

#[test]
fn no_recipe_is_made_of_another_content() {
    let project = project(&[&noise(9 << 20)]);
    let cache = tempfile::tempdir().unwrap();
    let recipes = Recipes::new(cache.path());
    let (name, source) = project.sources.iter().next().unwrap();
    std::fs::write(project.path(0), noise(8 << 20)).unwrap();
    recipes.record(name, source).unwrap_err();
    assert!(recipes.load(name).is_none());
}

#[test]
fn only_what_is_wanted_is_read() {
    let project = project(&[b"one", b"two"]);
    std::fs::remove_file(project.path(0)).unwrap();
    let parcels = all(project.parcels(&[1]), false);
    let pack = Parcel::Pack { files: vec![1], compressed: false, data: Bytes::from_static(b"two") };
    assert_eq!(parcels.into_iter().map(Result::unwrap).collect::<Vec<_>>(), [pack]);
}

#[test]
fn a_request_for_something_else_is_refused() {
    let project = project(&[b"one"]);
    let wanted = Wanted { file: 1, arrived: 0, old: None, unasked: false };
    let error = Parcels::new(&project.manifest, &project.sources, [wanted], None).unwrap_err();
    assert!(matches!(error, SnapshotError::UnknownFile(1)));
}

#[test]
fn an_edited_file_is_never_completed() {
    type Edit = fn(&Path, usize);
    let edits: [Edit; 5] = [
        |path, _| std::fs::remove_file(path).unwrap(),
        |path, _| std::fs::write(path, b"short").unwrap(),
        |path, length| std::fs::write(path, noise(length + 1).split_off(1)).unwrap(),
        |path, _| {
            std::fs::remove_file(path).unwrap();
            std::os::unix::fs::symlink("/etc/passwd", path).unwrap();
        },
        |path, _| {
            std::fs::remove_file(path).unwrap();
            std::fs::create_dir(path).unwrap();
        },
    ];
    for length in [1000, PARCEL + 10] {
        let original = noise(length);
        for (number, edit) in edits.iter().enumerate() {
            let project = project(&[&original, b"next"]);
            edit(&project.path(0), length);
            let all = all(project.parcels(&[0, 1]), false);
            let sent: usize = all
                .iter()
                .flatten()
                .map(|parcel| match parcel {
                    Parcel::Part { data, .. } => data.len(),
                    Parcel::Pack { files, .. } if files == &[1] => 0,
                    _ => panic!("{parcel:?}"),
                })
                .sum();
            assert!(sent < length, "{number}");
            let error = all.into_iter().next_back().unwrap().unwrap_err();
            assert!(error.to_string().contains(&project.path(0).display().to_string()), "{number}: {error}");
            assert_eq!(matches!(error, SnapshotError::Changed { .. }), number < 4, "{number}: {error}");
        }
    }
}
