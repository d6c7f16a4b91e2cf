//! Work that is grouped into chunks.

use std::num::NonZeroU32;

use super::*;

fn chunked(mode: Mode, workers: u32) -> Story {
    let mut rules = config(mode, Collect::Stream, workers);
    rules.chunks_per_worker = NonZeroU32::new(2);
    Story::new(rules)
}

#[test]
fn chunks_of_tests_are_collected_first_and_span_files() {
    let mut story = chunked(Mode::Test, 1).with(3, 1);
    assert_eq!(story.wanted, [only_collect(0, 0), only_collect(0, 1)]);
    story.collects(0, 0, 4);
    story.collects(0, 1, 3);
    let wanted = story.collects(0, 2, 3);
    assert_eq!(wanted, [complete(10), run(0, 0, 0..4), run(0, 1, [0]), run(0, 1, 1..3), run(0, 2, 0..3)]);
}

#[test]
fn a_chunk_of_tests_is_taken_back_as_a_whole() {
    let mut story = chunked(Mode::Test, 1).with(1, 1);
    story.collects(0, 0, 10);
    assert_eq!(story.joins(1, THERE), []);
    assert_eq!(story.wakes(), [recall(0, 5)]);
    let returned: Vec<TestId> = (5..10).map(|index| test(0, index)).collect();
    assert_eq!(story.returns(0, &returned, &[]), [run(1, 0, 5..10)]);
}

#[test]
fn chunks_of_files_wait_until_all_files_are_known() {
    let mut story = chunked(Mode::File, 2);
    story.joins(0, HERE);
    story.joins(1, THERE);
    assert_eq!(story.tell(Input::FilesFound(7)), []);
    let wanted = story.tell(Input::FilesEnd { errors: 0 });
    let chunks = [(0, 0), (0, 1), (1, 2), (1, 3), (0, 4), (0, 5), (1, 6)];
    assert_eq!(wanted, chunks.map(|(worker, file)| collect(worker, file)));
}

#[test]
fn there_are_as_many_chunks_as_asked_for() {
    let story = chunked(Mode::File, 3).with(100, 3);
    let worker = |action: &Action| match action {
        Action::Run { worker, .. } => *worker,
        other => panic!("{other:?}"),
    };
    let chunks: Vec<usize> = story.wanted.chunk_by(|a, b| worker(a) == worker(b)).map(<[Action]>::len).collect();
    assert_eq!(chunks, [17, 17, 17, 17, 17, 15]);
}
