//! How runs end, and what may still come afterwards.

use std::num::NonZeroU32;

use cloudist::scheduler::Ending;

use super::*;

#[test]
fn an_empty_suite_needs_no_workers() {
    let mut story = Story::streaming();
    let finished = Action::Finished { ending: Ending::Complete };
    assert_eq!(story.tell(Input::FilesEnd { errors: 0 }), [complete(0), finished]);
}

#[test]
fn all_workers_are_closed_when_every_test_is_done() {
    let mut story = Story::streaming().with(1, 2);
    story.collects(0, 0, 1);
    let finished = Action::Finished { ending: Ending::Complete };
    assert_eq!(story.finishes(0, test(0, 0)), [close(0), close(1), finished]);
    assert_eq!(story.joins(2, THERE), [close(2)]);
}

#[test]
fn maxfail_aborts() {
    let mut rules = config(Mode::Test, Collect::Stream, 1);
    rules.maxfail = NonZeroU32::new(2);
    let mut story = Story::new(rules).with(2, 1);
    story.collects(0, 0, 5);
    assert_eq!(story.fails(0, test(0, 0)), []);
    assert_eq!(story.fails(0, test(0, 1)), [Action::Abort, Action::Finished { ending: Ending::MaxFail }]);
    // What was running may finish, once.
    assert_eq!(story.finishes(0, test(0, 2)), []);
    assert_eq!(story.verdict, Verdict::Accepted);
    assert_eq!(story.finishes(0, test(0, 2)), []);
    assert_eq!(story.verdict, Verdict::Stale);
    assert_eq!(story.joins(1, THERE), [close(1)]);
}

#[test]
fn collection_errors_and_crashes_count_towards_maxfail() {
    let mut rules = config(Mode::Test, Collect::Stream, 2);
    rules.maxfail = NonZeroU32::new(1);
    let aborted = [Action::Abort, Action::Finished { ending: Ending::MaxFail }];
    assert_eq!(Story::new(rules.clone()).with(2, 1).fails_to_collect(0, 0), aborted);
    let mut story = Story::new(rules).with(2, 1);
    story.collects(0, 0, 2);
    assert_eq!(story.dies(0, Some(test(0, 0)), None), aborted);
}

#[test]
fn a_stop_ends_the_run_at_once_and_only_once() {
    let mut story = Story::streaming().with(2, 2);
    assert_eq!(story.tell(Input::Stop), [Action::Abort, Action::Finished { ending: Ending::Stopped }]);
    assert_eq!(story.tell(Input::Stop), []);
    assert_eq!(story.collects(0, 0, 3), []);
    assert_eq!(story.verdict, Verdict::Stale);
    assert_eq!(story.scheduler.next_deadline(), None);
}

#[test]
fn inputs_that_make_no_sense_change_nothing() {
    let mut story = Story::streaming().with(1, 1);
    story.collects(0, 0, 3);
    for input in [
        Input::FilesFound(3),
        Input::FilesEnd { errors: 1 },
        Input::WorkerJoined { worker: gw(0), machine: THERE },
        Input::Collected { worker: gw(0), file: FileId(0), tests: 9, errors: 0, estimates: Vec::new() },
        Input::Collected { worker: gw(7), file: FileId(9), tests: 9, errors: 0, estimates: Vec::new() },
        Input::TestFinished { worker: gw(0), test: test(0, 3), failed: 1 },
        Input::TestFinished { worker: gw(7), test: test(0, 0), failed: 1 },
        Input::Returned { worker: gw(7), tests: vec![test(0, 0)], files: vec![FileId(0)] },
        Input::Missing { worker: gw(7), tests: vec![test(0, 0)] },
        Input::WorkerDied { worker: gw(7), running: Some(test(0, 0)), collecting: None, slot: Slot::Returns },
        Input::MachineLost { machine: THERE },
        Input::WorkerRetired { worker: gw(7) },
    ] {
        assert_eq!(story.tell(input.clone()), [], "{input:?}");
        assert_eq!(story.verdict, Verdict::Stale, "{input:?}");
    }
}
