use std::collections::HashMap;
use std::path::Path;

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
        let (digest, size) = (Digest::of(content), content.len() as u64);
        entries.push((number.to_string().into_bytes(), Node::File { digest, size, mode: Mode::Plain }));
        sources.insert(digest, path);
    }
    Project { directory, manifest: Manifest::new(entries).unwrap(), sources }
}

impl Project {
    fn pieces(&self, missing: &[Digest]) -> Pieces {
        Pieces::new(&self.manifest, &self.sources, missing).unwrap()
    }

    fn path(&self, number: usize) -> std::path::PathBuf {
        self.directory.path().join(number.to_string())
    }
}

fn plain(piece: &Piece) -> Vec<u8> {
    if !piece.compressed {
        return piece.data.to_vec();
    }
    let mut content = Vec::new();
    flate2::read::ZlibDecoder::new(&piece.data[..]).read_to_end(&mut content).unwrap();
    content
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
fn every_content_arrives_in_order_and_whole() {
    let (text, noise) = (b"text ".repeat(300_000), noise(2 * PIECE));
    let project = project(&[&text, &noise, b"", b"small"]);
    let missing: Vec<_> = project.manifest.contents().into_iter().map(|(digest, _)| digest).collect();
    let mut pieces = project.pieces(&missing);
    assert_eq!(pieces.remaining(), (text.len() + noise.len() + 5) as u64);
    let mut arrived: Vec<(Digest, Vec<u8>)> = Vec::new();
    let mut shapes = Vec::new();
    for piece in pieces.by_ref() {
        let piece = piece.unwrap();
        if piece.offset == 0 {
            arrived.push((piece.digest, Vec::new()));
        }
        let (digest, content) = arrived.last_mut().unwrap();
        assert_eq!((*digest, content.len() as u64), (piece.digest, piece.offset));
        content.extend(plain(&piece));
        shapes.push((piece.size, piece.compressed));
    }
    assert_eq!(pieces.remaining(), 0);
    let expected: Vec<_> =
        [text.as_slice(), &noise, b"", b"small"].map(|content| (Digest::of(content), content.to_vec())).into();
    assert!(arrived == expected);
    let (text, noise) = (text.len() as u64, noise.len() as u64);
    assert_eq!(shapes, [(text, true), (text, true), (noise, false), (noise, false), (0, false), (5, false)]);
}

#[test]
fn only_what_is_missing_is_read() {
    let project = project(&[b"one", b"two"]);
    std::fs::remove_file(project.path(0)).unwrap();
    let pieces: Vec<_> = project.pieces(&[Digest::of(b"two")]).map(Result::unwrap).collect();
    assert_eq!(pieces.len(), 1);
    assert_eq!(&pieces[0].data[..], b"two");
}

#[test]
fn a_request_for_something_else_is_refused() {
    let project = project(&[b"one"]);
    let error = Pieces::new(&project.manifest, &project.sources, &[Digest::of(b"other")]).unwrap_err();
    assert!(matches!(error, SnapshotError::UnknownContent { .. }));
}

#[test]
fn an_edited_file_is_never_completed() {
    let original = noise(PIECE + 10);
    type Edit = fn(&Path);
    let edits: [Edit; 5] = [
        |path| std::fs::remove_file(path).unwrap(),
        |path| std::fs::write(path, b"short").unwrap(),
        |path| std::fs::write(path, noise(PIECE + 11).split_off(1)).unwrap(),
        |path| {
            std::fs::remove_file(path).unwrap();
            std::os::unix::fs::symlink("/etc/passwd", path).unwrap();
        },
        |path| {
            std::fs::remove_file(path).unwrap();
            std::fs::create_dir(path).unwrap();
        },
    ];
    for (number, edit) in edits.iter().enumerate() {
        let project = project(&[&original, b"next"]);
        edit(&project.path(0));
        let all: Vec<_> = project.pieces(&[Digest::of(&original), Digest::of(b"next")]).collect();
        let sent: usize = all.iter().flatten().map(|piece| plain(piece).len()).sum();
        assert!(sent < original.len(), "{number}");
        let error = all.into_iter().next_back().unwrap().unwrap_err();
        assert!(error.to_string().contains(&project.path(0).display().to_string()), "{number}: {error}");
        assert_eq!(matches!(error, SnapshotError::Changed { .. }), number < 4, "{number}: {error}");
    }
}
