use super::*;

fn file(content: &str) -> Node {
    Node::File { digest: Digest::of(content.as_bytes()), size: content.len() as u64, mode: Mode::Plain }
}

fn script(content: &str) -> Node {
    Node::File { digest: Digest::of(content.as_bytes()), size: content.len() as u64, mode: Mode::Executable }
}

fn link(target: &str) -> Node {
    Node::Symlink { target: target.into() }
}

fn manifest(entries: &[(&[u8], Node)]) -> Manifest {
    Manifest::new(entries.iter().map(|(path, node)| (path.to_vec(), node.clone()))).unwrap()
}

fn refused(entries: &[(&[u8], Node)]) -> ManifestError {
    Manifest::new(entries.iter().map(|(path, node)| (path.to_vec(), node.clone()))).unwrap_err()
}

#[test]
fn the_bytes_are_fixed() {
    let sample = manifest(&[
        (b"0/p/run.sh", script("b")),
        (b"0/p/a b\nc", file("")),
        (b"0/p/\xff", link("a b\nc")),
        (b"0/p/logs", Node::EmptyDirectory),
    ]);
    let expected = [
        b"cloudist-manifest 2\n".as_slice(),
        b"f 0 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 0/p/a b\nc\0",
        b"d 0/p/logs\0",
        b"x 1 3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d 0/p/run.sh\0",
        b"l 0/p/\xff\0a b\nc\0",
    ]
    .concat();
    assert_eq!(sample.encode().escape_ascii().to_string(), expected.escape_ascii().to_string());
    assert_eq!(Manifest::parse(&expected).unwrap(), sample);
    assert_eq!(sample.id(), Digest::of(&expected));
}

#[test]
fn the_order_of_discovery_does_not_matter() {
    let forward = manifest(&[(b"a", file("1")), (b"a-b", file("2")), (b"b/c", file("3"))]);
    let backward = manifest(&[(b"b/c", file("3")), (b"a-b", file("2")), (b"a", file("1"))]);
    assert_eq!(forward.id(), backward.id());
}

#[test]
fn every_property_of_an_entry_is_part_of_the_id() {
    let base = manifest(&[(b"a", file("1"))]).id();
    for other in [file("2"), script("1"), link("1"), Node::EmptyDirectory] {
        assert_ne!(manifest(&[(b"a", other)]).id(), base);
    }
    assert_ne!(manifest(&[(b"b", file("1"))]).id(), base);
}

#[test]
fn paths_that_lead_elsewhere_are_refused() {
    for path in ["", "/etc/passwd", "..", "a/../b", "a//b", "a/", "./a", "a/."] {
        let error = refused(&[(path.as_bytes(), file(""))]);
        assert_eq!(error, ManifestError::Path { path: path.into() });
    }
    assert!(matches!(refused(&[(b"a\0b", file(""))]), ManifestError::Path { .. }));
    assert!(matches!(refused(&[(b"a", link(""))]), ManifestError::Target { .. }));
}

#[test]
fn nothing_lies_below_a_file_or_a_link() {
    for above in [file("x"), link("/etc")] {
        let error = refused(&[(b"a", above), (b"a-b", file("")), (b"a/b", file(""))]);
        assert_eq!(error, ManifestError::Conflict { path: "a".into() });
    }
}

#[test]
fn a_directory_with_entries_is_not_listed() {
    let sample = manifest(&[(b"a", Node::EmptyDirectory), (b"a/b", Node::EmptyDirectory), (b"a/b/c", file(""))]);
    assert_eq!(sample.entries().map(|(path, _)| path).collect::<Vec<_>>(), [b"a/b/c"]);
}

#[test]
fn only_canonical_bytes_are_read() {
    let hash = Digest::of(b"");
    let record = |path: &str| format!("f 0 {hash} {path}\0");
    let header = "cloudist-manifest 2\n";
    let read = |text: String| Manifest::parse(text.as_bytes()).unwrap_err();
    assert_eq!(read("cloudist-manifest 3\n".into()), ManifestError::Version);
    assert_eq!(read(String::new()), ManifestError::Version);
    let unordered = format!("{header}{}{}", record("b"), record("a"));
    assert_eq!(read(unordered), ManifestError::Unordered { record: 1 });
    let twice = format!("{header}{}{}", record("a"), record("a"));
    assert_eq!(read(twice), ManifestError::Unordered { record: 1 });
    for (text, record) in [
        (format!("{header}f 00 {hash} a\0"), 0),
        (format!("{header}f +1 {hash} a\0"), 0),
        (format!("{header}f 0 {hash}\0"), 0),
        (format!("{header}f 99999999999999999999999 {hash} a\0"), 0),
        (format!("{header}q a\0"), 0),
        (format!("{header}f 0 {hash} a"), 1),
        (format!("{header}l a\0"), 1),
        (format!("{header}\0"), 0),
        (format!("{header}d a\0d a/b\0"), 2),
    ] {
        let error = read(text.clone());
        let truncated_link = text.ends_with("l a\0") && matches!(error, ManifestError::Target { .. });
        assert!(truncated_link || error == ManifestError::Malformed { record }, "{text:?}: {error}");
    }
}

#[test]
fn what_another_snapshot_lacks() {
    let file =
        |content: &[u8]| Node::File { digest: Digest::of(content), size: content.len() as u64, mode: Mode::Plain };
    let manifest = |entries: &[(&str, Node)]| {
        Manifest::new(entries.iter().map(|(path, node)| (path.as_bytes().to_vec(), node.clone()))).unwrap()
    };
    let old = manifest(&[("edited", file(b"1")), ("moved", file(b"22")), ("same", file(b"333"))]);
    let new = manifest(&[
        ("added", file(b"4444")),
        ("again", file(b"4444")),
        ("edited", file(b"55555")),
        ("moved-here", file(b"22")),
        ("same", file(b"333")),
    ]);
    let lacking: Vec<_> = new.lacking(&old).collect();
    assert_eq!(lacking, [(0, 4, None), (2, 5, Some(Digest::of(b"1")))]);
    assert_eq!(new.lacking(&new).count(), 0);
    assert_eq!(new.lacking(&Manifest::default()).count(), 4);
}

#[test]
fn random_manifests_survive_the_round_trip() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move |bound: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % bound
    };
    for _ in 0..200 {
        let mut entries = BTreeMap::new();
        for _ in 0..next(40) {
            let parts = 1 + next(4);
            let mut part = || (0..1 + next(5)).map(|_| b"ab -.\n\xff\xc3z~"[next(10) as usize]).collect::<Vec<u8>>();
            let path = (0..parts).map(|_| part()).collect::<Vec<_>>().join(&b'/');
            let node = match next(5) {
                0 => link("../x y"),
                1 => Node::EmptyDirectory,
                2 => script(&next(9).to_string()),
                _ => file(&next(9).to_string()),
            };
            entries.insert(path, node);
        }
        if let Ok(manifest) = Manifest::new(entries) {
            assert_eq!(Manifest::parse(&manifest.encode()).unwrap(), manifest);
        }
    }
}
